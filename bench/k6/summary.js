// The end of a run: every metric that has a threshold as a table on standard output, all that k6 knows as JSON in
// .work/k6. That folder must exist: k6 makes none.

/** `seconds`: how long each scenario loads. k6's own rates divide by the whole run, with setup and teardown in it. */
export function summaryOf(name, seconds, data) {
  const lines = [`k6 ${name}, ${seconds} s a scenario`, ''];
  let failedCount = 0;
  for (const metric of Object.keys(data.metrics).toSorted()) {
    const { type, values, thresholds } = data.metrics[metric];
    if (thresholds === undefined) continue;
    const verdicts = Object.entries(thresholds).map(([rule, { ok }]) => `${ok ? 'met' : 'FAILED'} ${rule}`);
    failedCount += verdicts.filter(verdict => verdict.startsWith('FAILED')).length;
    lines.push(`${metric.padEnd(44)} ${shown(type, values, seconds).padEnd(54)} ${verdicts.join(', ')}`.trimEnd());
  }
  lines.push('', failedCount === 0 ? 'every threshold is met' : `${failedCount} thresholds FAILED`, '');
  return {
    stdout: lines.join('\n'),
    [import.meta.resolve(`../../.work/k6/${name}.json`).replace('file://', '')]: JSON.stringify(data, null, 2),
  };
}

function shown(type, values, seconds) {
  if (type === 'counter') return `${values.count} (${Math.round(values.count / seconds)} a second)`;
  if (type === 'rate') return `${(values.rate * 100).toFixed(2)} %`;
  if (type === 'gauge') return `${values.value}`;
  return `median ${ms(values.med)}, p95 ${ms(values['p(95)'])}, longest ${ms(values.max)}`;
}

const ms = value => `${(value === undefined ? 0 : value).toFixed(2)} ms`;
