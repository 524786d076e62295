// One layer of one tile: its picture, how it is drawn, its classes, its downloads.
import { encodeNpy } from './codec.js';
import { PALETTES, scale } from './colours.js';
import { choice, download, fill, h, shown, withUnit } from './dom.js';
import { encodeTiff } from './geotiff.js';
import { checked, paint, percentiles, physical, shares, stretch } from './picture.js';

/** A card of a pixel-level layer, or of a target with pixels. */
export class Card {
  constructor(tile, part, { picture, statistics, change, point }) {
    Object.assign(this, { tile, part, statistics, change, point });
    this.picture = checked(part.layer, picture);
    this.pixels = tile.catalogue.grid.pixels;
    this.output = h('output', { className: 'reading', 'aria-live': 'off' });
    const title = part.isTarget ? `Target: ${part.layer.title}` : part.layer.title;
    this.element = h('section', { className: 'card', 'aria-label': title, 'data-layer': part.name }, h('h3', {}, title));
    if (part.values) this.#picture();
    else this.element.append(h('p', { className: part.problem ? 'problem' : 'missing', role: part.problem ? 'alert' : null }, part.problem ?? `No data: ${part.reason}`));
  }

  get isClasses() { return this.part.layer.classes.length > 0; }

  #picture() {
    const { pixels } = this;
    this.canvas = h('canvas', {
      width: pixels, height: pixels, tabIndex: 0, role: 'img', className: 'picture',
      'aria-label': `${this.part.layer.title}, ${pixels} by ${pixels} pixels; arrow keys move the cursor and its values are said below`,
      onpointermove: (event) => this.#pointed(event), onpointerdown: (event) => this.#pointed(event),
      onpointerleave: () => this.point(null), onkeydown: (event) => this.#key(event),
    });
    this.cross = h('div', { className: 'cross', hidden: true });
    this.element.append(h('div', { className: 'frame' }, this.canvas, this.cross), this.output);
    this.paint();
    if (!this.isClasses || this.part.layer.bands.length > 1) this.element.append(this.#controls());
    this.element.append(this.isClasses ? this.#classes() : this.#scale(), this.#downloads());
  }

  paint() {
    const { layer, values } = this.part;
    this.ends = stretch(layer, this.picture, this.statistics);
    this.canvas.getContext('2d').putImageData(paint(layer, values, this.picture, this.ends, this.pixels), 0, 0);
  }

  #controls() {
    const { layer } = this.part;
    const { bands, palette } = this.picture;
    const names = layer.bands.map((band, i) => [String(i), band.name]);
    const isThree = bands.length === 3;
    const set = (picture) => this.change(this.part.name, { ...this.picture, ...picture });
    const mode = isThree ? 'three' : String(bands[0]);
    const modes = layer.bands.length >= 3 && !this.isClasses ? [['three', 'Three bands'], ...names] : names;
    const controls = [choice('What is drawn', modes, mode, (value) => {
      if (value === 'three') set({ bands: [0, 1, 2], palette: undefined, low: undefined, high: undefined });
      else set({ bands: [Number(value)], palette: palette ?? (this.isClasses ? undefined : 'viridis'), low: undefined, high: undefined });
    })];
    if (isThree) ['Red', 'Green', 'Blue'].forEach((name, c) => controls.push(choice(name, names, String(bands[c]), (value) => set({ bands: bands.with(c, Number(value)) }))));
    else if (!this.isClasses) controls.push(choice('Palette', PALETTES.map((name) => [name, name]), palette, (value) => set({ palette: value })));
    if (!this.isClasses) controls.push(...this.#stretch(set));
    return h('div', { className: 'controls' }, controls);
  }

  #stretch(set) {
    const side = (name, label, at) => h('input', {
      type: 'number', step: 'any', value: Number(this.ends[at].toPrecision(4)), 'aria-label': label, title: `${label}; the same for every tile`,
      onchange: (event) => set({ low: this.ends[0], high: this.ends[1], [name]: Number(event.target.value) }),
    });
    return [
      side('low', 'Lowest value', 0), side('high', 'Highest value', 1),
      h('button', { type: 'button', title: 'From the 2nd to the 98th percentile of this tile, then kept for every tile', onclick: () => {
        const [low, high] = percentiles(this.part.layer, [this.part.values], this.picture, this.pixels);
        set({ low, high });
      } }, '2–98 %'),
      h('button', { type: 'button', title: 'Mean ± 2 deviations of the train samples', onclick: () => set({ low: undefined, high: undefined }) }, '±2σ'),
    ];
  }

  #scale() {
    const { layer } = this.part;
    const { bands, palette } = this.picture;
    const unit = layer.bands[bands[0]].unit;
    if (bands.length === 3) return h('p', { className: 'legend' }, `${bands.map((at) => layer.bands[at].name).join(', ')}: ${withUnit(this.ends[0], unit)} to ${withUnit(this.ends[1], unit)}`);
    const bytes = scale(palette);
    const stops = Array.from({ length: 9 }, (_, i) => `rgb(${[...bytes.subarray(96 * i - (i === 8 ? 3 : 0), 96 * i + (i === 8 ? 0 : 3))]})`);
    return h('p', { className: 'legend' }, withUnit(this.ends[0], unit), h('span', { className: 'ramp', style: `background:linear-gradient(to right, ${stops.join()})` }), withUnit(this.ends[1], unit));
  }

  #classes() {
    const found = shares(this.part.layer, this.part.values, this.picture.bands[0], this.pixels);
    return h('ul', { className: 'classes' }, found.map(([each, share]) => h('li', {}, h('span', { className: each ? 'swatch' : 'swatch none', style: each ? `background:${each.color}` : null }), `${each ? `${each.code} ${each.name}` : 'no data'} ${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`)));
  }

  #downloads() {
    const { part, tile } = this;
    const { layer } = part;
    const { row, catalogue } = tile;
    const name = `${row.key}.${part.name}`;
    const tiff = () => encodeTiff({
      values: part.values, dtype: layer.dtype, bands: layer.bands, pixels: this.pixels, resolution: catalogue.grid.resolution_m,
      epsg: row.epsg, left: row.left, top: row.top, nodata: layer.nodata,
    });
    const button = (label, act) => h('button', { type: 'button', 'aria-label': `Download ${layer.title} as ${label}`, onclick: act }, label);
    const proved = { true: '✓ SHA-256', null: 'SHA-256 not checked: the browser does so on https and localhost only' }[part.isProved];
    return h('div', { className: 'downloads' },
      button('.npy', () => download(`${name}.npy`, encodeNpy(part.values, layer.dtype, part.shape))),
      button('GeoTIFF', () => download(`${name}.tif`, tiff(), 'image/tiff')),
      button('PNG', () => this.canvas.toBlob((blob) => download(`${name}.png`, blob))),
      h('span', { className: 'proved' }, proved));
  }

  #pointed(event) {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    const at = (value, whole) => Math.max(0, Math.min(this.pixels - 1, Math.floor(value / whole * this.pixels)));
    this.point([at(event.clientY - top, height), at(event.clientX - left, width)]);
  }

  #key(event) {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    const middle = this.pixels / 2;
    const [row, column] = this.at ?? [middle, middle];
    const clamp = (value) => Math.max(0, Math.min(this.pixels - 1, value));
    this.output.setAttribute('aria-live', 'polite');
    this.point([clamp(row + step[0]), clamp(column + step[1])]);
  }

  /** Show the values at [row, column]; nothing for null. */
  read(at) {
    this.at = at;
    if (!this.canvas) return;
    this.cross.hidden = !at;
    if (!at) { fill(this.output, ''); return; }
    this.cross.style.left = `${(at[1] + 0.5) / this.pixels * 100}%`;
    this.cross.style.top = `${(at[0] + 0.5) / this.pixels * 100}%`;
    this.output.textContent = this.values(at).map(({ band, say }) => (this.part.layer.bands.length > 1 ? `${band.name} ${say}` : say)).join(', ');
  }

  /** Return what is stored, what it means and how it is said, of each band that is drawn. */
  values([row, column]) {
    const { layer, values } = this.part;
    return this.picture.bands.map((at) => {
      const band = layer.bands[at];
      const stored = values[at * this.pixels ** 2 + row * this.pixels + column];
      if (stored === layer.nodata || Number.isNaN(stored)) return { band, stored, say: 'no data' };
      if (this.isClasses) return { band, stored, say: `${stored} ${layer.classes.find((each) => each.code === stored)?.name ?? 'not in the catalogue'}` };
      return { band, stored, say: withUnit(physical(band, stored), band.unit) + (band.scale !== 1 || band.offset !== 0 ? ` (${shown(stored)})` : '') };
    });
  }
}
