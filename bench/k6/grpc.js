// Load on the gRPC door: each client has a connection and a partition of its own, writes RECORDS records a message on one
// Produce stream with IN_FLIGHT messages unanswered, and reads its partition on one Fetch stream, with credit granted as
// records come.
//
// A session that reads back less than it wrote, or in another order, fails the run.

import { check } from 'k6';
import encoding from 'k6/encoding';
import exec from 'k6/execution';
import { Counter, Trend } from 'k6/metrics';
import { Client, StatusOK, Stream } from 'k6/net/grpc';
import { newTopicName, oneSessionEach, readSettings, textOf } from './settings.js';
import { summaryOf } from './summary.js';

const settings = readSettings({ records: 100, p95Ms: 250 });
const { vus, durationMs, records, valueBytes, p95Ms } = settings;

const IN_FLIGHT = 5;
const CREDIT = { records: 5_000, bytes: 1_048_576 };
/** How long answers and records may be late once nothing is written any more. */
const LATE_MS_MAX = 10_000;

const recordsWritten = new Counter('records_written');
const recordsRead = new Counter('records_read');
const problems = new Counter('problems');
const produceMs = new Trend('produce_ms', true);

export const options = {
  scenarios: { session: oneSessionEach(settings, 'session') },
  thresholds: {
    checks: ['rate==1'],
    problems: ['count==0'],
    records_written: ['count>0'],
    records_read: ['count>0'],
    produce_ms: [`p(95)<=${p95Ms}`],
  },
};

const client = new Client();
client.load(
  [import.meta.resolve('../../proto')],
  'sluice/v1/admin.proto',
  'sluice/v1/produce.proto',
  'sluice/v1/fetch.proto',
);

// Bytes are base64 in the JSON form of a message.
const value = encoding.b64encode(textOf(valueBytes));
const written = Array.from({ length: records }, () => ({ value }));

function administer(method, request) {
  client.connect(settings.grpc, { plaintext: true });
  const { status, error } = client.invoke(`sluice.v1.AdminService/${method}`, request);
  client.close();
  if (status !== StatusOK) exec.test.abort(`${method}: ${status} ${JSON.stringify(error)}`);
}

export function setup() {
  const name = newTopicName('grpc');
  administer('CreateTopic', { name, partition_count: vus });
  return { name };
}

export function teardown({ name }) {
  administer('DeleteTopic', { name });
}

export function session({ name }) {
  client.connect(settings.grpc, { plaintext: true });
  const partition = exec.vu.idInTest - 1;
  const producing = new Stream(client, 'sluice.v1.ProduceService/Produce');
  const fetching = new Stream(client, 'sluice.v1.FetchService/Fetch');
  const sentAt = new Map();
  const endsAt = Date.now() + durationMs;
  let nextId = 1;
  let writtenCount = 0;
  let readCount = 0;
  let isOrdered = true;
  let spent = { records: 0, bytes: 0 };
  let isEnding = false;
  let openCount = 2;

  function produce() {
    const id = nextId++;
    sentAt.set(`${id}`, Date.now());
    producing.write({ id, topic: name, partition, records: written });
  }

  /** Once nothing is under way, in either direction. */
  function endWhenDone() {
    if (isEnding || sentAt.size > 0 || readCount < writtenCount || Date.now() < endsAt) return;
    isEnding = true;
    producing.end();
    fetching.write({ close: { stream: 1 } });
  }

  function fail(reason) {
    problems.add(1);
    console.error(JSON.stringify(reason));
    producing.end();
    fetching.end();
  }

  // A stream that waits for what never comes is ended by closing the connection.
  const late = setTimeout(() => client.close(), durationMs + LATE_MS_MAX);

  function onEnd() {
    openCount--;
    if (openCount > 0) return;
    clearTimeout(late);
    client.close();
    check(null, {
      'every record came back': () => isEnding && readCount === writtenCount,
      'in the order of their offsets': () => isOrdered,
    });
  }

  producing.on('data', ({ id, ack, error }) => {
    if (!ack) {
      fail(error);
      return;
    }
    produceMs.add(Date.now() - sentAt.get(id));
    sentAt.delete(id);
    writtenCount += ack.count;
    recordsWritten.add(ack.count);
    if (Date.now() < endsAt) produce();
    else endWhenDone();
  });

  fetching.on('data', response => {
    if (response.records) {
      const batch = response.records.records;
      for (const { offset } of batch) {
        isOrdered = isOrdered && Number(offset) === readCount;
        readCount++;
      }
      recordsRead.add(batch.length);
      spent.records += batch.length;
      spent.bytes += batch.length * valueBytes;
      if (spent.records * 2 >= CREDIT.records || spent.bytes * 2 >= CREDIT.bytes) {
        fetching.write({ credit: { stream: 1, credit: spent } });
        spent = { records: 0, bytes: 0 };
      }
      endWhenDone();
    } else if (response.opened) for (let count = 0; count < IN_FLIGHT; count++) produce();
    else if (response.end) fetching.end();
    else fail(response);
  });

  for (const stream of [producing, fetching]) {
    stream.on('error', fail);
    stream.on('end', onEnd);
  }

  const open = { stream: 1, topic: name, partition, position: 'POSITION_EARLIEST', form: 'FORM_RECORDS' };
  fetching.write({ open: { ...open, credit: CREDIT } });
}

export const handleSummary = data => summaryOf('grpc', durationMs / 1_000, data);
