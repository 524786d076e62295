// Reads Parquet away from the page: columns as typed arrays, and single rows.
import { decompress } from 'fzstd';
import { parquetMetadataAsync, parquetRead } from 'hyparquet';
import { parquetFile } from './remote.js';

const compressors = { ZSTD: (input, length) => decompress(input, new Uint8Array(length)) };
const parsers = { dateFromDays: (days) => days }; // days since 1970
const tables = new Map(); // URL → promise of { file, metadata }

async function load(url) {
  const file = await parquetFile(url);
  const metadata = await parquetMetadataAsync(file, { initialFetchSize: 1 << 19, geoparquet: false });
  return { file, metadata, n: Number(metadata.num_rows) };
}

function table(url) {
  if (!tables.has(url)) {
    const loading = load(url);
    loading.catch(() => tables.delete(url)); // so that it can be tried again
    tables.set(url, loading);
  }
  return tables.get(url);
}

const AT_ONCE = 3; // row groups of a column, so that several columns come side by side

/** Call `sink(data, rowStart)` with each piece of one leaf column, `done(begin, end)` after each row group. */
async function leaf({ file, metadata }, path, sink, done = () => {}) {
  const name = path.join('.');
  let n = 0;
  const spans = metadata.row_groups.map((group) => ({ group, begin: n, end: n += Number(group.num_rows) })).values();
  const work = async () => {
    for (const { group, begin, end } of spans) {
      const columns = group.columns.filter((each) => each.meta_data.path_in_schema.join('.') === name);
      if (!columns.length) continue;
      await parquetRead({
        file, metadata: { ...metadata, row_groups: [{ ...group, columns }] }, columns: [path[0]], compressors, parsers, geoparquet: false,
        onPage: ({ columnData, rowStart }) => sink(columnData, begin + rowStart),
      });
      done(begin, end);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
}

/** Numbers, NaN where there is none; `tell` hears of each row group. */
async function numbers(parts, path, index, tell) {
  const out = new Float64Array(parts.reduce((sum, part) => sum + part.n, 0)).fill(NaN);
  let begin = 0;
  for (const part of parts) {
    const at = begin;
    const sink = (data, start) => {
      for (let i = 0; i < data.length; i++) {
        const inner = path.length > 1 ? unwrap(data[i], path) : data[i];
        const value = index === undefined ? inner : inner?.[index];
        if (value !== null && value !== undefined) out[at + start + i] = Number(value);
      }
    };
    await leaf(part, path, sink, (from, to) => tell({ begin: at + from, values: out.slice(at + from, at + to) }));
    begin += part.n;
  }
  return { values: out, transfer: [out.buffer] };
}

/** Positions in `names`, -1 where there is none; `names` in the order in which they are met. */
async function categories(parts, path) {
  const codes = new Int32Array(parts.reduce((sum, part) => sum + part.n, 0)).fill(-1);
  const known = new Map();
  let begin = 0;
  for (const part of parts) {
    const at = begin;
    await leaf(part, path, (data, start) => {
      for (let i = 0; i < data.length; i++) {
        const value = path.length > 1 ? unwrap(data[i], path) : data[i];
        if (value !== null && value !== undefined) codes[at + start + i] = code(known, value);
      }
    });
    begin += part.n;
  }
  return { codes, names: [...known.keys()], transfer: [codes.buffer] };
}

/** Labels of row i are codes[offsets[i] … offsets[i + 1]]; `absent` is 1 where there is no list. */
async function labels(parts, path) {
  const n = parts.reduce((sum, part) => sum + part.n, 0);
  const offsets = new Uint32Array(n + 1);
  const absent = new Uint8Array(n).fill(1);
  const known = new Map();
  const codes = [];
  let begin = 0;
  for (const part of parts) {
    const rows = new Array(part.n);
    await leaf(part, path, (data, start) => { for (let i = 0; i < data.length; i++) rows[start + i] = unwrap(data[i], path); });
    rows.forEach((row, i) => {
      absent[begin + i] = row ? 0 : 1;
      for (const name of row ?? []) codes.push(code(known, name));
      offsets[begin + i + 1] = codes.length;
    });
    begin += part.n;
  }
  const list = Uint16Array.from(codes);
  return { offsets, absent, codes: list, names: [...known.keys()], transfer: [offsets.buffer, absent.buffer, list.buffer] };
}

/**
 * hyparquet puts a leaf into an array for each optional level above it: of a struct's field [5],
 * [null] without the value, [] without the struct; of a list's elements one more, the list itself.
 */
function unwrap(value, path) {
  const isList = path.at(-2) === 'list';
  for (let level = path.length - (isList ? 2 : 1); level > 0; level--) value = value?.[0];
  return value;
}

function code(known, value) {
  const text = String(value);
  let found = known.get(text);
  if (found === undefined) known.set(text, found = known.size);
  return found;
}

/** Values of some rows. */
async function texts(parts, path, rows) {
  const places = new Map(rows.map((row, i) => [row, i]));
  const out = new Array(rows.length);
  let begin = 0;
  for (const part of parts) {
    const at = begin;
    await leaf(part, path, (data, start) => data.forEach((value, i) => { const place = places.get(at + start + i); if (place !== undefined) out[place] = value; }));
    begin += part.n;
  }
  return out;
}

/** Row of a key, -1 where there is none. */
async function find(parts, key) {
  let found = -1;
  let begin = 0;
  for (const part of parts) {
    const at = begin;
    await leaf(part, ['key'], (data, start) => {
      const i = data.indexOf(key);
      if (i >= 0 && found < 0) found = at + start + i;
    });
    begin += part.n;
  }
  return found;
}

/** Return some columns, or fields of structs, of a row: of each the page that it is in, found by the page index. */
async function row(part, i, wanted) {
  const { metadata } = part;
  const file = inTurn(await withIndex(part, i));
  const isWanted = ({ meta_data: { path_in_schema: path } }) => wanted.includes(path[0]) || wanted.includes(path.slice(0, 2).join('.'));
  const groups = metadata.row_groups.map((group) => ({ ...group, columns: group.columns.filter(isWanted) }));
  const found = {};
  await parquetRead({
    file, metadata: { ...metadata, row_groups: groups }, compressors, parsers, geoparquet: false, useOffsetIndex: true, rowStart: i, rowEnd: i + 1,
    onPage: ({ pathInSchema: path, columnData, rowStart, rowEnd }) => { if (rowStart <= i && i < rowEnd) put(found, path, columnData[i - rowStart]); },
  });
  return found;
}

/** Put the value of a leaf into a row of structs and lists. */
function put(row, path, raw) {
  const names = path.at(-2) === 'list' ? path.slice(0, -2) : path;
  let place = row;
  for (const name of names.slice(0, -1)) place = place[name] ??= {};
  place[names.at(-1)] = plain(path.length > 1 ? unwrap(raw, path) : raw) ?? null;
}

/** The page index of the row group of a row, in one request, kept. */
async function withIndex(part, i) {
  let group = 0;
  for (let end = 0; (end += Number(part.metadata.row_groups[group].num_rows)) <= i;) group++;
  const { columns } = part.metadata.row_groups[group];
  if (!columns.every((each) => each.offset_index_offset)) return part.file;
  const begin = Math.min(...columns.map((each) => Number(each.offset_index_offset)));
  const end = Math.max(...columns.map((each) => Number(each.offset_index_offset) + each.offset_index_length));
  part.indexes ??= new Map();
  if (!part.indexes.has(group)) part.indexes.set(group, part.file.slice(begin, end));
  const index = await part.indexes.get(group);
  const { byteLength } = part.file;
  const slice = (from, to) => (from >= begin && to <= end ? index.slice(from - begin, to - begin) : part.file.slice(from, to));
  return { byteLength, slice };
}

const GAP = 1 << 15; // bytes that are rather read than asked for apart

/** A file whose slices that are asked for together are fetched together where they are near. */
function inTurn({ byteLength, slice }) {
  let asked = [];
  const fetchAll = () => {
    const sorted = asked.sort((a, b) => a.from - b.from);
    asked = [];
    while (sorted.length) {
      const run = [sorted.shift()];
      let end = run[0].to;
      while (sorted.length && sorted[0].from <= end + GAP) { run.push(sorted.shift()); end = Math.max(end, run.at(-1).to); }
      const begin = run[0].from;
      const whole = Promise.resolve(slice(begin, end));
      for (const { from, to, resolve, reject } of run) whole.then((bytes) => resolve(bytes.slice(from - begin, to - begin)), reject);
    }
  };
  return {
    byteLength,
    slice: (from, to = byteLength) => new Promise((resolve, reject) => {
      if (!asked.length) setTimeout(fetchAll);
      asked.push({ from, to, resolve, reject });
    }),
  };
}

/** Names of columns that hold nothing in any of the tables, as far as their footers tell. */
function emptyOf(parts) {
  const isEmpty = ({ meta_data: { statistics, num_values: n } }) => typeof statistics?.null_count === 'bigint' && statistics.null_count === n;
  const sets = parts.flatMap((part) => part.metadata.row_groups).map(({ columns }) => new Set(columns.filter(isEmpty).map((each) => each.meta_data.path_in_schema.join('.'))));
  return [...sets[0] ?? []].filter((name) => sets.every((names) => names.has(name)));
}

/** BigInts as numbers: offsets are far below 2^53. */
function plain(value) {
  if (typeof value === 'bigint') return Number(value);
  if (Array.isArray(value)) return value.map(plain);
  return value;
}

const CALLS = { numbers, categories, labels, find };

self.onmessage = async ({ data: { id, call, urls, path, index, key, wanted, rows, isTold } }) => {
  const tell = isTold ? (piece) => self.postMessage({ id, piece }) : () => {};
  try {
    const parts = await Promise.all(urls.map(table));
    let answer;
    if (call === 'open') answer = { sizes: parts.map((part) => part.n), empty: emptyOf(parts) };
    else if (call === 'row') answer = { row: await row(parts[0], index, wanted) };
    else if (call === 'texts') answer = { texts: await texts(parts, path, rows) };
    else if (call === 'find') answer = { row: await find(parts, key) };
    else answer = await CALLS[call](parts, path, index, tell);
    const { transfer = [], ...result } = answer;
    self.postMessage({ id, result }, transfer);
  } catch (error) {
    self.postMessage({ id, error: error.message });
  }
};
