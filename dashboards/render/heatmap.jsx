// A heatmap of cumulative buckets, because no Grafana library exports its own. Same colours, axes and units.

import React, { useEffect, useRef } from 'react';
import { dateTimeFormat, getValueFormat, formattedValueToString } from '@grafana/data';

const [LEFT, BOTTOM, TOP] = [64, 24, 8];

function cells(answers) {
  const buckets = answers.flatMap(({ series }) => series)
    .map(({ metric, values }) => ({
      le: Number(metric.le.replace('+Inf', 'Infinity')),
      at: new Map(values.map(([time, count]) => [time, Number(count)])),
    }))
    .sort((a, b) => a.le - b.le);
  return buckets.map(({ le, at }, i) => {
    const below = (time) => buckets[i - 1]?.at.get(time) ?? 0;
    return { le, counts: new Map([...at].map(([time, count]) => [time, Math.max(0, count - below(time))])) };
  });
}

export function Heatmap({ panel, answers, choice, theme, width, height }) {
  const canvas = useRef(null);
  useEffect(() => {
    const context = canvas.current.getContext('2d');
    const rows = cells(answers);
    const most = Math.max(...rows.flatMap(({ counts }) => [...counts.values()]), 0);
    const columns = Math.round((choice.to - choice.from) / choice.step) + 1;
    const [w, h] = [(width - LEFT - 8) / columns, (height - BOTTOM - TOP) / rows.length];
    const { exponent } = panel.options.color;
    context.font = '12px sans-serif';
    rows.forEach(({ le, counts }, i) => {
      const y = height - BOTTOM - (i + 1) * h;
      for (const [time, count] of counts) {
        if (!(count > panel.options.filterValues.le)) continue;
        const share = (count / most) ** exponent;
        context.fillStyle = `hsl(${36 - 14 * share} 90% ${18 + 50 * share}%)`;
        context.fillRect(LEFT + ((time - choice.from) / choice.step) * w, y, w - 1, h - 1);
      }
      context.fillStyle = theme.colors.text.secondary;
      const text = le === Infinity ? '+Inf' : formattedValueToString(getValueFormat(panel.options.yAxis.unit)(le));
      if (i % 2 === 1) context.fillText(text, 4, y + 4);
    });
    for (let time = Math.ceil(choice.from / 240) * 240; time < choice.to; time += 240) {
      const text = dateTimeFormat(time * 1000, { format: 'HH:mm', timeZone: 'utc' });
      context.fillText(text, LEFT + ((time - choice.from) / choice.step) * w - 16, height - 6);
    }
  });
  return <canvas ref={canvas} width={width} height={height} />;
}
