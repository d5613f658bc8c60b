// Load on the WebSocket door: each client has a socket and a partition of its own, writes RECORDS records a frame with
// IN_FLIGHT frames unanswered, and reads its partition on the same socket, with credit granted as records come.
//
// A session that reads back less than it wrote, or in another order, fails the run.

import http from 'k6/http';
import { check } from 'k6';
import exec from 'k6/execution';
import { Counter, Trend } from 'k6/metrics';
import { WebSocket } from 'k6/websockets';
import { newTopicName, oneSessionEach, readSettings, textOf } from './settings.js';
import { summaryOf } from './summary.js';

const settings = readSettings({ records: 1, p95Ms: 250 });
const { vus, durationMs, records, valueBytes, p95Ms } = settings;
const topics = `http://${settings.http}/v1/topics`;

/** The broker takes 64 unanswered requests on one connection; credit and the end of the subscription need room. */
const IN_FLIGHT = 16;
const CREDIT = { records: 1_000, bytes: 1_048_576 };
/** How long answers and records may be late once nothing is written any more. */
const LATE_MS_MAX = 10_000;

const recordsWritten = new Counter('records_written');
const recordsRead = new Counter('records_read');
const problems = new Counter('problems');
const produceMs = new Trend('produce_ms', true);
const deliveryMs = new Trend('delivery_ms', true);

export const options = {
  scenarios: { session: oneSessionEach(settings, 'session') },
  thresholds: {
    checks: ['rate==1'],
    problems: ['count==0'],
    records_written: ['count>0'],
    records_read: ['count>0'],
    produce_ms: [`p(95)<=${p95Ms}`],
    delivery_ms: [`p(95)<=${p95Ms}`],
  },
};

const filling = textOf(valueBytes);

function must(response, status) {
  if (response.status !== status) exec.test.abort(`${response.request.url}: ${response.status} ${response.body}`);
}

export function setup() {
  const name = newTopicName('websocket');
  const body = JSON.stringify({ name, partition_count: vus });
  must(http.post(topics, body, { headers: { 'Content-Type': 'application/json' } }), 201);
  return { name };
}

export function teardown({ name }) {
  must(http.del(`${topics}/${name}`), 204);
}

export function session({ name }) {
  const partition = exec.vu.idInTest - 1;
  const socket = new WebSocket(`ws://${settings.http}/v1/ws`, 'sluice.v1.json');
  const sentAt = new Map();
  const endsAt = Date.now() + durationMs;
  let nextId = 1;
  let subscription = null;
  let writtenCount = 0;
  let readCount = 0;
  let isOrdered = true;
  let spent = { records: 0, bytes: 0 };
  let isEnding = false;
  let isUnsubscribed = false;

  const send = frame => socket.send(JSON.stringify(frame));

  function produce() {
    const now = Date.now();
    const id = nextId++;
    sentAt.set(id, now);
    const written = [];
    for (let index = 0; index < records; index++) written.push({ partition, value: { sent: now, filling } });
    send({ id, op: 'produce', topic: name, records: written });
  }

  /** Once nothing is under way, in either direction. */
  function endWhenDone() {
    if (isEnding || sentAt.size > 0 || readCount < writtenCount || Date.now() < endsAt) return;
    isEnding = true;
    send({ id: nextId++, op: 'unsubscribe', subscription });
  }

  function onProduced({ id, offsets }) {
    produceMs.add(Date.now() - sentAt.get(id));
    sentAt.delete(id);
    writtenCount += offsets.length;
    recordsWritten.add(offsets.length);
    if (Date.now() < endsAt) produce();
    else endWhenDone();
  }

  function onRecords(batch) {
    const now = Date.now();
    for (const { offset, value } of batch) {
      isOrdered = isOrdered && offset === readCount;
      readCount++;
      deliveryMs.add(now - value.sent);
      spent.bytes += valueBytes;
    }
    recordsRead.add(batch.length);
    spent.records += batch.length;
    if (spent.records * 2 >= CREDIT.records || spent.bytes * 2 >= CREDIT.bytes) {
      send({ op: 'credit', subscription, records: spent.records, bytes: spent.bytes });
      spent = { records: 0, bytes: 0 };
    }
    endWhenDone();
  }

  const late = setTimeout(() => socket.close(), durationMs + LATE_MS_MAX);

  socket.addEventListener('open', () => {
    send({ id: nextId++, op: 'subscribe', topic: name, from: 'earliest', partition, credit: CREDIT });
  });
  socket.addEventListener('message', ({ data }) => {
    const frame = JSON.parse(data);
    if (frame.op === 'produced') onProduced(frame);
    else if (frame.op === 'records') onRecords(frame.records);
    else if (frame.op === 'subscribed') {
      ({ subscription } = frame);
      for (let count = 0; count < IN_FLIGHT; count++) produce();
    } else if (frame.op === 'unsubscribed') {
      isUnsubscribed = true;
      socket.close();
    } else {
      problems.add(1);
      console.error(data);
      socket.close();
    }
  });
  socket.addEventListener('error', ({ error }) => {
    problems.add(1);
    console.error(error);
  });
  socket.addEventListener('close', () => {
    clearTimeout(late);
    check(null, {
      'every record came back': () => isUnsubscribed && readCount === writtenCount,
      'in the order of their offsets': () => isOrdered,
    });
  });
}

export const handleSummary = data => summaryOf('websocket', durationMs / 1_000, data);
