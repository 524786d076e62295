// What benchmark runs said of the samples: small tables that `--results` put beside the page.
import { json } from './remote.js';
import { readNumbers } from './samples.js';

/** Return the runs of `results.json`; none where there is no such file. */
export async function loadRuns() {
  const found = await json(new URL('results.json', import.meta.url), true);
  return (found?.runs ?? []).map((run) => ({ ...run, read: (samples, name) => read(run, samples, name) }));
}

async function read(run, samples, name) {
  const url = new URL(run.file, import.meta.url).href;
  run.rows ??= readNumbers(url, ['row']);
  const [rows, found] = await Promise.all([run.rows, readNumbers(url, [name])]);
  const values = new Float64Array(samples.n).fill(NaN);
  rows.forEach((row, i) => { values[row] = found[i]; });
  return { values };
}
