// Members of a shard: NumPy's .npy, or one Blosc-1 buffer of the layer's dtype and shape.
import { decompress as zstd } from 'fzstd';

const TYPES = {
  uint8: Uint8Array, int8: Int8Array, uint16: Uint16Array, int16: Int16Array,
  uint32: Uint32Array, int32: Int32Array, float32: Float32Array, float64: Float64Array,
};
const DESCR = {
  uint8: '|u1', int8: '|i1', uint16: '<u2', int16: '<i2',
  uint32: '<u4', int32: '<i4', float32: '<f4', float64: '<f8',
};

/** Return the typed array of a member; `shape` is what the catalogue says. */
export function decode(bytes, dtype, shape, isNpy) {
  const count = shape.reduce((a, b) => a * b, 1);
  const size = count * TYPES[dtype].BYTES_PER_ELEMENT;
  const values = isNpy ? npyValues(bytes, dtype, shape) : blosc(bytes, size);
  if (values.length !== size) {
    throw new Error(`found ${values.length} bytes of values, expected ${size}`);
  }
  return new TYPES[dtype](values.slice().buffer); // a copy: the values may not be aligned
}

function npyValues(bytes, dtype, shape) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const magic = String.fromCharCode(...bytes.subarray(1, 6));
  if (bytes[0] !== 0x93 || magic !== 'NUMPY') throw new Error('found no .npy array');
  const begin = bytes[6] === 1 ? 10 + view.getUint16(8, true) : 12 + view.getUint32(8, true);
  const header = new TextDecoder().decode(bytes.subarray(10, begin));
  const descr = /'descr': '([^']+)'/.exec(header)?.[1];
  const found = /'shape': \(([^)]*)\)/.exec(header)?.[1].split(',').filter((n) => n.trim()).map(Number);
  if (descr !== DESCR[dtype] || String(found) !== String(shape) || header.includes("'fortran_order': True")) {
    throw new Error(`found ${descr} (${found}), expected ${DESCR[dtype]} (${shape})`);
  }
  return bytes.subarray(begin);
}

/** Return the bytes of a .npy file. */
export function encodeNpy(values, dtype, shape) {
  const text = `{'descr': '${DESCR[dtype]}', 'fortran_order': False, 'shape': (${shape.join(', ')}${shape.length === 1 ? ',' : ''}), }`;
  const padded = text.padEnd(Math.ceil((text.length + 11) / 64) * 64 - 11) + '\n';
  const out = new Uint8Array(10 + padded.length + values.byteLength);
  out.set([0x93, 78, 85, 77, 80, 89, 1, 0, padded.length & 255, padded.length >> 8]);
  out.set(new TextEncoder().encode(padded), 10);
  out.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), 10 + padded.length);
  return out;
}

/**
 * Return what a Blosc-1 buffer holds: 16 bytes of header, the places of the blocks, the blocks.
 * A block is one stream, or one a byte of the type; bits or bytes are shuffled within it.
 */
export function blosc(bytes, expected) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 16) throw new Error('found no Blosc buffer');
  const [, , flags, size] = bytes;
  const [total, blockSize, stored] = [4, 8, 12].map((at) => view.getUint32(at, true));
  if (total !== expected || stored !== bytes.length || !blockSize) {
    throw new Error(`found a Blosc buffer of ${total} bytes stored in ${stored}, expected ${expected} in ${bytes.length}`);
  }
  if (flags & 2) return bytes.subarray(16);
  const out = new Uint8Array(total);
  for (let i = 0, begin = 0; begin < total; i++, begin += blockSize) {
    const length = Math.min(blockSize, total - begin);
    const isSplit = !(flags & 16) && size <= 16 && blockSize / size >= 128 && length === blockSize;
    const block = readBlock(bytes, view, view.getUint32(16 + 4 * i, true), length, isSplit ? size : 1, flags >> 5);
    out.set(unshuffle(block, size, flags), begin);
  }
  return out;
}

function readBlock(bytes, view, at, length, streams, compressor) {
  const out = new Uint8Array(length);
  const each = length / streams;
  for (let i = 0; i < streams; i++) {
    const stored = view.getInt32(at, true);
    const part = bytes.subarray(at + 4, at + 4 + stored);
    if (part.length !== stored) throw new Error('found a Blosc buffer that ends too early');
    out.set(stored === each ? part : decompressed(part, each, compressor), i * each);
    at += 4 + stored;
  }
  return out;
}

function decompressed(part, length, compressor) {
  if (compressor === 4) return zstd(part, new Uint8Array(length));
  if (compressor === 1) return lz4(part, length);
  throw new Error(`found Blosc compressor ${compressor}, expected lz4 or zstd`);
}

function unshuffle(block, size, flags) {
  if (flags & 4) return unshuffleBits(block, size);
  if (flags & 1 && size > 1) return unshuffleBytes(block, size);
  return block;
}

function unshuffleBytes(block, size) {
  const count = Math.floor(block.length / size);
  const out = block.slice();
  for (let b = 0; b < size; b++) for (let i = 0; i < count; i++) out[i * size + b] = block[b * count + i];
  return out;
}

/** Bit j of eight following elements is one byte; the bytes of bit 0 come first, then of bit 1. */
function unshuffleBits(block, size) {
  const count = Math.floor(block.length / size) & ~7; // what is left over is not shuffled
  const out = block.slice();
  out.fill(0, 0, count * size);
  const row = count / 8;
  for (let bit = 0; bit < size * 8; bit++) {
    const mask = 1 << (bit & 7);
    const at = bit >> 3;
    for (let i = 0; i < row; i++) {
      const bits = block[bit * row + i];
      if (!bits) continue;
      for (let j = 0, to = i * 8 * size + at; j < 8; j++, to += size) if (bits >> j & 1) out[to] |= mask;
    }
  }
  return out;
}

/** Return an LZ4 block: literals, then a copy of what came before, again and again. */
export function lz4(bytes, length) {
  const out = new Uint8Array(length);
  let at = 0;
  let to = 0;
  const more = (n) => {
    if (n < 15) return n;
    let byte;
    do { byte = bytes[at++]; n += byte; } while (byte === 255);
    return n;
  };
  while (at < bytes.length) {
    const token = bytes[at++];
    const literals = more(token >> 4);
    out.set(bytes.subarray(at, at + literals), to);
    at += literals;
    to += literals;
    if (at >= bytes.length) break;
    const back = bytes[at] | bytes[at + 1] << 8;
    at += 2;
    const end = to + more(token & 15) + 4;
    if (!back || back > to || end > length) throw new Error('found a damaged LZ4 block');
    while (to < end) { out[to] = out[to - back]; to++; }
  }
  if (to !== length) throw new Error(`found ${to} bytes of LZ4, expected ${length}`);
  return out;
}
