// How many of the selected samples have which value.
import { h } from './dom.js';
import { shown } from './dom.js';
import { isoDay } from './filters.js';
import { nameOf } from './colours.js';

const BINS = 24;
const MOST = 24;

/** Return bars of a column under a selection: [{label, count, filter}]. */
export function count(column, data, rows) {
  if (data.offsets) return countLabels(column, data, rows);
  return data.codes ? countNames(column, data, rows) : countNumbers(column, data.values, rows);
}

function countNames(column, { codes, names }, rows) {
  const counts = new Uint32Array(names.length + 1);
  for (let i = 0; i < rows.length; i++) counts[codes[rows[i]] < 0 ? names.length : codes[rows[i]]]++;
  return ranked([...names, null], counts, column);
}

function countLabels(column, { offsets, codes, names }, rows) {
  const counts = new Uint32Array(names.length);
  for (const row of rows) for (let at = offsets[row]; at < offsets[row + 1]; at++) counts[codes[at]]++;
  return ranked(names, counts, column);
}

function ranked(names, counts, column) {
  const order = [...names.keys()].filter((i) => counts[i]).sort((a, b) => counts[b] - counts[a]);
  const bars = order.slice(0, MOST).map((i) => ({ label: nameOf(column, names[i]), count: counts[i], filter: { in: [names[i]] } }));
  if (order.length > MOST) bars.more = order.length - MOST;
  return bars;
}

function countNumbers(column, values, rows) {
  let low = Infinity;
  let high = -Infinity;
  for (let i = 0; i < rows.length; i++) { const value = values[rows[i]]; if (value < low) low = value; if (value > high) high = value; }
  if (low > high) return [];
  const width = (high - low) / BINS || 1;
  const bars = Array.from({ length: high > low ? BINS : 1 }, (_, i) => ({ count: 0, from: low + i * width, to: i === BINS - 1 ? high : low + (i + 1) * width }));
  for (let i = 0; i < rows.length; i++) {
    const value = values[rows[i]];
    if (!Number.isNaN(value)) bars[Math.min(bars.length - 1, Math.floor((value - low) / width))].count++;
  }
  const say = column.kind === 'date' ? (value) => isoDay(Math.floor(value)) : (value) => shown(value, 3);
  const filter = column.kind === 'date' ? (value) => isoDay(Math.floor(value)) : (value) => Number(value.toPrecision(6));
  for (const bar of bars) Object.assign(bar, { label: `${say(bar.from)} to ${say(bar.to)}`, filter: { from: filter(bar.from), to: filter(bar.to) } });
  return bars;
}

/** Return the bars as a picture of buttons; a click filters by one. */
export function draw(bars, column, choose) {
  const most = Math.max(1, ...bars.map((bar) => bar.count));
  const columns = bars.map((bar) => h('button', {
    className: 'bar', type: 'button', title: `${bar.label}: ${bar.count}`, 'aria-label': `${bar.label}: ${bar.count} samples; filter by it`, onclick: () => choose(bar.filter),
  }, h('span', { style: `height:${(bar.count / most * 100).toFixed(1)}%` })));
  const first = bars[0]?.label.split(' to ')[0] ?? 'nothing';
  const last = bars.at(-1)?.label.split(' to ').at(-1) ?? '';
  const unit = column.unit && column.unit !== '1' ? ` ${column.unit}` : '';
  const isNumber = bars[0]?.from !== undefined;
  const below = isNumber ? [h('span', {}, `${first}${unit}`), h('span', {}, `most: ${most}`), h('span', {}, `${last}${unit}`)]
    : [h('span', {}, bars.slice(0, 3).map((bar) => `${bar.label} ${bar.count}`).join(' · ') + (bars.length > 3 ? ' …' : '')), bars.more ? h('span', {}, `and ${bars.more} more`) : null];
  return [h('div', { className: 'bars', role: 'group', 'aria-label': `Histogram of ${column.label}` }, columns), h('div', { className: 'ends' }, below.filter(Boolean))];
}
