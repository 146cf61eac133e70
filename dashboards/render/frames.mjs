// Converts Prometheus' answers to Grafana's data frames.

import {
  FieldType, fieldMatchers, getDisplayProcessor, standardTransformers, standardTransformersRegistry, toDataFrame,
  transformDataFrame,
} from '@grafana/data';
import { lastValueFrom } from 'rxjs';

standardTransformersRegistry.setInit(() =>
  [standardTransformers.mergeTransformer, standardTransformers.organizeFieldsTransformer]
    .map((transformation) => ({ id: transformation.id, name: transformation.name, transformation })));

const THRESHOLDS = [{ value: -Infinity, color: 'green' }, { value: 80, color: 'red' }];

const named = (format, labels) => format.replace(/{{\s*(\w+)\s*}}/g, (_, label) => labels[label] ?? '');

// One frame per series, on a complete grid of times.
export function lines(answers, range) {
  return answers.flatMap(({ refId, legendFormat, step, series }) => series.map(({ metric, values, value }) => {
    const times = [];
    for (let at = range.from; at <= range.to; at += step) times.push(at * 1000);
    const known = new Map((values ?? [value]).map(([time, number]) => [Math.round(time * 1000), Number(number)]));
    const at = values ? times : [...known.keys()];
    return toDataFrame({ refId, fields: [
      { name: 'Time', type: FieldType.time, values: at },
      { name: 'Value', type: FieldType.number, labels: metric,
        config: { displayNameFromDS: named(legendFormat, metric) },
        values: at.map((time) => (Number.isFinite(known.get(time)) ? known.get(time) : null)) },
    ] });
  }));
}

// One frame per query, one column per label.
export function rows(answers) {
  return answers.map(({ refId, series }) => {
    const name = answers.length > 1 ? `Value #${refId}` : 'Value';
    const labels = [...new Set(series.flatMap(({ metric }) => Object.keys(metric)))];
    return toDataFrame({ refId, fields: [
      { name: 'Time', type: FieldType.time, values: series.map(({ value }) => value[0] * 1000) },
      ...labels.map((label) =>
        ({ name: label, type: FieldType.string, values: series.map(({ metric }) => metric[label] ?? '') })),
      { name, type: FieldType.number, values: series.map(({ value }) => Number(value[1])) },
    ] });
  });
}

export const transformed = (panel, frames) =>
  lastValueFrom(transformDataFrame(panel.transformations ?? [], frames));

// The panel's settings for a field, without links.
function settings(panel, field, frame, frames) {
  const { defaults, overrides } = panel.fieldConfig;
  const config = { ...structuredClone(defaults), ...field.config, custom: { ...defaults.custom } };
  const fits = ({ matcher: { id, options } }) => fieldMatchers.get(id).get(options)(field, frame, frames);
  for (const { id, value } of overrides.filter(fits).flatMap(({ properties }) => properties)) {
    if (id === 'links') continue;
    const [where, key] = id.startsWith('custom.') ? [config.custom, id.slice('custom.'.length)] : [config, id];
    where[key] = value;
  }
  // Grafana's defaults.
  config.color ??= { mode: panel.type === 'timeseries' ? 'palette-classic' : 'thresholds' };
  config.thresholds ??= { mode: 'absolute', steps: THRESHOLDS };
  return config;
}

export function configured(panel, frames, theme) {
  let series = 0;
  for (const frame of frames) {
    for (const field of frame.fields) {
      const isTime = field.type === FieldType.time;
      field.config = isTime ? { custom: {} } : settings(panel, field, frame, frames);
      const { displayName, displayNameFromDS } = field.config;
      field.state = { ...field.state, displayName: displayName ?? displayNameFromDS };
      if (field.type === FieldType.number) field.state.seriesIndex = series++;
      field.display = getDisplayProcessor({ field, theme });
    }
  }
  return frames;
}
