// The filters as a form: split and the like always, layers and other columns where they are wanted.
import { choice, fill, h } from './dom.js';
import { nameOf } from './colours.js';

const FEW = 16; // names that are boxes to tick; of more, one is typed

/** Draw the form again; `change(id, filter)` is told, with null where a filter goes. */
export async function drawForm(element, { samples, columns, where, change, startBox }) {
  const shown = [...columns.values()].filter((column) => column.group === 'Sample' || column.group === 'Target' || column.group === 'Benchmark run');
  const fields = await Promise.all(shown.map((column) => field(column, { samples, where, change, startBox })));
  const layers = [...new Set([...columns.values()].filter((column) => column.layer).map((column) => column.layer))];
  const boxes = layers.map((layer) => layerFields([...columns.values()].filter((column) => column.layer === layer), { where, change }));
  const isOpen = element.querySelector('details')?.open || Object.keys(where).some((id) => columns.get(id)?.layer);
  fill(element, fields, h('details', { open: isOpen }, h('summary', {}, 'Layers: there, share, stand-ins, values'), boxes),
    h('button', { type: 'button', disabled: !Object.keys(where).length, onclick: () => change(null) }, 'Clear all filters'));
}

async function field(column, context) {
  const { where, change } = context;
  const body = column.kind === 'box' ? boxField(where.place, context)
    : column.kind === 'boolean' ? yesNo(column, where, change)
      : ['category', 'labels'].includes(column.kind) ? await names(column, context)
        : ends(column, where[column.id], change);
  return h('fieldset', { 'data-filter': column.id }, h('legend', {}, column.label + (column.unit && column.unit !== '1' && column.kind === 'number' ? `, ${column.unit}` : '')), body);
}

function boxField(filter, { change, startBox }) {
  if (!filter) return h('button', { type: 'button', onclick: startBox }, 'Draw on the map (or Shift + drag)');
  const [west, south, east, north] = filter.box;
  const side = (label, at) => h('input', { type: 'number', step: 'any', value: filter.box[at], 'aria-label': label, onchange: (event) => change('place', { box: filter.box.with(at, Number(event.target.value)) }) });
  return [side('West', 0), side('South', 1), side('East', 2), side('North', 3), h('button', { type: 'button', 'aria-label': `Remove the box ${west} to ${east}, ${south} to ${north}`, onclick: () => change('place', null) }, '×')];
}

function yesNo(column, where, change) {
  return choice(column.label, [['', 'any'], ['true', 'yes'], ['false', 'no']], where[column.id]?.in?.[0] ?? '', (value) => change(column.id, value ? { in: [value] } : null));
}

async function names(column, { samples, where, change }) {
  const data = await samples.column(column);
  const chosen = where[column.id]?.in ?? [];
  const set = (list) => change(column.id, list.length ? { in: list } : null);
  if (data.names.length <= FEW) return [...data.names].sort().map((name) => tick(nameOf(column, name), chosen.includes(name), (isOn) => set(isOn ? [...chosen, name] : chosen.filter((each) => each !== name))));
  const all = new Map(data.names.map((name) => [nameOf(column, name), name]));
  const id = `names-${column.id}`;
  return [
    ...chosen.map((name) => h('button', { type: 'button', className: 'chip', 'aria-label': `Remove ${nameOf(column, name)}`, onclick: () => set(chosen.filter((each) => each !== name)) }, `${nameOf(column, name)} ×`)),
    h('input', { list: id, placeholder: `one of ${data.names.length}`, 'aria-label': `Add to ${column.label}`, onchange: (event) => { const name = all.get(event.target.value); if (name !== undefined && !chosen.includes(name)) set([...chosen, name]); } }),
    h('datalist', { id }, [...all.keys()].sort().map((name) => h('option', { value: name }))),
  ];
}

function tick(label, isOn, change) {
  return h('label', {}, h('input', { type: 'checkbox', checked: isOn, onchange: (event) => change(event.target.checked) }), label);
}

function ends(column, filter, change) {
  const type = column.kind === 'date' ? 'date' : 'number';
  const read = (value) => (value === '' ? undefined : type === 'date' ? value : Number(value));
  const side = (name, label) => h('input', {
    type, step: 'any', value: filter?.[name] ?? '', placeholder: name === 'from' ? 'least' : 'most', 'aria-label': `${column.label}, ${label}`,
    onchange: (event) => {
      const next = { ...filter, [name]: read(event.target.value) };
      change(column.id, next.from === undefined && next.to === undefined ? null : { from: next.from, to: next.to });
    },
  });
  return [side('from', 'at least'), side('to', 'at most')];
}

function layerFields(columns, { where, change }) {
  const [present, share, standIn, ...values] = columns;
  const title = present.label.replace(/: there$/, '');
  const chosen = where[standIn.id]?.in;
  const own = !chosen ? '' : chosen[0] === null ? 'own' : chosen[0];
  return h('fieldset', { 'data-filter': present.layer }, h('legend', {}, title),
    choice(`${title}: there or not`, [['', 'there or not'], ['true', 'there'], ['false', 'missing']], where[present.id]?.in?.[0] ?? '', (value) => change(present.id, value ? { in: [value] } : null)),
    choice(`${title}: stand-in`, [['', 'own or stand-in'], ['own', 'own product'], ...(own && own !== 'own' ? [[own, own]] : [])], own, (value) => change(standIn.id, value === 'own' ? { in: [null] } : null)),
    h('span', {}, 'share'), ends(share, where[share.id], change),
    values.map((column) => h('span', { className: 'line' }, h('span', {}, column.label.replace(`${title}: `, '')), ends(column, where[column.id], change))));
}
