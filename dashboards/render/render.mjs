// Draws a dashboard, with what a Prometheus has of it, into a PNG:
//
//   npm ci && npm run render -- ../node.json http://127.0.0.1:9090 picture.png \
//     '{"instance": "127.0.0.1:9940", "minutes": 15, "rows": 36}'
//
// It wants Chromium. Choices: instance, vm (one, for vm.json), minutes and to (seconds; now), step and
// scrape (seconds), width (pixels), rows (of Grafana's grid, from the top; all), heading.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { createRequire } from 'node:module';
import { build } from 'esbuild';
import { answers } from './ask.mjs';

const [file, prometheus, png, more = '{}'] = process.argv.slice(2);
const choice = { prometheus, minutes: 15, step: 15, scrape: 15, width: 1500, to: Math.floor(Date.now() / 1000), ...JSON.parse(more) };
choice.to -= choice.to % choice.step;
choice.from = choice.to - choice.minutes * 60;
const dashboard = JSON.parse(readFileSync(file, 'utf8'));
const rows = choice.rows ?? Math.max(...dashboard.panels.map(({ gridPos: { y, h } }) => y + h));
dashboard.panels = dashboard.panels.filter(({ gridPos: { y, h } }) => y + h <= rows);
const heading = choice.heading ?? [dashboard.title, choice.instance, choice.vm].filter(Boolean).join('   ·   ');
const picture = { dashboard, choice, heading, answers: await answers(dashboard, choice) };

const require = createRequire(import.meta.url);
const folder = mkdtempSync(join(tmpdir(), 'guestreq-render-'));
const bundle = join(folder, 'page.js');
await build({ entryPoints: [new URL('page.jsx', import.meta.url).pathname], outfile: bundle, bundle: true, format: 'iife',
  define: { 'process.env.NODE_ENV': '"production"', global: 'window' }, loader: { '.svg': 'dataurl', '.ttf': 'dataurl' }, logLevel: 'error',
  // In what .mjs files import, esbuild takes CommonJS as Node.js does, and Grafana's libraries were made for webpack.
  alias: { '@grafana/ui': require.resolve('@grafana/ui'), '@grafana/data': require.resolve('@grafana/data') } });
// Icons are fetched from where Grafana has them.
symlinkSync(join(dirname(require.resolve('@grafana/ui/package.json')), 'dist/public'), join(folder, 'public'));
// A name in the data must not end the script.
const data = JSON.stringify(picture).replaceAll('<', '\\u003c');
writeFileSync(join(folder, 'page.html'), `<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="page.css"><body><script>window.picture = ${data}</script><script src="page.js"></script>`);
const size = `${choice.width},${rows * 38 + 56}`;
const { status, stderr } = spawnSync('chromium', ['--headless', '--no-sandbox', '--disable-gpu', '--allow-file-access-from-files', '--hide-scrollbars', `--user-data-dir=${folder}/chromium`,
  '--virtual-time-budget=8000', '--enable-logging=stderr', `--window-size=${size}`, `--screenshot=${resolve(png)}`, `file://${folder}/page.html`], { encoding: 'utf8', timeout: 120000 });
const said = stderr.split('\n').filter((line) => line.includes('CONSOLE'));
if (said.length) console.error(said.slice(0, 10).join('\n'));
rmSync(folder, { recursive: true });
process.exit(status ?? 1);
