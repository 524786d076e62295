// Many tiles of a selection side by side, in one layer and with one stretch.
import { choice, fill, h, withUnit } from './dom.js';
import { checked, paint, percentiles, stretch } from './picture.js';
import { loadPart } from './tile.js';

const MANY = 24;
const AT_ONCE = 6;

/** Return rows in the order of a column (`-name` falls), those without a value last. */
export function sorted(rows, column, data, sort) {
  if (!column || !data?.values) return rows;
  const sign = sort.startsWith('-') ? -1 : 1;
  const { values } = data;
  const key = (row) => (Number.isNaN(values[row]) ? Infinity : sign * values[row]);
  return Uint32Array.from(rows).sort((a, b) => key(a) - key(b) || a - b);
}

/** The contact sheet. */
export class Sheet {
  constructor(element, { base, catalogue, statistics, choose, change }) {
    Object.assign(this, { element, base, catalogue, statistics, choose, change });
    this.first = 0;
    this.turn = 0;
  }

  /** Show the first rows of a selection. */
  async show({ samples, columns, rows, state }) {
    const turn = ++this.turn;
    const layers = this.catalogue.layers.filter((layer) => layer.level === 'pixel');
    const layer = layers.find((each) => each.name === state.layer) ?? layers[0];
    const column = columns.get((state.sort ?? '').replace(/^-/, ''));
    const data = column ? await samples.column(column) : null;
    if (turn !== this.turn) return;
    const order = sorted(rows, column, data, state.sort ?? '');
    if (this.order !== undefined && String(this.order.slice(0, MANY)) !== String(order.slice(0, MANY))) this.first = 0;
    this.order = order;
    const page = [...order.slice(this.first, this.first + MANY)];
    const items = page.map((row) => this.#item(row, column, data));
    const grid = h('ul', { className: 'sheet' }, items.map((item) => item.element));
    fill(this.element, this.#controls({ samples, columns, rows, state }, layers, layer, order), grid);
    if (layer) await this.#load(samples, items, layer, state, turn);
  }

  #controls(view, layers, layer, order) {
    const numeric = [...view.columns.values()].filter((column) => ['number', 'date'].includes(column.kind));
    const sorts = [['', 'in the manifest’s order'], ...numeric.flatMap((column) => [[column.id, `${column.label}, rising`], [`-${column.id}`, `${column.label}, falling`]])];
    const turn = (step) => { this.first = Math.max(0, Math.min(order.length - 1, this.first + step)); this.show(view); };
    return h('div', { className: 'controls' },
      choice('Layer', layers.map((each) => [each.name, each.title]), layer?.name, (name) => this.change({ layer: name })),
      choice('Order', sorts, view.state.sort ?? '', (sort) => { this.first = 0; this.change({ sort }); }),
      h('button', { type: 'button', title: 'One stretch from the 2nd to the 98th percentile of these tiles', onclick: () => this.#stretch() }, '2–98 %'),
      h('button', { type: 'button', disabled: this.first === 0, onclick: () => turn(-MANY) }, '‹ Previous'),
      h('span', {}, `${order.length ? this.first + 1 : 0}–${Math.min(order.length, this.first + MANY)} of ${order.length}`),
      h('button', { type: 'button', disabled: this.first + MANY >= order.length, onclick: () => turn(MANY) }, 'Next ›'));
  }

  #item(row, column, data) {
    const { pixels } = this.catalogue.grid;
    const canvas = h('canvas', { width: pixels, height: pixels, className: 'picture' });
    const text = h('span', {}, '…');
    const value = column && data?.values ? withUnit(data.values[row], column.unit) : null;
    return { row, canvas, text, element: h('li', {}, h('button', { type: 'button', onclick: () => this.choose(row) }, canvas, text, value && column.kind === 'number' ? h('span', {}, value) : null)) };
  }

  async #load(samples, items, layer, state, turn) {
    const picture = checked(layer, state.pictures[layer.name]);
    const ends = stretch(layer, picture, this.statistics(layer.name));
    this.loaded = { layer, picture, arrays: [] };
    const waiting = [...items];
    const work = async () => {
      for (let item = waiting.shift(); item && turn === this.turn; item = waiting.shift()) await this.#one(samples, item, layer, picture, ends);
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
  }

  async #one(samples, item, layer, picture, ends) {
    try {
      const { row, part } = await loadPart(this.base, this.catalogue, samples, item.row, layer);
      item.text.textContent = row.key;
      if (part?.values) {
        this.loaded.arrays.push(part.values);
        item.canvas.getContext('2d').putImageData(paint(layer, part.values, picture, ends, this.catalogue.grid.pixels), 0, 0);
      } else item.text.textContent = `${row.key}: ${part?.problem ?? 'no data'}`;
    } catch (error) {
      item.text.textContent = error.message;
    }
  }

  #stretch() {
    const { layer, picture, arrays } = this.loaded;
    if (!arrays.length || layer.classes.length) return;
    const [low, high] = percentiles(layer, arrays, picture, this.catalogue.grid.pixels);
    this.change({ picture: [layer.name, { ...picture, low, high }] });
  }
}
