// The rendered page: the dashboard's panels with Grafana's positions and sizes.

import React from 'react';
import { createRoot } from 'react-dom/client';
import { createTheme, dateTime, ThemeContext } from '@grafana/data';
import { BigValue, GlobalStyles, PanelChrome, Table, TimeSeries } from '@grafana/ui';
import 'uplot/dist/uPlot.min.css';
import { configured, lines, rows, transformed } from './frames.mjs';
import { Heatmap } from './heatmap.jsx';

const { dashboard, answers, choice, heading } = window.picture;
// Table frames, prepared before rendering because transformations are asynchronous.
const tables = {};
const theme = createTheme({ colors: { mode: 'dark' } });
const range = { from: dateTime(choice.from * 1000), to: dateTime(choice.to * 1000) };
const timeRange = { ...range, raw: range };
// Grafana's grid: 24 columns, rows of 30 with 8 between.
const [COLUMN, ROW, GAP] = [window.innerWidth / 24, 38, 8];

function Stat({ panel, answers, width, height }) {
  const { options } = panel;
  const frames = configured(panel, lines(answers, choice), theme);
  if (frames.length === 0) return <Nothing panel={panel} />;
  const values = frames.map(({ fields: [, field] }) =>
    ({ ...field.display(field.values.at(-1)), title: field.state.displayName }));
  const down = options.orientation === 'horizontal' || values.length === 1;
  const size = down ? { width, height: height / values.length } : { width: width / values.length, height };
  return <div style={{ display: 'flex', flexDirection: down ? 'column' : 'row' }}>{values.map((value) => (
    <BigValue key={value.title} theme={theme} value={value} {...size} count={values.length} graphMode="none"
      colorMode={options.colorMode} textMode={options.textMode} text={options.text}
      justifyMode={options.justifyMode} />))}</div>;
}

function Lines({ panel, answers, width, height }) {
  const frames = configured(panel, lines(answers, choice), theme);
  if (frames.length === 0) return <Nothing panel={panel} />;
  return <TimeSeries frames={frames} structureRev={1} timeRange={timeRange} timeZone="utc" width={width}
    height={height} legend={panel.options.legend} options={panel.options} tweakScale={(scale) => scale}
    tweakAxis={(axis) => axis} />;
}

function Rows({ panel, width, height }) {
  const [frame] = tables[panel.id];
  if (!frame || frame.length === 0) return <Nothing panel={panel} />;
  return <Table data={frame} width={width} height={height} cellHeight={panel.options.cellHeight}
    initialSortBy={panel.options.sortBy} />;
}

function Nothing({ panel }) {
  const style = { padding: 16, textAlign: 'center', opacity: 0.6 };
  return <div style={style}>{panel.fieldConfig.defaults.noValue ?? 'No data'}</div>;
}

const KINDS = { stat: Stat, timeseries: Lines, table: Rows, heatmap: Heatmap };

function Panel({ panel }) {
  const { x, y, w, h } = panel.gridPos;
  const place = { position: 'absolute', left: x * COLUMN + GAP / 2, top: y * ROW + 48 };
  const size = { width: w * COLUMN - GAP, height: h * ROW - GAP };
  if (panel.type === 'row') return <div style={{ ...place, ...size, fontSize: 16 }}>{panel.title}</div>;
  const Kind = KINDS[panel.type];
  const given = { panel, choice, theme, answers: answers[panel.id] };
  return <div style={place}>
    <PanelChrome title={panel.title} description={panel.description} {...size}>
      {(width, height) => <Kind {...given} width={width} height={height} />}
    </PanelChrome>
  </div>;
}

async function draw() {
  for (const panel of dashboard.panels.filter(({ type }) => type === 'table')) {
    tables[panel.id] = configured(panel, await transformed(panel, rows(answers[panel.id])), theme);
  }
  createRoot(document.body).render(<ThemeContext.Provider value={theme}>
    <GlobalStyles />
    <div style={{ padding: '12px 8px', fontSize: 16 }}>{heading}</div>
    {dashboard.panels.map((panel) => <Panel key={panel.id} panel={panel} />)}
  </ThemeContext.Provider>);
}

draw();
