// A lean load of the REST door: keep-alive sockets, prebuilt requests, answers told apart by their length alone, so that
// on a small machine the broker is what is measured.
//
//   node bench/load/rest.ts [--server 127.0.0.1:8080] [--case one|batch|lines|read|all] [--seconds 5] [--connections 16]
//                           [--records 500] [--bytes 100]
//
// one    one JSON record a request          batch  --records JSON records a request
// lines  NDJSON, --records lines a request   read   pages of --records records of what `batch` wrote
//
// A second of warm-up is not counted. Every answer's status is checked; the first that is not 200 ends the run.

import { connect } from 'node:net';
import { parseArgs } from 'node:util';

interface Case {
  /** The next request, whole. */
  readonly next: () => Buffer;
  readonly recordsPerRequest: number;
}

interface Outcome {
  readonly requests: number;
  readonly seconds: number;
  readonly latenciesMs: readonly number[];
}

const { values: settings } = parseArgs({
  options: {
    server: { type: 'string', default: '127.0.0.1:8080' },
    case: { type: 'string', default: 'all' },
    seconds: { type: 'string', default: '5' },
    connections: { type: 'string', default: '16' },
    records: { type: 'string', default: '500' },
    bytes: { type: 'string', default: '100' },
  },
});
const [host, port] = settings.server.split(':') as [string, string];
const seconds = Number(settings.seconds);
const records = Number(settings.records);
const WARM_UP_MS = 1_000;
const HEADERS_END = Buffer.from('\r\n\r\n');

const httpRequest = (method: string, path: string, body = '', type = 'application/json'): Buffer =>
  Buffer.from(
    `${method} ${path} HTTP/1.1\r\nHost: ${settings.server}\r\n` +
      (method === 'GET'
        ? '\r\n'
        : `Content-Type: ${type}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`),
  );

/** Sends one request after another on one connection until `until`; answers arrive whole before the next is sent. */
const drive = (load: Case, until: number, onAnswer: (latencyMs: number) => void): Promise<void> =>
  new Promise((resolve, reject) => {
    const socket = connect(Number(port), host);
    socket.setNoDelay(true);
    let received: Buffer = Buffer.alloc(0);
    let answerBytes = -1;
    let sentAt = 0;
    const send = (): void => {
      sentAt = performance.now();
      if (sentAt >= until) {
        socket.end();
        resolve();
      } else socket.write(load.next());
    };
    socket.on('connect', send);
    socket.on('error', reject);
    socket.on('data', (chunk: Buffer) => {
      received = received.length === 0 ? chunk : Buffer.concat([received, chunk]);
      if (answerBytes < 0) {
        const headersEnd = received.indexOf(HEADERS_END);
        if (headersEnd < 0) return;
        const head = received.toString('latin1', 0, headersEnd);
        const length = /content-length: (\d+)/i.exec(head);
        if (!head.startsWith('HTTP/1.1 200') || length === null) {
          socket.destroy();
          reject(new Error(received.toString('utf8')));
          return;
        }
        answerBytes = headersEnd + HEADERS_END.length + Number(length[1]);
      }
      if (received.length < answerBytes) return;
      received = Buffer.alloc(0);
      answerBytes = -1;
      onAnswer(performance.now() - sentAt);
      send();
    });
  });

const run = async (load: Case, connections: number): Promise<Outcome> => {
  const from = performance.now() + WARM_UP_MS;
  const until = from + seconds * 1_000;
  const latenciesMs: number[] = [];
  const onAnswer = (latencyMs: number): void => {
    if (performance.now() >= from) latenciesMs.push(latencyMs);
  };
  await Promise.all(Array.from({ length: connections }, () => drive(load, until, onAnswer)));
  return { requests: latenciesMs.length, seconds, latenciesMs };
};

const report = (name: string, load: Case, outcome: Outcome): void => {
  const sorted = outcome.latenciesMs.toSorted((a, b) => a - b);
  const at = (share: number): string => (sorted[Math.floor(sorted.length * share)] ?? 0).toFixed(2);
  const rate = outcome.requests / outcome.seconds;
  const line = `${name}: ${Math.round(rate)} requests/s, ${Math.round(rate * load.recordsPerRequest)} records/s`;
  console.log(`${line}, p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, p99.9 ${at(0.999)} ms`);
};

const ask = async (method: string, path: string, body?: string): Promise<Response> =>
  fetch(`http://${settings.server}${path}`, {
    method,
    ...(body === undefined ? {} : { body, headers: { 'Content-Type': 'application/json' } }),
  });

const topic = `load-${process.pid}`;
const path = `/v1/topics/${topic}/records`;
const created = await ask('POST', '/v1/topics', JSON.stringify({ name: topic, partition_count: 1 }));
if (created.status !== 201) throw new Error(await created.text());

const pad = 'x'.repeat(Math.max(1, Number(settings.bytes) - 40));
const record = JSON.stringify({ key: 'user-4711', value: { id: 4711, name: 'sluice', pad } });
const batch = `{"records":[${Array.from({ length: records }, () => record).join(',')}]}`;
const lines = `${record}\n`.repeat(records);
const constant = (request: Buffer, recordsPerRequest: number): Case => ({ next: () => request, recordsPerRequest });
const cases: Readonly<Record<string, () => Case>> = {
  one: () => constant(httpRequest('POST', path, `{"records":[${record}]}`), 1),
  batch: () => constant(httpRequest('POST', path, batch), records),
  lines: () => constant(httpRequest('POST', path, lines, 'application/x-ndjson'), records),
  read: () => constant(httpRequest('GET', `${path}?limit=${records}`), records),
};

console.log(`${settings.connections} connections, ${seconds} s, ${record.length} bytes a record as JSON, acks=all`);
try {
  for (const [name, make] of Object.entries(cases)) {
    if (settings.case !== 'all' && settings.case !== name) continue;
    if (name === 'read') await ask('POST', path, batch);
    const load = make();
    report(name, load, await run(load, Number(settings.connections)));
  }
} finally {
  await ask('DELETE', `/v1/topics/${topic}`);
}
