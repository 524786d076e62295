// Which columns the samples can be filtered, coloured and counted by: what the catalogue says.

const word = (name) => `"${name.replaceAll('"', '""')}"`;
const text = (value) => `'${String(value).replaceAll("'", "''")}'`;

/** Return the name of a layer's struct in the manifests. */
export function memberColumn(layer) {
  return hasCode(layer) ? `${layer.name}_observation` : layer.name;
}

const hasCode = (layer) => layer.level === 'tile' && layer.kind === 'categorical' && layer.bands.length === 1;

/** Return the columns of one task's samples, or of several tasks', by id; none that is known to be empty. */
export function columnsOf(catalogue, { tasks, empty }, run) {
  const all = [...plain(tasks), ...codes(catalogue)];
  if (tasks.length === 1) all.push(...target(catalogue.tasks.find((each) => each.name === tasks[0])));
  if (run) all.push(...ofRun(run));
  for (const layer of catalogue.layers) all.push(...ofLayer(layer));
  return new Map(all.filter(({ path }) => !path || !empty.includes(path.join('.'))).map((column) => [column.id, column]));
}

function plain(tasks) {
  const columns = [
    { id: 'split', label: 'Split', kind: 'category', path: ['split'], sql: 'split' },
    { id: 'train_50', label: 'In the 50 % subset', kind: 'boolean', path: ['train_50'], sql: 'train_50' },
    { id: 'train_5', label: 'In the 5 % subset', kind: 'boolean', path: ['train_5'], sql: 'train_5' },
    { id: 'date', label: 'Date', kind: 'date', path: ['date'], sql: 'date' },
    { id: 'lon', label: 'Longitude', kind: 'number', unit: '°', path: ['lon'], sql: 'lon' },
    { id: 'lat', label: 'Latitude', kind: 'number', unit: '°', path: ['lat'], sql: 'lat' },
    { id: 'place', label: 'Box on the map', kind: 'box' },
  ];
  if (tasks.length > 1) columns.splice(1, 0, { id: 'task', label: 'Task', kind: 'category', path: ['task'], sql: 'task' });
  return columns.map((column) => ({ group: 'Sample', ...column }));
}

function codes(catalogue) {
  return catalogue.layers.filter(hasCode).map((layer) => ({
    id: layer.name, label: layer.title, group: 'Sample', kind: 'category', path: [layer.name], sql: word(layer.name),
    classes: new Map(layer.classes.map((each) => [String(each.code), each])),
  }));
}

function target(task) {
  const { name, kind } = task;
  const { bands, level } = task.target;
  const base = { group: 'Target', label: task.title };
  if (level === 'pixel') {
    const share = { ...base, id: `${name}.valid_fraction`, label: 'Share of labelled pixels', kind: 'number', unit: '1', path: [name, 'valid_fraction'], sql: `${word(name)}['valid_fraction']` };
    if (kind !== 'regression') return [share];
    return [{ ...base, id: `${name}.mean`, label: `${task.title}: mean`, kind: 'number', unit: bands[0].unit, path: [name, 'mean'], sql: `${word(name)}['mean']` }, share];
  }
  if (kind === 'multilabel') return [{ ...base, id: name, kind: 'labels', path: [name, 'list', 'element'], sql: word(name), names: bands.map((band) => band.name) }];
  if (kind === 'classification') return [{ ...base, id: name, kind: 'category', path: [name], sql: word(name) }];
  if (bands.length === 1) return [{ ...base, id: 'target', kind: 'number', unit: bands[0].unit, path: ['target'], sql: 'target' }];
  return bands.map((band) => ({
    ...base, id: `${name}.${band.name}`, label: `${task.title}: ${band.name}`, kind: 'number', unit: band.unit,
    path: [name, band.name], sql: `${word(name)}[${text(band.name)}]`,
  }));
}

function ofRun(run) {
  return run.columns.map((column) => ({ ...column, id: `run.${column.name}`, group: 'Benchmark run', data: (samples) => run.read(samples, column) }));
}

function ofLayer(layer) {
  const column = memberColumn(layer);
  const base = { group: layer.title, layer: layer.name };
  const found = [
    { ...base, id: `${layer.name}.present`, label: `${layer.title}: there`, kind: 'boolean', path: [column, 'present'], sql: `${word(column)}.present` },
    { ...base, id: `${layer.name}.valid_fraction`, label: `${layer.title}: share of valid pixels`, kind: 'number', unit: '1', path: [column, 'valid_fraction'], sql: `${word(column)}.valid_fraction` },
    { ...base, id: `${layer.name}.stand_in`, label: `${layer.title}: stand-in`, kind: 'category', path: [column, 'stand_in'], sql: `${word(column)}.stand_in`, nothing: 'its own product' },
  ];
  if (layer.level === 'tile' && !hasCode(layer)) {
    layer.bands.forEach((band, index) => found.push({
      ...base, id: `${layer.name}.${band.name}`, label: `${layer.title}: ${band.name}`, kind: 'number', unit: band.unit,
      path: [column, 'values', 'list', 'element'], index, nodata: layer.nodata, sql: `${word(column)}.values[${index + 1}]`,
    }));
  }
  return found;
}

/** Return a condition in SQL for a filter of a column. */
export function condition(column, filter) {
  if (filter.box) {
    const [west, south, east, north] = filter.box;
    return `lon BETWEEN ${west} AND ${east} AND lat BETWEEN ${south} AND ${north}`;
  }
  if (column.kind === 'boolean') return filter.in[0] === 'true' ? column.sql : `NOT ${column.sql}`;
  if (filter.in) return oneOf(column, filter.in);
  const literal = column.kind === 'date' ? (day) => `DATE '${day}'` : String;
  const parts = [];
  if (filter.from !== undefined) parts.push(`${column.sql} >= ${literal(filter.from)}`);
  if (filter.to !== undefined) parts.push(`${column.sql} <= ${literal(filter.to)}`);
  if (column.nodata !== undefined && column.nodata !== null) parts.push(`${column.sql} <> ${column.nodata}`);
  return parts.join(' AND ');
}

function oneOf(column, names) {
  if (column.kind === 'labels') return `(${names.map((name) => `list_contains(${column.sql}, ${text(name)})`).join(' OR ')})`;
  const literal = column.classes ? String : text;
  const given = names.filter((name) => name !== null);
  const parts = [];
  if (given.length) parts.push(`${column.sql} IN (${given.map(literal).join(', ')})`);
  if (given.length < names.length) parts.push(`${column.sql} IS NULL`);
  return parts.length > 1 ? `(${parts.join(' OR ')})` : parts[0];
}
