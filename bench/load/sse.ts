// Fan-out over server-sent events: one topic, many readers on raw sockets, one writer.
//
//   node bench/load/sse.ts [--server 127.0.0.1:8080] [--readers 1000] [--seconds 5] [--records 50] [--ahead 8]
//                          [--bytes 100] [--broker-pid PID]
//
// The writer sends --records records a request, and keeps at most --ahead requests ahead of the slowest reader. Events are counted, not
// parsed: an event has one line that begins with `data:`. At the end every reader must have exactly what was
// written. A second of warm-up is not counted.
//
// With the broker's process id its memory is measured around the load: what it grew between the moment before the readers came
// (after a load with one reader, so that code and connections are warm) and its largest value while they were served,
// divided by the readers. What the topic itself takes in the shared cache is told apart: it is subtracted.

import { type Socket, connect } from 'node:net';
import { parseArgs } from 'node:util';
import { residentBytes } from './process-usage.ts';

const { values: settings } = parseArgs({
  options: {
    server: { type: 'string', default: '127.0.0.1:8080' },
    readers: { type: 'string', default: '1000' },
    seconds: { type: 'string', default: '5' },
    records: { type: 'string', default: '50' },
    ahead: { type: 'string', default: '8' },
    bytes: { type: 'string', default: '100' },
    'broker-pid': { type: 'string' },
  },
});
const [host, port] = settings.server.split(':') as [string, string];
const seconds = Number(settings.seconds);
const recordsPerRequest = Number(settings.records);
const ahead = Number(settings.ahead) * recordsPerRequest;
const brokerPid = settings['broker-pid'] === undefined ? null : Number(settings['broker-pid']);
const WARM_UP_MS = 1_000;
/** Connections being opened at once: below what a listener queues. */
const OPENING_MAX = 64;
/** No delivery for so long means that the broker has stopped, not that it is slow. */
const STALL_MS_MAX = 10_000;
const MARK = Buffer.from('\ndata:');

const topic = `fan-out-${process.pid}`;
const path = `/v1/topics/${topic}/records`;

/** One reader: a socket, and how many events it has seen. */
class EventReader {
  events = 0;
  readonly socket: Socket;
  /** Resolves when the headers of a stream have come. */
  readonly opened: Promise<void>;
  /** The end of the last chunk, in which a mark may have begun. */
  #rest: Buffer = Buffer.alloc(0);

  constructor(onEvents: () => void) {
    this.socket = connect(Number(port), host);
    this.opened = new Promise((resolve, reject) => {
      this.socket.on('error', reject);
      this.socket.on('close', () => reject(new Error('the broker closed the stream of a reader')));
      this.socket.once('connect', () => {
        const head = `GET ${path}?from=latest HTTP/1.1\r\nHost: ${settings.server}\r\nAccept: text/event-stream\r\n\r\n`;
        this.socket.write(head);
      });
      this.socket.on('data', (chunk: Buffer) => {
        if (this.#rest.length === 0 && this.events === 0) {
          const head = chunk.toString('latin1', 0, Math.min(chunk.length, 2_000));
          if (head.startsWith('HTTP/')) {
            if (head.startsWith('HTTP/1.1 200')) resolve();
            else reject(new Error(head));
          }
        }
        this.#count(chunk);
        onEvents();
      });
    });
  }

  #count(chunk: Buffer): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let at = 0;
    for (;;) {
      const found = bytes.indexOf(MARK, at);
      if (found < 0) break;
      this.events++;
      at = found + MARK.length;
    }
    this.#rest = bytes.subarray(Math.max(at, bytes.length - MARK.length + 1));
  }
}

const ask = async (method: string, path: string, body?: string): Promise<void> => {
  const answer = await fetch(`http://${settings.server}${path}`, {
    method,
    ...(body === undefined ? {} : { body, headers: { 'Content-Type': 'application/json' } }),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(text);
};

const openReaders = async (count: number, onEvents: () => void): Promise<EventReader[]> => {
  const readers: EventReader[] = [];
  while (readers.length < count) {
    const group = Array.from(
      { length: Math.min(OPENING_MAX, count - readers.length) },
      () => new EventReader(onEvents),
    );
    readers.push(...group);
    await Promise.all(group.map(reader => reader.opened));
  }
  return readers;
};

interface Outcome {
  readonly deliveriesPerSecond: number;
  readonly written: number;
  readonly brokerBytesMax: number;
}

const pad = 'x'.repeat(Math.max(1, Number(settings.bytes) - 40));
const record = JSON.stringify({ key: 'user-4711', value: { id: 4711, name: 'sluice', pad } });
const body = `{"records":[${Array.from({ length: recordsPerRequest }, () => record).join(',')}]}`;

/** Writes while the slowest reader is not too far behind, until the time is over; then waits for the last delivery. */
const fanOut = async (readerCount: number, durationMs: number): Promise<Outcome> => {
  let wake = (): void => undefined;
  const readers = await openReaders(readerCount, () => wake());
  const total = (): number => readers.reduce((sum, reader) => sum + reader.events, 0);
  const slowest = (): number => readers.reduce((least, reader) => Math.min(least, reader.events), Infinity);
  let written = 0;
  let brokerBytesMax = 0;
  /** Resolves at the next delivery, or after a while in which nothing came. */
  const delivery = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const stalled = setTimeout(() => reject(new Error(`no delivery for ${STALL_MS_MAX} ms`)), STALL_MS_MAX);
      wake = () => {
        wake = () => undefined;
        clearTimeout(stalled);
        setImmediate(resolve);
      };
    });
  const from = performance.now() + WARM_UP_MS;
  const until = from + durationMs;
  let countedFrom = -1;
  let countedAt = from;
  while (performance.now() < until) {
    if (countedFrom < 0 && performance.now() >= from) {
      countedAt = performance.now();
      countedFrom = total();
    }
    if (brokerPid !== null) brokerBytesMax = Math.max(brokerBytesMax, residentBytes(brokerPid) ?? 0);
    if (written - slowest() < ahead) {
      await ask('POST', path, body);
      written += recordsPerRequest;
    } else await delivery();
  }
  const rate = ((total() - countedFrom) / (performance.now() - countedAt)) * 1_000;
  while (slowest() < written) await delivery();
  for (const reader of readers) {
    reader.socket.removeAllListeners('close').destroy();
    if (reader.events !== written) throw new Error(`a reader had ${reader.events} events of ${written}`);
  }
  return { deliveriesPerSecond: rate, written, brokerBytesMax };
};

await ask('POST', '/v1/topics', JSON.stringify({ name: topic, partition_count: 1 }));
try {
  await fanOut(1, 1_000);
  const before = brokerPid === null ? null : residentBytes(brokerPid);
  const readerCount = Number(settings.readers);
  const { deliveriesPerSecond, written, brokerBytesMax } = await fanOut(readerCount, seconds * 1_000);
  const shared = written * record.length;
  const memory =
    before === null
      ? ''
      : `, ${Math.max(0, (brokerBytesMax - before - shared) / readerCount / 1024).toFixed(1)} KiB a reader`;
  console.log(`sse: ${Math.round(deliveriesPerSecond)} deliveries/s to ${readerCount} readers${memory}`);
} finally {
  await ask('DELETE', `/v1/topics/${topic}`);
}
