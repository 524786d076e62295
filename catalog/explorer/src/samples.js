// The samples of one task or of all: columns on demand, single rows, the rows that a filter leaves.
import { memberColumn } from './columns.js';

let next = 0;
const waiting = new Map();
const worker = new Worker(new URL('worker.js', import.meta.url), { type: 'module' }); // comes while the page asks for the catalogue
worker.onmessage = ({ data: { id, piece, result, error } }) => {
  const { resolve, reject, tell } = waiting.get(id);
  if (piece) { tell(piece); return; }
  waiting.delete(id);
  if (error === undefined) resolve(result); else reject(new Error(error));
};

function call(message, tell) {
  return new Promise((resolve, reject) => {
    waiting.set(++next, { resolve, reject, tell });
    worker.postMessage({ id: next, isTold: Boolean(tell), ...message });
  });
}

const reader = (kind) => (kind === 'labels' ? 'labels' : ['category', 'boolean'].includes(kind) ? 'categories' : 'numbers');

/** Read a column of any Parquet file. */
export const readColumn = (url, name, kind) => call({ call: reader(kind), urls: [url], path: [name] });

const KEPT = 200; // rows
const PLAIN = ['key', 'task', 'split', 'train_5', 'train_50', 'date', 'epsg', 'left', 'top', 'lon', 'lat', 'shard'];
const PLACE = ['byte_offset', 'byte_length', 'sha256'];
const ORIGIN = ['acquired', 'source_ids', 'stand_in', 'expression'];
const fields = (layers, names) => layers.flatMap((layer) => names.map((name) => `${memberColumn(layer)}.${name}`));

/** Samples of some tasks, in the order of their manifests. */
export class Samples {
  static async open(base, tasks, catalogue) {
    const urls = tasks.map((task) => new URL(`manifests/${task}.parquet`, base).href);
    const { sizes, empty } = await call({ call: 'open', urls });
    return new Samples({ tasks, urls, sizes, empty, catalogue });
  }

  constructor(about) {
    Object.assign(this, about, { rows: new Map(), loaded: new Map() });
    const { catalogue, sizes } = about;
    this.tiled = catalogue.layers.filter((layer) => layer.level === 'tile');
    this.usual = [...catalogue.layers.filter((layer) => layer.level === 'pixel'), ...this.tiled.slice(0, 1)];
    this.n = sizes.reduce((a, b) => a + b, 0);
  }

  /** Return the data of a column of columns.js; what was read once is kept. `tell` hears of numbers as they come. */
  column(column, tell) {
    if (column.data) return column.data(this);
    if (!this.loaded.has(column.id)) {
      const reading = this.#read(column, tell);
      reading.catch(() => this.loaded.delete(column.id));
      this.loaded.set(column.id, reading);
    }
    return this.loaded.get(column.id);
  }

  async #read(column, tell) {
    const { kind, path, index, nodata } = column;
    const found = await call({ call: reader(kind), urls: this.urls, path, index }, tell);
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

  /**
   * Return what a row says of the sample, and where members of some layers are: of each column a page is fetched.
   * Usually of those with pixels, and of one of the others, as all these are in one JSON.
   */
  row(i, layers = this.usual) {
    const { target } = this.#task(i);
    const own = target.level === 'pixel' ? [`${target.name}.valid_fraction`, `${target.name}.mean`, ...fields([target], PLACE)] : ['target', target.name];
    return this.#get(i, [...PLAIN, ...own, ...fields(layers, PLACE)]);
  }

  /** Return only where members of some layers are. */
  places(i, layers) { return this.#get(i, fields(layers, PLACE)); }

  /** Return what a row says of where its layers came from. */
  origin(i) {
    const { layers } = this.catalogue;
    const { target } = this.#task(i);
    return this.#get(i, ['tile', 'cell', 'label_id', `${target.name}.source_ids`, ...fields(layers, ORIGIN)]);
  }

  #task(i) { return this.catalogue.tasks.find((task) => task.name === this.place(i).task); }

  #get(i, wanted) {
    const id = `${i} ${wanted}`;
    if (!this.rows.has(id)) {
      if (this.rows.size >= KEPT) this.rows.delete(this.rows.keys().next().value);
      const { part, row } = this.place(i);
      const reading = call({ call: 'row', urls: [this.urls[part]], index: row, wanted }).then((found) => found.row);
      reading.catch(() => this.rows.delete(id));
      this.rows.set(id, reading);
    }
    return this.rows.get(id);
  }

  /** Return the keys of rows. */
  async keys(rows) {
    return (await call({ call: 'texts', urls: this.urls, path: ['key'], rows: [...rows] })).texts;
  }

  /** Return the row of a key, -1 where there is none. */
  async find(key) {
    return (await call({ call: 'find', urls: this.urls, key })).row;
  }
}
