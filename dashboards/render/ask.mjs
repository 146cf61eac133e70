// Runs a dashboard's queries in Prometheus, with variables replaced as Grafana does.

const escaped = (value) => value.replace(/[\\^$*+?.()|{}[\]/]/g, '\\$&');

// `choice`: instance, vm (none: all), and from, to, step in seconds.
function chosen(expression, choice, step) {
  const seconds = (n) => `${Math.round(n)}s`;
  const values = {
    $__rate_interval: seconds(Math.max(step + choice.scrape, 4 * choice.scrape)),
    $__interval: seconds(step),
    $__range: seconds(choice.to - choice.from),
    $top: '10',
    '=~"$instance"': `=~"${choice.instance ? escaped(choice.instance) : '.*'}"`,
    $instance: choice.instance,
    '${vm:regex}': choice.vm ? escaped(choice.vm) : '.*',
  };
  return Object.entries(values).reduce((text, [name, value]) => text.replaceAll(name, () => value), expression);
}

async function ask(prometheus, path, parameters) {
  const answer = await fetch(`${prometheus}/api/v1/${path}?${new URLSearchParams(parameters)}`);
  const { status, error, data } = await answer.json();
  if (status !== 'success') throw new Error(`${parameters.query}: ${error}`);
  return data.result;
}

export async function answers(dashboard, choice) {
  const all = {};
  for (const panel of dashboard.panels) {
    all[panel.id] = [];
    // A panel may set a minimum step.
    const step = Math.max(choice.step, 60 * parseInt(panel.interval ?? '0m'));
    for (const { expr, refId, instant, legendFormat } of panel.targets ?? []) {
      const query = chosen(expr, choice, step);
      const series = instant
        ? await ask(choice.prometheus, 'query', { query, time: choice.to })
        : await ask(choice.prometheus, 'query_range', { query, start: choice.from, end: choice.to, step });
      all[panel.id].push({ refId, legendFormat, step, series });
    }
  }
  return all;
}
