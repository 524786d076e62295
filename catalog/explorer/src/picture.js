// How an array becomes a picture: bands, palette, and a stretch that is the same for every tile.
import { ends, parseColour, scale } from './colours.js';

/** Return how a layer is drawn when nobody said anything. */
export function usual(layer) {
  const named = (name) => layer.bands.findIndex((band) => band.common_name === name);
  const colours = ['red', 'green', 'blue'].map(named);
  if (colours.every((at) => at >= 0)) return { bands: colours };
  return { bands: [0], palette: layer.kind === 'categorical' ? undefined : 'viridis' };
}

/** Return a picture whose bands and palette exist, whatever a link says. */
export function checked(layer, picture) {
  const isRight = picture && [1, 3].includes(picture.bands.length) && picture.bands.every((at) => layer.bands[at]);
  return isRight ? picture : usual(layer);
}

/** Return the stored value as a number in the band's unit. */
export const physical = (band, stored) => stored * band.scale + band.offset;

/**
 * Return [low, high] of the bands of a picture, in their unit: as given, else the train samples'
 * mean ± 2 deviations within their extremes, else what is valid.
 */
export function stretch(layer, picture, statistics) {
  if (picture.low !== undefined && picture.high !== undefined) return [picture.low, picture.high];
  const sides = picture.bands.map((at) => {
    const band = layer.bands[at];
    const found = statistics?.[band.name];
    const [low, high] = found && found.n ? [Math.max(found.min, found.mean - 2 * found.std), Math.min(found.max, found.mean + 2 * found.std)] : band.valid;
    return [physical(band, low), physical(band, high)];
  });
  return [Math.min(...sides.map(([low]) => low)), Math.max(...sides.map(([, high]) => high))];
}

/** Return [low, high] between which 96 % of the values of the shown bands lie. */
export function percentiles(layer, arrays, picture, pixels) {
  const size = pixels * pixels;
  const some = [];
  for (const values of arrays) {
    for (const at of picture.bands) {
      for (let i = 0; i < size; i += 3) {
        const stored = values[at * size + i];
        if (stored !== layer.nodata && !Number.isNaN(stored)) some.push(physical(layer.bands[at], stored));
      }
    }
  }
  return ends(some).map((value) => Number(value.toPrecision(4)));
}

/** Return the picture as ImageData; no-data is transparent. */
export function paint(layer, values, picture, [low, high], pixels) {
  const image = new ImageData(pixels, pixels);
  if (layer.classes.length) paintClasses(layer, values, picture, image.data);
  else if (picture.bands.length === 3) paintThree(layer, values, picture, low, high, image.data);
  else paintOne(layer, values, picture, low, high, image.data);
  return image;
}

function paintClasses(layer, values, picture, out) {
  const colours = new Map(layer.classes.map((each) => [each.code, parseColour(each.color)]));
  const size = out.length / 4;
  const begin = picture.bands[0] * size;
  for (let i = 0; i < size; i++) {
    const code = values[begin + i];
    if (code === layer.nodata) continue;
    out.set(colours.get(code) ?? [255, 0, 255], 4 * i); // magenta: a code that the catalogue lacks
    out[4 * i + 3] = 255;
  }
}

function paintOne(layer, values, picture, low, high, out) {
  const bytes = scale(picture.palette);
  const size = out.length / 4;
  const begin = picture.bands[0] * size;
  const band = layer.bands[picture.bands[0]];
  const factor = 255 / (high - low || 1);
  for (let i = 0; i < size; i++) {
    const stored = values[begin + i];
    if (stored === layer.nodata || Number.isNaN(stored)) continue;
    const at = Math.max(0, Math.min(255, Math.round((physical(band, stored) - low) * factor)));
    out[4 * i] = bytes[3 * at];
    out[4 * i + 1] = bytes[3 * at + 1];
    out[4 * i + 2] = bytes[3 * at + 2];
    out[4 * i + 3] = 255;
  }
}

function paintThree(layer, values, picture, low, high, out) {
  const size = out.length / 4;
  const factor = 255 / (high - low || 1);
  for (let i = 0; i < size; i++) {
    let there = true;
    for (let c = 0; c < 3; c++) {
      const stored = values[picture.bands[c] * size + i];
      if (stored === layer.nodata || Number.isNaN(stored)) { there = false; break; }
      out[4 * i + c] = (physical(layer.bands[picture.bands[c]], stored) - low) * factor; // clamped to 0 … 255
    }
    if (there) out[4 * i + 3] = 255;
  }
}

/** Return [class, share] of the pixels of a band, the most frequent first; null is no-data. */
export function shares(layer, values, at, pixels) {
  const size = pixels * pixels;
  const counts = new Map();
  for (let i = at * size; i < (at + 1) * size; i++) counts.set(values[i], (counts.get(values[i]) ?? 0) + 1);
  const named = [...counts].map(([code, n]) => [code === layer.nodata ? null : layer.classes.find((each) => each.code === code) ?? { code, name: 'not in the catalogue', color: '#ff00ff' }, n / size]);
  return named.sort((a, b) => b[1] - a[1]);
}
