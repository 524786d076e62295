// What benchmark runs said of the samples: small tables that `--results` put beside the page.
import { json } from './remote.js';
import { readColumn } from './samples.js';

/** Return the runs of `results.json`; none where there is no such file. */
export async function loadRuns() {
  const found = await json(new URL('results.json', import.meta.url), true);
  return (found?.runs ?? []).map((run) => {
    const kept = new Map();
    const column = (samples, about) => {
      if (!kept.has(about.name)) kept.set(about.name, read(run, samples, about));
      return kept.get(about.name);
    };
    return { ...run, read: column };
  });
}

async function read(run, samples, { name, kind }) {
  const url = new URL(run.file, import.meta.url).href;
  run.rows ??= readColumn(url, 'row', 'number');
  const [{ values: rows }, found] = await Promise.all([run.rows, readColumn(url, name, kind)]);
  const isNumber = kind === 'number';
  const whole = isNumber ? new Float64Array(samples.n).fill(NaN) : new Int32Array(samples.n).fill(-1);
  const some = isNumber ? found.values : found.codes;
  rows.forEach((row, i) => { whole[row] = some[i]; });
  return isNumber ? { values: whole } : { codes: whole, names: found.names };
}
