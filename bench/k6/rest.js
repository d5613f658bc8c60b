// Load on the REST door:
//
//   one    one JSON record a request
//   many   RECORDS JSON records a request
//   read   pages of RECORDS records, of what setup wrote
//
// SCENARIO names one of them; without it they run one after another. Every answer is checked, a page down to its last
// record.

import http from 'k6/http';
import { check } from 'k6';
import exec from 'k6/execution';
import { Counter } from 'k6/metrics';
import { newTopicName, readSettings, textOf } from './settings.js';
import { summaryOf } from './summary.js';

const settings = readSettings({ records: 500, p95Ms: 250 });
const { vus, durationMs, records, valueBytes, p95Ms } = settings;
const topics = `http://${settings.http}/v1/topics`;
const all = ['one', 'many', 'read'];
const chosen = __ENV.SCENARIO ? all.filter(name => name === __ENV.SCENARIO) : all;
if (chosen.length === 0) throw new Error(`SCENARIO must be one of ${all.join(', ')}`);

/** What setup writes for `read`, in requests of `records` records. */
const PAGES = 20;
/** Between two scenarios, so that no answer of one falls into the next. */
const PAUSE_MS = 1_000;

const recordsWritten = new Counter('records_written');
const recordsRead = new Counter('records_read');

const thresholds = { checks: ['rate==1'], http_req_failed: ['rate==0'] };
for (const name of chosen) {
  thresholds[`http_req_duration{scenario:${name}}`] = [`p(95)<=${p95Ms}`];
  thresholds[`records_${name === 'read' ? 'read' : 'written'}{scenario:${name}}`] = ['count>0'];
}

export const options = {
  thresholds,
  discardResponseBodies: true,
  scenarios: Object.fromEntries(
    chosen.map((name, index) => [
      name,
      {
        executor: 'constant-vus',
        exec: name,
        vus,
        duration: `${durationMs}ms`,
        startTime: `${index * (durationMs + PAUSE_MS)}ms`,
        gracefulStop: '5s',
      },
    ]),
  ),
};

const headers = { 'Content-Type': 'application/json' };
const value = textOf(valueBytes);
const bodyOf = count => JSON.stringify({ records: Array.from({ length: count }, () => ({ value_text: value })) });
const oneBody = bodyOf(1);
const manyBody = bodyOf(records);

/** Ends the run when what all else stands on fails. */
function must(response, status) {
  if (response.status !== status) exec.test.abort(`${response.request.url}: ${response.status} ${response.error}`);
}

export function setup() {
  const name = newTopicName('rest');
  must(http.post(topics, JSON.stringify({ name }), { headers }), 201);
  if (chosen.includes('read')) {
    for (let page = 0; page < PAGES; page++) must(http.post(`${topics}/${name}/records`, manyBody, { headers }), 200);
  }
  return { name };
}

export function teardown({ name }) {
  must(http.del(`${topics}/${name}`), 204);
}

function produce(name, body, count) {
  const response = http.post(`${topics}/${name}/records`, body, { headers });
  if (check(response, { 'the records are written': ({ status }) => status === 200 })) recordsWritten.add(count);
}

export const one = ({ name }) => produce(name, oneBody, 1);

export const many = ({ name }) => produce(name, manyBody, records);

export function read({ name }) {
  const from = (exec.vu.iterationInScenario % PAGES) * records;
  const url = `${topics}/${name}/partitions/0/records?offset=${from}&limit=${records}&max_bytes=16777216`;
  const response = http.get(url, { responseType: 'text', tags: { name: 'read' } });
  const last = `"offset":${from + records - 1},`;
  const isWhole = ({ status, body }) => status === 200 && body.includes(last);
  if (check(response, { 'the page is whole': isWhole })) recordsRead.add(records);
}

export const handleSummary = data => summaryOf('rest', durationMs / 1_000, data);
