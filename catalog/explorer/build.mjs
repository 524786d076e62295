// Bundle src/ into page/, which is committed: `npm ci && npm run build`.
import { createHash } from 'node:crypto';
import { copyFileSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { build } from 'esbuild';

const SOURCES = ['package-lock.json', ...readdirSync('src').sort().map((name) => `src/${name}`)];
const digest = createHash('sha256');
for (const name of SOURCES) digest.update(readFileSync(name));

mkdirSync('page', { recursive: true });
await build({
  entryPoints: { explorer: 'src/main.js', worker: 'src/worker.js' },
  outdir: 'page', bundle: true, minify: true, format: 'esm', target: 'es2022', charset: 'utf8',
  loader: { '.json': 'json' }, legalComments: 'none', logLevel: 'warning',
  banner: { js: `/* mmearth explorer; sources ${digest.digest('hex').slice(0, 16)}; licences in LICENCES.txt */` },
});
copyFileSync('src/index.html', 'page/index.html');
copyFileSync('src/explorer.css', 'page/explorer.css');

const LIBRARIES = ['d3-geo', 'fzstd', 'hyparquet', 'topojson-client', 'world-atlas'];
const texts = LIBRARIES.map((name) => {
  const folder = `node_modules/${name}`;
  const { version } = JSON.parse(readFileSync(`${folder}/package.json`));
  const licence = readdirSync(folder).find((file) => /^licen[cs]e/i.test(file));
  return `${name} ${version}\n\n${readFileSync(`${folder}/${licence}`, 'utf8').trim()}\n`;
});
const notice = 'The page holds code of mmearth (Apache-2.0) and of these, and the coastlines of Natural Earth (public domain):\n';
writeFileSync('page/LICENCES.txt', [notice, ...texts].join('\n----\n\n'));
