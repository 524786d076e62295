// The page: reads the dataset beside it, keeps what is seen in the URL, and draws what changed.
import { breakDown, drawBreakdown, groupings } from './breakdown.js';
import { columnsOf } from './columns.js';
import { dress } from './colours.js';
import { choice, fill, h, shown, withUnit } from './dom.js';
import { asPython, asSql, isoDay, select, tileAsPython } from './filters.js';
import { drawForm } from './form.js';
import { count, draw } from './histogram.js';
import { WorldMap, project } from './map.js';
import { Panel } from './panel.js';
import { Preview } from './preview.js';
import { json } from './remote.js';
import { loadRuns } from './results.js';
import { Samples } from './samples.js';
import { Sheet } from './sheet.js';
import { State } from './state.js';
import { loadTile } from './tile.js';

const $ = (id) => document.getElementById(id);
const ALL = '*';

/** The whole page; `window.mmearth` for the console. */
class Explorer {
  constructor({ base, config, catalogue, card, runs }) {
    Object.assign(this, { base, config, catalogue, card, runs });
    this.state = new State();
    this.tiles = {};
    this.pending = new Set();
    $('title').textContent = card.title ?? card.name ?? 'Dataset';
    document.title = `${$('title').textContent} – mmearth explorer`;
    this.map = new WorldMap($('map'), {
      hover: (row, place) => this.#pointed(row, place), choose: (row) => this.choose(row),
      move: (map) => this.state.keep({ map }), box: (box) => this.filter('place', { box }),
    });
    this.panels = { tile: this.#panel('tile', 'row'), other: this.#panel('other', 'otherRow') };
    this.sheet = new Sheet($('sheet'), {
      base, catalogue, statistics: (name) => this.#statistics(name), choose: (row) => this.choose(row),
      change: ({ picture, ...changes }) => (picture ? this.#picture(...picture) : this.state.set(changes)),
    });
    this.state.listeners.push((now, names) => this.#changed(names).catch((error) => this.say(error.message, true)));
    for (const [id, make] of [['sql', asSql], ['python', asPython]]) $(id).onclick = () => this.#copy(make);
    $('theme').onclick = () => this.#theme();
    addEventListener('keydown', (event) => this.#key(event));
  }

  get tasks() {
    const names = this.catalogue.tasks.map((task) => task.name);
    const { task } = this.state.now;
    return task === ALL ? names : names.includes(task) ? [task] : [names[0]];
  }

  get run() { return this.tasks.length === 1 ? this.runs.filter((run) => run.task === this.tasks[0]).find((run) => run.id === this.state.now.run) : undefined; }

  say(text, isProblem = false) {
    $('status').textContent = text;
    $('status').className = isProblem ? 'problem' : '';
  }

  /** Show all, from the state. */
  async start() {
    if (matchMedia('(max-width: 800px)').matches) $('side').open = false; // the map comes first
    this.map.look(this.state.now.map);
    await this.#changed(new Set(['task']));
  }

  /** Draw what changed, one change after the other; what changes meanwhile is drawn after it. */
  #changed(names) {
    for (const name of names) this.pending.add(name);
    this.busy ??= this.#work().finally(() => { this.busy = null; document.body.ariaBusy = false; });
    return this.busy;
  }

  async #work() {
    document.body.ariaBusy = true;
    while (this.pending.size) {
      const names = this.pending;
      this.pending = new Set();
      await this.#update((...wanted) => wanted.some((name) => names.has(name)));
    }
  }

  async #update(has) {
    if (has('task')) await this.#open();
    if (has('task', 'run')) this.columns = columnsOf(this.catalogue, this.samples, this.run);
    if (has('task', 'run', 'where')) this.rows = await select(this.samples, this.columns, this.state.now.where);
    // Not waited for: a filter may change while a tile is on its way.
    if (has('task', 'tile', 'row')) this.#tile('tile', 'row');
    if (has('task', 'other', 'otherRow')) this.#tile('other', 'otherRow');
    if (has('task', 'run', 'where', 'colour')) await this.#points();
    if (has('task', 'run', 'where')) {
      this.say(`${this.rows.length} of ${this.samples.n} samples`);
      $('status').dataset.count = this.rows.length;
    }
    if (has('task', 'run', 'colour', 'view')) this.#choices();
    if (has('task', 'run', 'where', 'histogram')) await this.#histogram();
    if (has('task', 'run', 'where', 'by')) await this.#breakdown();
    if (has('task', 'run', 'where')) await this.#form();
    if (has('view', 'task', 'run', 'where', 'sort', 'layer', 'pictures')) this.#view();
    if (has('map')) this.map.look(this.state.now.map);
    if (has('run')) for (const panel of Object.values(this.panels)) await panel.tell();
    if (has('pictures') && !has('task')) for (const panel of Object.values(this.panels)) panel.redraw();
  }

  async #open() {
    const tasks = this.tasks;
    if (String(this.samples?.tasks) === String(tasks)) return;
    this.samples = await Samples.open(this.base, tasks, this.catalogue);
    this.statistics = null;
    this.place = null;
    this.tiles = {};
    // Of every task the same, so that a tile looks alike in all of them.
    json(new URL(`statistics/${this.catalogue.tasks[0].name}.json`, this.base), true).then((found) => {
      this.statistics = found?.train;
      for (const panel of Object.values(this.panels)) panel.redraw();
    });
  }

  #statistics(name) { return this.statistics?.modalities?.[name] ?? (name === this.catalogue.tasks[0].name ? this.statistics?.target : undefined); }

  async #points() {
    const column = this.columns.get(this.state.now.colour) ?? this.columns.get('split');
    const preview = new Preview(this.samples.n, (place, dressing, rows) => {
      if (this.place || this.rows.length < this.samples.n) return;
      this.say(`Reading … ${rows.length} of ${this.samples.n} samples`);
      this.#paint(place, dressing, rows);
    });
    const place = (id) => this.samples.column(this.columns.get(id), (piece) => preview.take(id, piece));
    const [lon, lat, data] = await Promise.all([place('lon'), place('lat'), this.samples.column(column)]);
    this.place ??= preview.isWhole ? preview.place : project(lon.values, lat.values);
    const dressing = dress(column, data);
    this.#paint(this.place, dressing, this.rows);
    this.#legend(column, dressing);
  }

  #paint(place, dressing, rows) {
    this.map.show(place, dressing, rows);
    this.#marks();
    requestAnimationFrame(() => requestAnimationFrame(() => { document.body.dataset.painted ??= Math.round(performance.now()); })); // the frame is out
  }

  #legend(column, { legend, colours, low, high, unit, isDate, hasNone, more }) {
    const say = (value) => (isDate ? isoDay(Math.floor(value)) : `${shown(value)}${unit && unit !== '1' ? ` ${unit}` : ''}`);
    if (!legend) {
      const stops = Array.from({ length: 9 }, (_, i) => `rgb(${colours[Math.min(254, i * 32)].join()})`);
      fill($('legend'), h('div', { className: 'legend' }, `${column.label}: ${say(low)}`, h('span', { className: 'ramp', style: `background:linear-gradient(to right, ${stops.join()})` }), say(high), hasNone ? [h('span', { className: 'swatch', style: `background:rgb(${colours[255].join()})` }), 'none'] : null));
    } else fill($('legend'), h('div', {}, column.label), legend.map(([colour, name]) => h('div', {}, h('span', { className: 'swatch', style: `background:rgb(${colour.join()})` }), name)), more ? h('div', {}, `and ${more} more`) : null);
  }

  async #histogram() {
    const usual = this.columns.get('target') ?? [...this.columns.values()].find((column) => column.group === 'Target') ?? this.columns.get('split');
    const column = this.columns.get(this.state.now.histogram) ?? usual;
    const data = await this.samples.column(column);
    const bars = count(column, data, this.rows);
    fill($('counts'), this.#columnChoice('Histogram of', column.id, (histogram) => this.state.set({ histogram })), draw(bars, column, (filter) => this.filter(column.id, filter)));
  }

  /** What a run says, by split or the like. */
  async #breakdown() {
    $('breakdown').hidden = !this.run;
    if (!this.run) return;
    const by = groupings(this.columns).find((column) => column.id === this.state.now.by) ?? this.columns.get('split');
    const shownOf = ['run.error', 'run.residual', 'run.gain'].map((id) => this.columns.get(id)).filter(Boolean);
    const [data, ...found] = await Promise.all([by, ...shownOf].map((column) => this.samples.column(column)));
    const measured = found.map(({ values }, i) => ({ column: shownOf[i], values }));
    const options = groupings(this.columns).map((column) => [column.id, column.label]);
    fill($('breakdown'), h('label', {}, 'Errors by ', choice('Errors by', options, by.id, (id) => this.state.set({ by: id }))),
      ...drawBreakdown(breakDown(data, measured, this.rows), by, measured, (filter) => this.filter(by.id, filter)));
  }

  #columnChoice(label, value, change, also = []) {
    const groups = new Map();
    for (const column of this.columns.values()) {
      if (column.kind === 'box') continue;
      if (!groups.has(column.group)) groups.set(column.group, []);
      groups.get(column.group).push([column.id, column.label]);
    }
    return h('label', {}, `${label} `, choice(label, [...also, ...groups], value, change));
  }

  #choices() {
    const { now } = this.state;
    const names = [...this.catalogue.tasks.map((task) => [task.name, task.name]), ...(this.catalogue.tasks.length > 1 ? [[ALL, 'all tasks']] : [])];
    const task = this.tasks.length > 1 ? ALL : this.tasks[0];
    const runs = this.runs.filter((run) => run.task === task);
    const tab = (view, label) => h('button', { type: 'button', 'aria-pressed': String((now.view ?? 'map') === view), onclick: () => this.state.set({ view }) }, label);
    fill($('choices'),
      h('label', {}, 'Task ', choice('Task', names, task, (value) => this.state.set({ task: value, where: this.#shared(), tile: undefined, row: undefined, other: undefined, otherRow: undefined, run: undefined }))),
      this.#columnChoice('Colour', this.columns.has(now.colour) ? now.colour : 'split', (colour) => this.state.set({ colour })),
      runs.length ? h('label', {}, 'Run ', choice('Benchmark run', [['', 'none'], ...runs.map((run) => [run.id, run.label])], this.run?.id ?? '', (run) => this.state.set({ run, colour: run ? 'run.error' : 'split' }))) : null,
      tab('map', 'Map'), tab('tiles', 'Tiles'));
  }

  /** Return the filters that every task has. */
  #shared() {
    const isTarget = (id) => ['Target', 'Benchmark run'].includes(this.columns.get(id)?.group);
    return Object.fromEntries(Object.entries(this.state.now.where).filter(([id]) => !isTarget(id)));
  }

  #form() {
    return drawForm($('filters'), {
      samples: this.samples, columns: this.columns, where: this.state.now.where,
      change: (id, filter) => this.filter(id, filter),
      startBox: () => { this.map.isBoxing = true; this.say('Drag a box on the map'); },
    });
  }

  /** Set a filter, take it away with null, or all with no name. */
  filter(id, filter) {
    const where = id === null ? {} : { ...this.state.now.where };
    if (id !== null && filter) where[id] = filter;
    else if (id !== null) delete where[id];
    this.state.set({ where });
  }

  async #view() {
    const isSheet = this.state.now.view === 'tiles';
    $('mapbox').hidden = isSheet;
    $('sheet').hidden = !isSheet;
    if (!isSheet) { this.map.draw(); return; }
    try {
      await this.sheet.show({ samples: this.samples, columns: this.columns, rows: this.rows, state: this.state.now });
    } catch (error) { this.say(error.message, true); }
  }

  /** Open the tile of a row. */
  async choose(row) {
    const { key } = await this.samples.row(row);
    this.state.set({ tile: key, row: String(row) });
  }

  async #tile(name, rowName) {
    const panel = this.panels[name];
    const key = this.state.now[name];
    panel.element.hidden = !key;
    const old = this.tiles[name];
    if (old && old.row.key === key && String(old.i) === this.state.now[rowName]) return;
    this.tiles[name] = null;
    this.#marks();
    if (!key) { panel.tile = null; fill(panel.element); return; }
    panel.say(`Reading ${key} …`);
    panel.element.ariaBusy = true;
    try {
      const row = await this.#rowOf(key, Number(this.state.now[rowName]));
      const tile = await loadTile(this.base, this.catalogue, this.samples, row);
      if (this.state.now[name] !== key) return;
      this.tiles[name] = tile;
      await panel.show(tile);
      this.#marks();
    } catch (error) { panel.say(error.message, true); }
    panel.element.ariaBusy = false;
  }

  async #rowOf(key, row) {
    if (row >= 0 && row < this.samples.n && (await this.samples.row(row)).key === key) return row;
    const found = await this.samples.find(key);
    if (found < 0) throw new Error(`${key} is no sample of ${this.tasks.join(', ')}; the link is of another dataset, or task`);
    return found;
  }

  #marks() {
    this.map.marks = Object.values(this.tiles).filter((tile) => tile && this.place).map(({ i }) => ({ x: this.place.x[i], y: this.place.y[i] }));
    this.map.draw();
  }

  #panel(name, rowName) {
    const step = (by) => {
      const rows = (this.state.now.view === 'tiles' && this.sheet.order) || this.rows; // as they are seen
      const at = rows.indexOf(Number(this.state.now[rowName]));
      const row = rows[at < 0 ? 0 : (at + by + rows.length) % rows.length];
      if (row !== undefined) this.choose(row);
    };
    const button = (label, title, onclick) => h('button', { type: 'button', title, 'aria-label': title, onclick }, label);
    const actions = name === 'tile' ? () => [
      button('‹', 'The tile before it in the selection (key: p)', () => step(-1)), button('›', 'The next tile of the selection (key: n)', () => step(1)),
      button('Python', 'Copy this tile as Python', () => this.#copied(() => tileAsPython(this.tiles.tile.row.task, this.tiles.tile.row.key, this.#url))),
      button('Compare', 'Keep this tile beside the next one', () => this.state.set({ other: this.state.now.tile, otherRow: this.state.now.row })),
    ] : () => [];
    this.step ??= step;
    return new Panel($(name), {
      pictures: () => this.state.now.pictures, statistics: (layer) => this.#statistics(layer), change: (...picture) => this.#picture(...picture),
      close: () => this.state.set({ [name]: undefined, [rowName]: undefined }), actions,
      run: (tile) => this.#said(tile), origin: (tile) => this.samples.origin(tile.i),
    });
  }

  async #said({ i }) {
    if (!this.run) return null;
    const { columns } = this.run;
    const found = await Promise.all(columns.map((column) => this.run.read(this.samples, column)));
    const said = columns.map(({ label, unit }, k) => [label, found[k].values ? withUnit(found[k].values[i], unit) : found[k].names[found[k].codes[i]] ?? '–']);
    return said.every(([, value]) => value.startsWith('–')) ? 'did not predict this sample' : said.map((each) => each.join(' ')).join(', ');
  }

  #picture(name, picture) { this.state.set({ pictures: { ...this.state.now.pictures, [name]: picture } }); }

  #pointed(row, place) {
    $('map').title = '';
    $('pointed').textContent = place ? `${shown(place[0], 5)}°, ${shown(place[1], 5)}°${row >= 0 ? ` · sample ${row}: click to open` : ''}` : '';
  }

  #copy(make) {
    return this.#copied(() => make(this.samples, this.columns, this.state.now.where, this.rows, this.#url));
  }

  get #url() { return this.config.path ?? this.base.href; }

  async #copied(make) {
    try {
      const text = await make();
      $('copied').querySelector('pre').textContent = text;
      await navigator.clipboard?.writeText(text).catch(() => {});
      $('copied').showModal();
    } catch (error) { this.say(error.message, true); }
  }

  #theme() {
    const isDark = (document.documentElement.dataset.theme ?? (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light')) === 'dark';
    document.documentElement.dataset.theme = isDark ? 'light' : 'dark';
    this.map.draw();
  }

  #key(event) {
    if (event.target.matches('input, select, textarea') || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === 'n') this.step(1);
    else if (event.key === 'p') this.step(-1);
    else if (event.key === 'Escape' && this.state.now.tile) this.state.set({ tile: undefined, row: undefined });
  }
}

async function boot() {
  const config = await json(new URL('explorer.json', import.meta.url), true) ?? {};
  const base = new URL(new URLSearchParams(location.search).get('data') ?? config.data ?? '../', new URL('.', import.meta.url));
  if (!base.pathname.endsWith('/')) base.pathname += '/';
  const [catalogue, card, runs] = await Promise.all([json(new URL('catalogue.json', base)), json(new URL('dataset.json', base)), loadRuns()]);
  if (!String(card.schema_version).startsWith('2.')) throw new Error(`found schema version ${card.schema_version}, expected 2.x; make the page again with the mmearth that made the dataset`);
  window.mmearth = new Explorer({ base, config, catalogue, card, runs });
  await window.mmearth.start();
}

boot().catch((error) => {
  document.getElementById('status').textContent = location.protocol === 'file:' ? 'A browser lets no page read files: open it with mmearth catalog explorer DIR --serve, or from a web server' : error.message;
  document.getElementById('status').className = 'problem';
});
