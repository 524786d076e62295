// Reads Parquet away from the page: columns as typed arrays, and single rows.
import { decompress } from 'fzstd';
import { parquetMetadataAsync, parquetRead, parquetReadObjects } from 'hyparquet';
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

/** Call `sink(data, rowStart)` with each piece of one leaf column; null where the file has none. */
async function leaf({ file, metadata }, path, sink) {
  const name = path.join('.');
  const groups = metadata.row_groups.map((group) => ({
    ...group,
    columns: group.columns.filter((each) => each.meta_data.path_in_schema.join('.') === name),
  }));
  if (!groups.every((group) => group.columns.length)) return;
  const narrowed = { ...metadata, row_groups: groups };
  await parquetRead({
    file, metadata: narrowed, columns: [path[0]], compressors, parsers, geoparquet: false,
    onPage: ({ columnData, rowStart }) => sink(columnData, rowStart),
  });
}

/** Numbers, NaN where there is none. */
async function numbers(parts, path, index) {
  const out = new Float64Array(parts.reduce((sum, part) => sum + part.n, 0)).fill(NaN);
  let begin = 0;
  for (const part of parts) {
    const at = begin;
    await leaf(part, path, (data, start) => {
      for (let i = 0; i < data.length; i++) {
        const inner = path.length > 1 ? unwrap(data[i], path) : data[i];
        const value = index === undefined ? inner : inner?.[index];
        if (value !== null && value !== undefined) out[at + start + i] = Number(value);
      }
    });
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

async function row(part, i) {
  const { file, metadata } = part;
  const rows = await parquetReadObjects({
    file, metadata, compressors, parsers, geoparquet: false, useOffsetIndex: true, rowStart: i, rowEnd: i + 1,
  });
  return plain(rows[0]);
}

/** BigInts as numbers: offsets are far below 2^53. */
function plain(value) {
  if (typeof value === 'bigint') return Number(value);
  if (Array.isArray(value)) return value.map(plain);
  if (value && typeof value === 'object' && !ArrayBuffer.isView(value)) {
    return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, plain(each)]));
  }
  return value;
}

const CALLS = { numbers, categories, labels, find };

self.onmessage = async ({ data: { id, call, urls, path, index, key } }) => {
  try {
    const parts = await Promise.all(urls.map(table));
    let answer;
    if (call === 'open') answer = { sizes: parts.map((part) => part.n) };
    else if (call === 'row') answer = { row: await row(parts[0], index) };
    else if (call === 'find') answer = { row: await find(parts, key) };
    else answer = await CALLS[call](parts, path, index);
    const { transfer = [], ...result } = answer;
    self.postMessage({ id, result }, transfer);
  } catch (error) {
    self.postMessage({ id, error: error.message });
  }
};
