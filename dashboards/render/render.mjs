// Renders a dashboard with a Prometheus' data into a PNG:
//
//   npm ci && npm run render -- ../node.json http://127.0.0.1:9090 picture.png \
//     '{"instance": "127.0.0.1:9940", "minutes": 15, "rows": 36}'
//
// Requires Chromium. Options: instance, vm (for vm.json), minutes, to (seconds; default now), step and
// scrape (seconds), width (pixels), rows (of Grafana's grid, from the top; default all), heading.

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { build } from 'esbuild';
import { answers } from './ask.mjs';

const require = createRequire(import.meta.url);
const now = Math.floor(Date.now() / 1000);
const DEFAULTS = { minutes: 15, step: 15, scrape: 15, width: 1500, to: now };

function chosen(prometheus, choices) {
  const choice = { ...DEFAULTS, prometheus, ...JSON.parse(choices) };
  choice.to -= choice.to % choice.step;
  choice.from = choice.to - choice.minutes * 60;
  return choice;
}

function bundle(folder) {
  return build({
    entryPoints: [new URL('page.jsx', import.meta.url).pathname],
    outfile: join(folder, 'page.js'),
    bundle: true,
    format: 'iife',
    define: { 'process.env.NODE_ENV': '"production"', global: 'window' },
    loader: { '.svg': 'dataurl', '.ttf': 'dataurl' },
    logLevel: 'error',
    // These libraries expect webpack's interop, but esbuild treats CommonJS imports from .mjs files like
    // Node.js: so load everything as CommonJS.
    alias: Object.fromEntries(['@grafana/ui', '@grafana/data'].map((name) => [name, require.resolve(name)])),
  });
}

// Chromium's fetch() refuses file: URLs, which the icons have here; XMLHttpRequest reads them.
const FETCH = `window.fetch = (url) => new Promise((answer, failed) => {
  const request = new XMLHttpRequest();
  request.onload = () => answer(new Response(request.responseText, { headers: { 'content-type': 'image/svg+xml' } }));
  request.onerror = failed;
  request.open('GET', url);
  request.send();
});`;

function page(folder, picture) {
  // Serve icons under Grafana's paths.
  symlinkSync(join(dirname(require.resolve('@grafana/ui/package.json')), 'dist/public'), join(folder, 'public'));
  // Data must not terminate the script element.
  const data = JSON.stringify(picture).replaceAll('<', '\\u003c');
  const file = join(folder, 'page.html');
  writeFileSync(file, `<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="page.css"><body>
    <script>${FETCH}</script><script>window.picture = ${data}</script><script src="page.js"></script>`);
  return `file://${file}`;
}

function photograph(folder, address, width, height, png) {
  const options = ['--headless', '--no-sandbox', '--disable-gpu', '--hide-scrollbars', '--enable-logging=stderr',
    '--allow-file-access-from-files', '--virtual-time-budget=8000', `--user-data-dir=${folder}/chromium`,
    `--window-size=${width},${height}`, `--screenshot=${resolve(png)}`];
  const { status, stderr } = spawnSync('chromium', [...options, address], { encoding: 'utf8', timeout: 120000 });
  const said = (stderr ?? '').split('\n').filter((line) => line.includes('CONSOLE'));
  if (said.length) console.error(said.slice(0, 10).join('\n'));
  return status ?? 1;
}

const [file, prometheus, png, choices = '{}'] = process.argv.slice(2);
const choice = chosen(prometheus, choices);
const dashboard = JSON.parse(readFileSync(file, 'utf8'));
const bottom = ({ gridPos: { y, h } }) => y + h;
const rows = choice.rows ?? Math.max(...dashboard.panels.map(bottom));
dashboard.panels = dashboard.panels.filter((panel) => bottom(panel) <= rows);
const heading = choice.heading ?? [dashboard.title, choice.instance, choice.vm].filter(Boolean).join('   ·   ');
const folder = mkdtempSync(join(tmpdir(), 'guestreq-render-'));
try {
  await bundle(folder);
  const address = page(folder, { dashboard, choice, heading, answers: await answers(dashboard, choice) });
  process.exitCode = photograph(folder, address, choice.width, rows * 38 + 56, png);
} finally {
  rmSync(folder, { recursive: true });
}
