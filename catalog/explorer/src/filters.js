// Which rows a set of filters leaves, and the same as SQL and as Python.
import { condition } from './columns.js';

const DAY = 86400000;
/** Days since 1970 as YYYY-MM-DD, and back. */
export const isoDay = (days) => new Date(days * DAY).toISOString().slice(0, 10);
export const dayOf = (iso) => Date.parse(iso) / DAY;

/** Return the filters of columns that there are; a link may name others. */
export function known(columns, where) {
  return Object.entries(where).filter(([id, filter]) => {
    const column = columns.get(id);
    if (!column) return false;
    return filter.box ? column.kind === 'box' : filter.in ? ['category', 'boolean', 'labels'].includes(column.kind) : ['number', 'date'].includes(column.kind);
  });
}

/** Return the rows, rising, that all filters leave. */
export async function select(samples, columns, where) {
  const keep = new Uint8Array(samples.n).fill(1);
  for (const [id, filter] of known(columns, where)) {
    const column = columns.get(id);
    if (filter.box) await keepBox(keep, samples, columns, filter.box);
    else {
      const data = await samples.column(column);
      if (column.kind === 'labels') keepLabels(keep, data, filter.in);
      else if (filter.in) keepNames(keep, data, filter.in);
      else keepRange(keep, data.values, column.kind === 'date', filter);
    }
  }
  return rowsOf(keep);
}

function rowsOf(keep) {
  const rows = new Uint32Array(keep.reduce((sum, each) => sum + each, 0));
  for (let i = 0, at = 0; i < keep.length; i++) if (keep[i]) rows[at++] = i;
  return rows;
}

function keepRange(keep, values, isDate, { from, to }) {
  const side = (value, open) => (value === undefined ? open : isDate ? dayOf(value) : value);
  const low = side(from, -Infinity);
  const high = side(to, Infinity);
  for (let i = 0; i < keep.length; i++) if (!(values[i] >= low && values[i] <= high)) keep[i] = 0;
}

function keepNames(keep, { codes, names }, wanted) {
  const isIn = new Uint8Array(names.length + 1); // the last is of -1: none
  for (const name of wanted) {
    const at = name === null ? names.length : names.indexOf(name);
    if (at >= 0) isIn[at] = 1;
  }
  for (let i = 0; i < keep.length; i++) if (!isIn[codes[i] < 0 ? names.length : codes[i]]) keep[i] = 0;
}

function keepLabels(keep, { offsets, codes, names }, wanted) {
  const isIn = new Uint8Array(names.length);
  for (const name of wanted) if (names.includes(name)) isIn[names.indexOf(name)] = 1;
  for (let i = 0; i < keep.length; i++) {
    let found = 0;
    for (let at = offsets[i]; at < offsets[i + 1]; at++) found |= isIn[codes[at]];
    if (!found) keep[i] = 0;
  }
}

async function keepBox(keep, samples, columns, [west, south, east, north]) {
  const { values: lon } = await samples.column(columns.get('lon'));
  const { values: lat } = await samples.column(columns.get('lat'));
  for (let i = 0; i < keep.length; i++) {
    if (!(lon[i] >= west && lon[i] <= east && lat[i] >= south && lat[i] <= north)) keep[i] = 0;
  }
}

const MOST_KEYS = 1000;

/** Return conditions; what a run says stands in no manifest, so those samples are named by key. */
async function conditions(samples, columns, where, rows, without = []) {
  const filters = known(columns, where).filter(([id]) => !without.includes(id));
  const parts = filters.filter(([id]) => columns.get(id).sql || columns.get(id).kind === 'box')
    .map(([id, filter]) => condition(columns.get(id), filter));
  if (filters.some(([id]) => id.startsWith('run.'))) {
    if (rows.length > MOST_KEYS) throw new Error(`${rows.length} samples are chosen by what a run says; at most ${MOST_KEYS} can be named by key: choose fewer`);
    const keys = await samples.keys(rows);
    parts.push(`key IN (${keys.map((key) => `'${key}'`).join(', ')})`);
  }
  return parts;
}

/** Return the selection as SQL for `mmearth loaders query`. */
export async function asSql(samples, columns, where, rows) {
  const parts = await conditions(samples, columns, where, rows);
  const table = samples.tasks.length > 1 ? 'samples' : `"${samples.tasks[0]}"`;
  return `SELECT *\nFROM ${table}${parts.length ? `\nWHERE ${parts.join('\n  AND ')}` : ''}`;
}

/** Return one sample as Python. */
export function tileAsPython(task, key, url) {
  return `import mmearth\n\ndataset = mmearth.open(${JSON.stringify(url)})\nchosen = dataset.select(task=${JSON.stringify(task)}, where="key = '${key}'")\n(batch,) = chosen.loader(batch_size=1)\nfor name in dataset.catalogue.layers:\n    print(name, batch[name].shape)\n`;
}

/** Return the selection as Python: a `select` of one task, a question to all. */
export async function asPython(samples, columns, where, rows, url) {
  const lines = ['import mmearth', '', `dataset = mmearth.open(${JSON.stringify(url)})`];
  if (samples.tasks.length > 1) {
    lines.push(`print(dataset.sql(${JSON.stringify((await asSql(samples, columns, where, rows)).replaceAll('\n', ' '))}))`);
    return `${lines.join('\n')}\n`;
  }
  const split = where.split?.in?.filter((name) => name !== null);
  const parts = await conditions(samples, columns, where, rows, split ? ['split'] : []);
  lines.push('chosen = dataset.select(', `    task=${JSON.stringify(samples.tasks[0])},`);
  if (split) lines.push(`    split=${JSON.stringify(split)},`);
  if (parts.length) lines.push(`    where=${JSON.stringify(parts.join(' AND '))},`);
  lines.push(')', 'print(chosen)');
  return `${lines.join('\n')}\n`;
}
