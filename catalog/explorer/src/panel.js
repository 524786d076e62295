// One sample: what it is, its target, its layers, where they came from.
import { Card } from './card.js';
import { memberColumn } from './columns.js';
import { fill, h, shown, withUnit } from './dom.js';
import { isoDay } from './filters.js';
import { physical } from './picture.js';
import { degrees } from './utm.js';

/** The panel of a tile; cards share one cursor. */
export class Panel {
  constructor(element, { pictures, statistics, change, close, actions, run, origin }) {
    Object.assign(this, { element, pictures, statistics, change, close, actions, run, origin });
    this.cards = [];
  }

  /** Say that a tile is on its way, or why there is none. */
  say(text, isProblem = false) {
    this.cards = [];
    fill(this.element, h('p', { className: isProblem ? 'problem' : 'hint', role: isProblem ? 'alert' : 'status' }, text));
  }

  /** Show a tile of tile.js. */
  show(tile) {
    this.tile = tile;
    const pixel = tile.parts.filter((part) => part.isPixel);
    this.cards = pixel.map((part) => this.#card(part));
    this.place = h('output', { className: 'reading place' }, 'Point at a picture, or focus it and use the arrow keys.');
    fill(this.element,
      h('header', {}, h('h2', { tabIndex: -1 }, tile.row.key), ...this.actions(tile), h('button', { type: 'button', 'aria-label': 'Close this tile', onclick: () => this.close() }, '×')),
      this.#facts(), this.place, h('div', { className: 'cards' }, this.cards.map((card) => card.element)), this.#numbers(), this.#provenance());
    return this.tell();
  }

  #card(part) {
    return new Card(this.tile, part, {
      picture: this.pictures()[part.name], statistics: this.statistics(part.name), change: this.change, point: (at) => this.point(at),
    });
  }

  /** Draw a layer again, after its picture was changed. */
  redraw() {
    if (!this.tile) return;
    this.cards.forEach((old, i) => {
      const focused = old.element.contains(document.activeElement) ? document.activeElement.getAttribute('aria-label') : null;
      const card = this.#card(old.part);
      this.cards[i] = card;
      old.element.replaceWith(card.element);
      if (focused) [...card.element.querySelectorAll('[aria-label]')].find((each) => each.getAttribute('aria-label') === focused)?.focus();
    });
  }

  /** Put the cursor on a pixel of all layers. */
  point(at) {
    for (const card of this.cards) card.read(at);
    if (!at) return;
    const { row } = this.tile;
    const metres = this.tile.catalogue.grid.resolution_m;
    const [east, north] = [row.left + (at[1] + 0.5) * metres, row.top - (at[0] + 0.5) * metres];
    const [lon, lat] = degrees(row.epsg, east, north);
    this.place.textContent = `row ${at[0]}, column ${at[1]} · ${east} E, ${north} N (EPSG:${row.epsg}) · ${lon.toFixed(5)}°, ${lat.toFixed(5)}°`;
  }

  #facts() {
    const { row, task, bytes } = this.tile;
    const facts = [
      ['Task', `${task.name}, ${row.split}${row.train_5 ? ' (5 % and 50 % subsets)' : row.train_50 ? ' (50 % subset)' : ''}`],
      ['Target', targetText(this.tile)], ['Run', ''],
      ['Date', typeof row.date === 'number' ? isoDay(row.date) : '–'], ['Place', `${row.lon.toFixed(4)}°, ${row.lat.toFixed(4)}°`],
      ['Read', `${(bytes / 1e6).toFixed(2)} MB in one request`],
    ];
    return h('dl', { className: 'facts' }, facts.flatMap(([name, value]) => [h('dt', { hidden: !value }, name), h('dd', { 'data-fact': name, hidden: !value }, value)]));
  }

  /** Say what the chosen run says of the tile. */
  async tell() {
    const said = this.element.querySelector('[data-fact=Run]');
    if (!said) return;
    const text = await this.run(this.tile);
    said.textContent = text;
    for (const each of [said, said.previousSibling]) each.hidden = !text;
  }

  #numbers() {
    const parts = this.tile.parts.filter((part) => !part.isPixel);
    if (!parts.length) return null;
    const rows = parts.flatMap((part) => (part.values ? part.layer.bands.map((band, i) => [part, band, say(part.layer, band, part.values[i])]) : [[part, null, part.problem ?? `no data: ${part.reason}`]]));
    return h('details', { open: true }, h('summary', {}, 'Values of the whole tile'), h('table', { className: 'numbers' }, h('tbody', {}, rows.map(([part, band, value]) => h('tr', { 'data-value': band ? `${part.name}.${band.name}` : part.name }, h('th', { scope: 'row' }, part.layer.bands.length > 1 && band ? `${part.layer.title}: ${band.name}` : part.layer.title), h('td', {}, value))))));
  }

  #provenance() {
    const { tile } = this;
    const place = h('div', { className: 'wide' }, h('p', { className: 'hint' }, 'Reading …'));
    const read = async (event) => {
      if (!event.target.open) return;
      try {
        fill(place, ...origins(tile, await this.origin(tile)));
      } catch (error) { fill(place, h('p', { className: 'problem', role: 'alert' }, error.message)); }
    };
    return h('details', { className: 'origin', ontoggle: read }, h('summary', {}, 'Where it came from'), place);
  }
}

function origins({ row, parts }, from) {
  const cell = (value) => h('td', {}, value ?? '–');
  const rows = parts.map(({ name, layer }) => [name, layer, from[memberColumn(layer)]]).map(([name, layer, seen]) => h('tr', {}, h('th', { scope: 'row' }, name), cell(layer.product), cell(seen?.acquired), cell((seen?.source_ids ?? []).join(' ')), cell(seen?.stand_in), cell(seen?.expression?.slice(0, 12)), cell(layer.licence)));
  const own = ['label_id', 'tile', 'epsg', 'left', 'top', 'cell', 'shard'].map((name) => `${name} ${from[name] ?? row[name] ?? '–'}`).join(' · ');
  const head = ['Layer', 'Product', 'Acquired', 'Scenes or files', 'Stand-in', 'Expression', 'Licence'];
  return [h('p', { className: 'hint' }, own), h('table', {}, h('thead', {}, h('tr', {}, head.map((name) => h('th', { scope: 'col' }, name)))), h('tbody', {}, rows))];
}

function say(layer, band, stored) {
  if (stored === null || stored === undefined || stored === layer.nodata) return 'no data';
  if (layer.classes.length) return `${stored} ${layer.classes.find((each) => each.code === stored)?.name ?? 'not in the catalogue'}`;
  return withUnit(physical(band, stored), band.unit);
}

/** Return the target of a sample in words. */
export function targetText({ row, task }) {
  const { bands, level } = task.target;
  const found = level === 'tile' && task.kind === 'regression' && bands.length === 1 ? row.target : row[task.name];
  if (found === null || found === undefined || (level === 'pixel' && found.valid_fraction === null)) return 'none';
  if (level === 'pixel') return `${(100 * found.valid_fraction).toFixed(2)} % of the pixels labelled${found.mean === null || found.mean === undefined ? '' : `, mean ${withUnit(found.mean, bands[0].unit)}`}`;
  if (task.kind === 'multilabel') return found.length ? found.join(', ') : 'none of the labels is present';
  if (task.kind === 'classification') return found;
  if (bands.length > 1) return Object.values(found).includes(null) ? 'none' : bands.map((band) => `${band.name} ${withUnit(found[band.name], band.unit)}`).join(', ');
  return `${shown(found, 6)}${bands[0].unit === '1' ? '' : ` ${bands[0].unit}`}`;
}
