// The samples of one task or of all: columns on demand, single rows, the rows that a filter leaves.
import { memberColumn } from './columns.js';

let next = 0;
const waiting = new Map();
let worker;

function call(message) {
  if (!worker) {
    worker = new Worker(new URL('worker.js', import.meta.url), { type: 'module' });
    worker.onmessage = ({ data: { id, result, error } }) => {
      const { resolve, reject } = waiting.get(id);
      waiting.delete(id);
      if (error === undefined) resolve(result); else reject(new Error(error));
    };
  }
  return new Promise((resolve, reject) => {
    waiting.set(++next, { resolve, reject });
    worker.postMessage({ id: next, ...message });
  });
}

/** Read columns of any Parquet file. */
export const readNumbers = async (url, path) => (await call({ call: 'numbers', urls: [url], path })).values;

const KEPT = 200; // rows

/** Paths of columns that a tile does not need: each is a request more. */
function notWanted(catalogue) {
  const pixel = catalogue.layers.filter((layer) => layer.level === 'pixel').map(memberColumn);
  const tile = catalogue.layers.filter((layer) => layer.level === 'tile').map(memberColumn);
  return [
    'geometry', 'hilbert', ...[...pixel, ...tile].map((name) => `${name}.band_valid_fraction`), ...pixel.map((name) => `${name}.values`),
    // The values of a tile are all in its one JSON: where that is, the first says.
    ...tile.slice(1).flatMap((name) => ['byte_offset', 'byte_length', 'sha256'].map((field) => `${name}.${field}`)),
  ];
}

/** Samples of some tasks, in the order of their manifests. */
export class Samples {
  static async open(base, tasks, catalogue) {
    const urls = tasks.map((task) => new URL(`manifests/${task}.parquet`, base).href);
    const { sizes } = await call({ call: 'open', urls });
    return new Samples(tasks, urls, sizes, notWanted(catalogue));
  }

  constructor(tasks, urls, sizes, skip) {
    Object.assign(this, { tasks, urls, sizes, skip, rows: new Map() });
    this.n = sizes.reduce((a, b) => a + b, 0);
    this.loaded = new Map();
  }

  /** Return the data of a column of columns.js; what was read once is kept. */
  column(column) {
    if (!this.loaded.has(column.id)) {
      const reading = this.#read(column);
      reading.catch(() => this.loaded.delete(column.id));
      this.loaded.set(column.id, reading);
    }
    return this.loaded.get(column.id);
  }

  async #read(column) {
    if (column.data) return column.data(this);
    const { kind, path, index, nodata } = column;
    const reader = kind === 'labels' ? 'labels' : kind === 'category' || kind === 'boolean' ? 'categories' : 'numbers';
    const found = await call({ call: reader, urls: this.urls, path, index });
    if (nodata !== undefined && nodata !== null) {
      for (let i = 0; i < found.values.length; i++) if (found.values[i] === nodata) found.values[i] = NaN;
    }
    return found;
  }

  /** Return the task of a row, and its place in the task's manifest. */
  place(i) {
    let part = 0;
    while (i >= this.sizes[part]) i -= this.sizes[part++];
    return { part, task: this.tasks[part], row: i };
  }

  /** Return a row of a manifest; the last ones are kept. */
  row(i) {
    if (!this.rows.has(i)) {
      if (this.rows.size >= KEPT) this.rows.delete(this.rows.keys().next().value);
      const { part, row } = this.place(i);
      const reading = call({ call: 'row', urls: [this.urls[part]], index: row, skip: this.skip }).then((found) => found.row);
      reading.catch(() => this.rows.delete(i));
      this.rows.set(i, reading);
    }
    return this.rows.get(i);
  }

  /** Return the row of a key, -1 where there is none. */
  async find(key) {
    return (await call({ call: 'find', urls: this.urls, key })).row;
  }
}
