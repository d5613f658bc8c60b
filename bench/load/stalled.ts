// Readers that stop reading: what they cost a producer and the broker's memory.
//
//   node bench/load/stalled.ts [--lines 1000] [--events 0] [--sockets 0] [--grpc 100] [--seconds 5] [--bytes 1000]
//
// Starts a broker of its own in another process, fills a topic, measures one producer (keep-alive HTTP, one batch after another),
// opens the readers, which ask for everything and take nothing, and measures the producer again. Prints its rate before and
// during, the broker's largest RSS before and during, and what the metrics say of stalled streams. Bounded in time and count.
// What is filled in is twice what the broker caches: its memory has grown by then to what the producer alone makes it.
//
// lines    NDJSON with `wait`        events   Server-Sent Events
// sockets  WebSocket subscriptions   grpc     Fetch calls without credit, each with a connection of its own

import { connect as connectHttp2, type ClientHttp2Session } from 'node:http2';
import { connect, type Socket } from 'node:net';
import { parseArgs } from 'node:util';
import { create, toBinary } from '@bufbuild/protobuf';
import { FetchRequestSchema } from '@sluice/protocol/services';
import { BrokerUnderLoad, delayed, percentile, Producer, scrape } from './broker-under-load.ts';

const { values } = parseArgs({
  options: {
    lines: { type: 'string', default: '1000' },
    events: { type: 'string', default: '0' },
    sockets: { type: 'string', default: '0' },
    grpc: { type: 'string', default: '100' },
    seconds: { type: 'string', default: '5' },
    bytes: { type: 'string', default: '1000' },
  },
});
const seconds = Number(values.seconds);
const TOPIC = 'stalled';
const BATCH_RECORDS = 500;
const FILL_BATCHES = 500;

const opened: { destroy(): void }[] = [];

/** A request whose answer stays in the kernel: nobody listens for data, so nothing is read. */
const stalledSocket = (address: string, request: string): Promise<void> =>
  new Promise((resolve, reject) => {
    const [host, port] = address.split(':') as [string, string];
    const socket: Socket = connect({ host, port: Number(port) });
    socket.pause();
    socket.on('error', reject);
    socket.on('connect', () => {
      socket.off('error', reject).on('error', () => {});
      socket.write(request, 'latin1', () => resolve());
    });
    opened.push(socket);
  });

const lines = (address: string): Promise<void> =>
  stalledSocket(
    address,
    `GET /v1/topics/${TOPIC}/records?wait=30000 HTTP/1.1\r\nHost: ${address}\r\nAccept: application/x-ndjson\r\n\r\n`,
  );

const events = (address: string): Promise<void> =>
  stalledSocket(
    address,
    `GET /v1/topics/${TOPIC}/records HTTP/1.1\r\nHost: ${address}\r\nAccept: text/event-stream\r\n\r\n`,
  );

/** The upgrade and the subscription in one write; a masked text frame of more than 125 bytes. */
const subscription = (address: string): Promise<void> => {
  const message = Buffer.from(JSON.stringify({ id: 1, op: 'subscribe', topic: TOPIC, from: 'earliest' }).padEnd(126));
  const frame = Buffer.concat([Buffer.from([0x81, 0xfe, 0, message.length, 0, 0, 0, 0]), message]).toString('latin1');
  return stalledSocket(
    address,
    `GET /v1/ws HTTP/1.1\r\nHost: ${address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
      `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n${frame}`,
  );
};

const call = (address: string): Promise<void> =>
  new Promise((resolve, reject) => {
    const session: ClientHttp2Session = connectHttp2(`http://${address}`);
    session.on('error', () => {});
    opened.push({ destroy: () => session.destroy() });
    const stream = session.request({
      ':method': 'POST',
      ':path': '/sluice.v1.FetchService/Fetch',
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    stream.on('error', () => {});
    const open = { stream: 1, topic: TOPIC, partition: 0, from: { case: 'offset' as const, value: 0n } };
    const message = toBinary(
      FetchRequestSchema,
      create(FetchRequestSchema, { request: { case: 'open', value: open } }),
    );
    const head = Buffer.alloc(5);
    head.writeUInt32BE(message.length, 1);
    stream.write(Buffer.concat([head, message]), error => (error ? reject(error) : resolve()));
  });

const broker = await BrokerUnderLoad.start();

/** What the work answers, and the broker's largest RSS meanwhile. */
const watched = async <T>(work: () => Promise<T>): Promise<[T, number]> => {
  let rssMax = broker.rssBytes();
  const watch = setInterval(() => (rssMax = Math.max(rssMax, broker.rssBytes())), 100);
  try {
    return [await work(), rssMax];
  } finally {
    clearInterval(watch);
  }
};

try {
  await broker.createTopic(TOPIC);
  const producer = new Producer(broker.http, TOPIC, { records: BATCH_RECORDS, bytes: Number(values.bytes) });
  for (let batch = 0; batch < FILL_BATCHES; batch++) await producer.send();
  await producer.measure(1_000);
  const [before, rssBefore] = await watched(() => producer.measure(seconds * 1_000));
  const kinds: readonly [count: number, open: () => Promise<void>][] = [
    [Number(values.lines), () => lines(broker.http)],
    [Number(values.events), () => events(broker.http)],
    [Number(values.sockets), () => subscription(broker.http)],
    [Number(values.grpc), () => call(broker.grpc)],
  ];
  for (const [count, open] of kinds) for (let index = 0; index < count; index++) await open();
  const [during, rssDuring] = await watched(async () => {
    // Longer than it takes to count as stalled.
    await delayed(6_000);
    return producer.measure(seconds * 1_000);
  });
  const metrics = await scrape(broker.management, /^sluice_(?:outgoing_bytes|stalled_streams\w*|open_streams)\{.*$/gm);
  const mib = (bytes: number): string => (bytes / 1024 / 1024).toFixed(1);
  const line = (name: string, sample: { readonly rate: number; readonly latenciesMs: readonly number[] }): string => {
    const { rate, latenciesMs } = sample;
    const [p50, p99] = [0.5, 0.99].map(share => percentile(latenciesMs, share).toFixed(2));
    return `${name}: ${Math.round(rate * BATCH_RECORDS)} records/s, p50 ${p50} ms, p99 ${p99} ms`;
  };
  console.log(
    `stalled: ${values.lines} lines, ${values.events} events, ${values.sockets} sockets, ${values.grpc} gRPC`,
  );
  console.log(line('producer before', before));
  console.log(line('producer during', during));
  console.log(`producer slower by ${(100 * (1 - during.rate / before.rate)).toFixed(1)} % (budget 20 %)`);
  console.log(
    `RSS, most before ${mib(rssBefore)} MiB, most during ${mib(rssDuring)} MiB: ${mib(rssDuring - rssBefore)} MiB (budget 256)`,
  );
  for (const metric of metrics) console.log(metric);
} finally {
  for (const connection of opened) connection.destroy();
  await broker.stop();
}
