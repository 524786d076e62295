// One sample with all its arrays: its row, one range of its shard, each member proved and decoded.
import { decode } from './codec.js';
import { memberColumn } from './columns.js';
import { range, sha256 } from './remote.js';

const BEFORE = 1 << 14; // bytes that are read before the first member where nothing says where the JSON is

/** Return a sample: { row, task, parts, missing, bytes }. A part that cannot be drawn says why. */
export async function loadTile(base, catalogue, samples, i) {
  const { tiled } = samples;
  const row = await samples.row(i);
  const task = catalogue.tasks.find((each) => each.name === row.task);
  const parts = partsOf(catalogue, task, row);
  const tile = { i, row, task, parts, catalogue, missing: {}, bytes: 0, url: new URL(row.shard, base).href };
  // Values of the whole tile are in its one JSON, wherever a row says that one of them is.
  let json = places(row, tiled)[0];
  if (!json && tiled.length > 1) json = places(await samples.places(i, tiled.slice(1)), tiled)[0];
  await fill(tile, parts.filter((part) => part.isPixel && isPlace(part.member)), json);
  for (const part of parts) if (!part.values && !part.problem) part.reason = reasonOf(part, tile);
  return tile;
}

const isPlace = (member) => typeof member?.byte_offset === 'number';
const places = (row, layers) => layers.map((layer) => row[memberColumn(layer)]).filter(isPlace);

/** Return one layer of a sample, and nothing else of it. */
export async function loadPart(base, catalogue, samples, i, layer) {
  const row = await samples.row(i, [layer]);
  const part = { name: layer.name, layer, member: row[memberColumn(layer)] };
  if (!isPlace(part.member)) return { row, part };
  const { byte_offset: begin, byte_length: length } = part.member;
  await prove(part, await range(new URL(row.shard, base).href, begin, begin + length), catalogue);
  return { row, part };
}

function partsOf(catalogue, task, row) {
  const parts = catalogue.layers.map((layer) => ({
    name: layer.name, layer, member: row[memberColumn(layer)], isPixel: layer.level === 'pixel',
  }));
  if (task.target.level === 'pixel') parts.unshift({ name: task.name, layer: task.target, member: row[task.name], isPixel: true, isTarget: true });
  return parts;
}

async function fill(tile, wanted, json) {
  const members = [...wanted.map((part) => part.member), ...(json ? [json] : [])];
  if (!members.length) return;
  const first = Math.min(...members.map((each) => each.byte_offset));
  const begin = json ? first : Math.max(0, first - BEFORE);
  const end = Math.max(...members.map((each) => each.byte_offset + each.byte_length));
  const numbers = tile.parts.filter((part) => !part.isPixel);
  let bytes;
  try {
    bytes = await range(tile.url, begin, end);
  } catch (error) {
    for (const part of [...wanted, ...numbers]) part.problem = error.message;
    return;
  }
  tile.bytes = bytes.length;
  const cut = ({ byte_offset: at, byte_length: length }) => bytes.subarray(at - begin, at - begin + length);
  await Promise.all(wanted.map((part) => prove(part, cut(part.member), tile.catalogue)));
  await read(tile, numbers, json ? cut(json) : inTar(bytes, `${tile.row.key}.json`, begin), json?.sha256);
}

/** Read the values of the whole tile, and why layers are missing, from its JSON. */
async function read(tile, numbers, bytes, expected) {
  const found = expected && await sha256(bytes);
  try {
    if (found && found !== expected) throw new Error(damaged(found, expected));
    const { modalities, missing } = JSON.parse(new TextDecoder().decode(bytes));
    tile.missing = missing ?? {};
    for (const part of numbers) part.values = modalities[part.name];
  } catch (error) {
    for (const part of numbers) part.problem = error instanceof SyntaxError ? 'the sample’s JSON cannot be read; fetch the shard again' : error.message;
  }
}

const damaged = (found, expected) => `damaged: the SHA-256 of its bytes is ${found.slice(0, 12)}…, the manifest says ${expected.slice(0, 12)}…; fetch the shard again`;

/** Return a member of a piece of a tar, by its name. */
function inTar(bytes, name, begin) {
  for (let at = (512 - begin % 512) % 512; at + 512 <= bytes.length; at += 512) {
    const block = new TextDecoder('latin1').decode(bytes.subarray(at, at + 512));
    if (!block.startsWith(`${name}\0`) || block.slice(257, 262) !== 'ustar') continue;
    return bytes.subarray(at + 512, at + 512 + parseInt(block.slice(124, 136), 8));
  }
  return new Uint8Array();
}

async function prove(part, bytes, catalogue) {
  const { sha256: expected } = part.member;
  const found = await sha256(bytes);
  part.isProved = found === null ? null : found === expected;
  if (part.isProved === false) {
    part.problem = damaged(found, expected);
    return;
  }
  const { pixels } = catalogue.grid;
  const { layer } = part;
  const shape = part.isTarget ? [pixels, pixels] : [layer.bands.length, pixels, pixels];
  const isNpy = !catalogue.codecs?.some((codec) => codec.name === 'blosc');
  try {
    part.values = decode(bytes, layer.dtype, shape, isNpy);
    part.shape = shape;
  } catch (error) {
    part.problem = `cannot be read: ${error.message}`;
  }
}

function reasonOf(part, tile) {
  const why = tile.missing[part.name];
  if (why) return why;
  return part.isTarget ? 'this sample has no target' : 'missing; the dataset gives no reason';
}
