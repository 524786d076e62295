// What is seen, kept in the URL's fragment: a link shows the same, and Back goes back.

const PLAIN = ['task', 'colour', 'histogram', 'by', 'view', 'sort', 'layer', 'run', 'tile', 'row', 'other', 'otherRow', 'map'];
const FILTER = 'f.';
const PICTURE = 'p.';

/** Return the state that a fragment says. */
export function parse(fragment) {
  const state = { where: {}, pictures: {} };
  for (const [name, value] of new URLSearchParams(fragment.replace(/^#/, ''))) {
    if (PLAIN.includes(name)) state[name] = value;
    else if (name.startsWith(FILTER)) state.where[name.slice(2)] = parseFilter(value);
    else if (name.startsWith(PICTURE)) state.pictures[name.slice(2)] = parsePicture(value);
  }
  return state;
}

/** Return the fragment of a state; `parse` gives the state back. */
export function format(state) {
  const out = new URLSearchParams();
  for (const name of PLAIN) if (state[name]) out.set(name, state[name]);
  for (const [id, filter] of Object.entries(state.where)) out.set(FILTER + id, formatFilter(filter));
  for (const [name, picture] of Object.entries(state.pictures)) out.set(PICTURE + name, formatPicture(picture));
  return `#${out}`;
}

function formatFilter(filter) {
  if (filter.in) return `in:${filter.in.map((each) => (each === null ? '~' : encodeURIComponent(each))).join(',')}`;
  if (filter.box) return `box:${filter.box.join(',')}`;
  return `${filter.from ?? ''}..${filter.to ?? ''}`;
}

function parseFilter(text) {
  if (text.startsWith('in:')) {
    return { in: text.slice(3).split(',').map((each) => (each === '~' ? null : decodeURIComponent(each))) };
  }
  if (text.startsWith('box:')) return { box: text.slice(4).split(',').map(Number) };
  const [from, to] = text.split('..');
  const side = (value) => (value === '' || value === undefined ? undefined : /^\d{4}-/.test(value) ? value : Number(value));
  return { from: side(from), to: side(to) };
}

function formatPicture({ bands, palette, low, high }) {
  return [bands.join('-'), palette ?? '', low ?? '', high ?? ''].join('_');
}

function parsePicture(text) {
  const [bands, palette, low, high] = text.split('_');
  const side = (value) => (value === '' || value === undefined ? undefined : Number(value));
  return { bands: bands.split('-').map(Number), palette: palette || undefined, low: side(low), high: side(high) };
}

/** The state, those who want to know of its changes, and the URL. */
export class State {
  constructor() {
    this.now = parse(location.hash);
    this.listeners = [];
    addEventListener('popstate', () => {
      const before = this.now;
      this.now = parse(location.hash);
      const names = [...PLAIN, 'where', 'pictures'];
      this.#tell(names.filter((name) => JSON.stringify(before[name]) !== JSON.stringify(this.now[name])));
    });
  }

  /** Change some of it: an entry of the browser's history. */
  set(changes) {
    this.now = { ...this.now, ...changes };
    if (format(this.now) !== location.hash) history.pushState(null, '', this.#url);
    this.#tell(Object.keys(changes));
  }

  /** Change some of it that is drawn already, without an entry of its own. */
  keep(changes) {
    this.now = { ...this.now, ...changes };
    history.replaceState(null, '', this.#url);
  }

  get #url() { return location.pathname + location.search + format(this.now); }

  #tell(names) { for (const listener of this.listeners) listener(this.now, new Set(names)); }
}
