// Palettes and what a column's values look like.

const SCALES = {
  viridis: ['440154', '472d7b', '3b528b', '2c728e', '21918c', '28ae80', '5ec962', 'addc30', 'fde725'],
  magma: ['000004', '1c1044', '4f127b', '812581', 'b5367a', 'e55964', 'fb8761', 'fec287', 'fcfdbf'],
  grey: ['000000', 'ffffff'],
  terrain: ['2c5f2d', '6b8f3a', 'b5b35c', 'e3d5a0', 'b08a5b', '8a5a3c', 'f4f1ee'],
  difference: ['2166ac', '67a9cf', 'd1e5f0', 'f7f7f7', 'fddbc7', 'ef8a62', 'b2182b'],
};
const KINDS = ['1f77b4', 'ff7f0e', '2ca02c', 'd62728', '9467bd', '8c564b', 'e377c2', 'bcbd22', '17becf', '7f7f7f'];
/** Names of the palettes. */
export const PALETTES = Object.keys(SCALES);

const rgb = (hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16));

/** Return 256 × 3 bytes of a palette. */
export function scale(name) {
  const stops = (SCALES[name] ?? SCALES.viridis).map(rgb);
  const out = new Uint8Array(768);
  for (let i = 0; i < 256; i++) {
    const at = i / 255 * (stops.length - 1);
    const low = Math.min(Math.floor(at), stops.length - 2);
    for (let c = 0; c < 3; c++) out[3 * i + c] = Math.round(stops[low][c] + (stops[low + 1][c] - stops[low][c]) * (at - low));
  }
  return out;
}

/** Return [red, green, blue] of `#rrggbb`. */
export const parseColour = (text) => rgb(text.slice(1));

/** Return the low and high end of numbers: shares of them lie below and above. */
export function ends(values, share = 0.02) {
  const step = Math.max(1, Math.floor(values.length / 20000)); // of a million numbers, 20,000 tell
  const some = [];
  for (let i = 0; i < values.length; i += step) if (!Number.isNaN(values[i])) some.push(values[i]);
  if (!some.length) return [0, 1];
  some.sort((a, b) => a - b);
  const at = (q) => some[Math.min(some.length - 1, Math.floor(q * some.length))];
  return [at(share), at(1 - share)];
}

/**
 * Return how a column is drawn: an index a row, 256 colours (the last is of what is absent), and
 * what a legend says of them.
 */
export function dress(column, data) {
  if (data.codes && data.offsets) return ramp(column, Float64Array.from(data.absent, (no, i) => (no ? NaN : data.offsets[i + 1] - data.offsets[i])), 'viridis');
  if (data.codes) return kinds(column, data);
  return ramp(column, data.values, column.id === 'run.residual' ? 'difference' : 'viridis');
}

function kinds(column, { codes, names }) {
  const counts = new Uint32Array(names.length);
  for (const code of codes) if (code >= 0) counts[code]++;
  // Few names have the same colours whatever is there of them; of many the frequent ones are told apart.
  const byName = (a, b) => (names[a] < names[b] ? -1 : 1);
  const ranked = [...names.keys()].sort(names.length <= KINDS.length ? byName : (a, b) => counts[b] - counts[a]);
  const place = new Uint8Array(names.length + 1).fill(254);
  place[names.length] = 255;
  ranked.slice(0, 254).forEach((code, i) => { place[code] = i; });
  const colour = (i) => (column.classes?.get(names[ranked[i]]) ? parseColour(column.classes.get(names[ranked[i]]).color) : rgb(KINDS[i % KINDS.length]));
  const colours = Array.from({ length: 256 }, (_, i) => (i < ranked.length && i < 254 ? colour(i) : [150, 150, 150]));
  const index = Uint8Array.from(codes, (code) => place[code < 0 ? names.length : code]);
  const legend = ranked.slice(0, 12).map((code, i) => [colours[i], nameOf(column, names[code])]);
  return { index, colours, legend, more: Math.max(0, ranked.length - 12) };
}

function ramp(column, values, palette) {
  let [low, high] = ends(values);
  if (palette === 'difference') { high = Math.max(Math.abs(low), Math.abs(high)) || 1; low = -high; }
  const bytes = scale(palette);
  const span = high - low || 1;
  const index = new Uint8Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const at = (values[i] - low) / span;
    index[i] = Number.isNaN(at) ? 255 : Math.max(0, Math.min(254, Math.round(at * 254)));
  }
  const colours = Array.from({ length: 256 }, (_, i) => (i < 255 ? [...bytes.subarray(3 * i, 3 * i + 3)] : [150, 150, 150]));
  return { index, colours, low, high, unit: column.unit, isDate: column.kind === 'date', hasNone: index.includes(255) };
}

/** Return what a value of a category is called. */
export function nameOf(column, name) {
  if (name === null) return column.nothing ?? 'none';
  const found = column.classes?.get(name);
  return found ? found.name : name;
}
