// The samples of one task or of all: columns on demand, single rows, the rows that a filter leaves.

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

/** Samples of some tasks, in the order of their manifests. */
export class Samples {
  static async open(base, tasks) {
    const urls = tasks.map((task) => new URL(`manifests/${task}.parquet`, base).href);
    const { sizes } = await call({ call: 'open', urls });
    return new Samples(tasks, urls, sizes);
  }

  constructor(tasks, urls, sizes) {
    Object.assign(this, { tasks, urls, sizes });
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

  /** Return a whole row of a manifest. */
  async row(i) {
    const { part, row } = this.place(i);
    return (await call({ call: 'row', urls: [this.urls[part]], index: row })).row;
  }

  /** Return the row of a key, -1 where there is none. */
  async find(key) {
    return (await call({ call: 'find', urls: this.urls, key })).row;
  }
}
