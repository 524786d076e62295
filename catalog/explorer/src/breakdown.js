// What a run says of the selected samples, by split, biome, batch or any other names.
import { nameOf } from './colours.js';
import { h, withUnit } from './dom.js';

const MOST = 24;

/** Return the columns by whose names samples can be told apart. */
export const groupings = (columns) => [...columns.values()].filter((column) => ['category', 'boolean'].includes(column.kind));

/** Return [{name, n, means}] of the groups that have a predicted sample, the most wrong first. */
export function breakDown({ codes, names }, found, rows) {
  const groups = [...names, null].map((name) => ({ name, n: 0, counts: found.map(() => 0), sums: found.map(() => 0) }));
  for (const row of rows) {
    const group = groups[codes[row] < 0 ? names.length : codes[row]];
    if (!Number.isNaN(found[0].values[row])) group.n++;
    found.forEach(({ column, values }, i) => {
      if (Number.isNaN(values[row])) return;
      group.counts[i]++;
      group.sums[i] += column.mean === 'square' ? values[row] ** 2 : values[row];
    });
  }
  const mean = ({ sums, counts }, i) => (found[i].column.mean === 'square' ? Math.sqrt(sums[i] / counts[i]) : sums[i] / counts[i]);
  return groups.filter((group) => group.n).map((group) => ({ name: group.name, n: group.n, means: found.map((_, i) => mean(group, i)) })).sort((a, b) => b.means[0] - a.means[0]);
}

/** Return them as a table; a group's name filters by it. */
export function drawBreakdown(groups, by, found, choose) {
  const labels = found.map(({ column }) => (column.mean === 'square' ? `${column.label}, root mean square` : `${column.label}, mean`));
  const row = ({ name, n, means }) => h('tr', {},
    h('th', { scope: 'row' }, h('button', { type: 'button', title: 'Filter by it', onclick: () => choose({ in: [name] }) }, nameOf(by, name))), h('td', {}, String(n)),
    means.map((value, i) => h('td', {}, withUnit(value, found[i].column.unit))));
  const head = ['', 'samples', ...labels].map((label) => h('th', { scope: 'col' }, label));
  return [h('table', { className: 'numbers' }, h('thead', {}, h('tr', {}, head)), h('tbody', {}, groups.slice(0, MOST).map(row))), groups.length > MOST ? h('p', { className: 'hint' }, `and ${groups.length - MOST} more`) : null];
}
