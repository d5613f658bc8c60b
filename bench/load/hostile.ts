// Connections that mean harm: what they cost the broker's memory and an honest client.
//
//   node bench/load/hostile.ts [--connections 10000] [--seconds 10] [--kinds headers,requests,frames,pings,resets,upgrades]
//
// Starts a broker of its own in another process and an honest client (produce one record, read it back), measures it, opens the
// hostile connections, which go on doing what they do, and measures it again. Prints connections held and refused, RSS per
// connection, and the honest client's latencies before and during. Bounded in count and time.
//
// headers   a header line every second, never the last one       requests  a request whose body stops half way
// frames    the HTTP/2 preface and half a frame                  pings     HTTP/2 pings, 50 a second and connection
// resets    HTTP/2 streams opened and reset at once, 20 a second upgrades  a WebSocket whose first frame stops half way
//
// Needs about as many open files as connections, here and in the broker: `ulimit -n`.

import { connect, type Socket } from 'node:net';
import { parseArgs } from 'node:util';
import { BrokerUnderLoad, delayed, HonestClient, measured, percentile, scrape } from './broker-under-load.ts';

const { values } = parseArgs({
  options: {
    connections: { type: 'string', default: '10000' },
    seconds: { type: 'string', default: '10' },
    kinds: { type: 'string', default: 'headers,requests,frames,pings,resets,upgrades' },
  },
});
const connectionCount = Number(values.connections);
const seconds = Number(values.seconds);
const TOPIC = 'honest';
/** Ports of one source address run short at about 28,000; each address takes this many. */
const PER_SOURCE = 5_000;
const OPENED_AT_ONCE = 200;
const PAUSE_MS = 1_000;

interface Kind {
  readonly door: 'http' | 'grpc';
  readonly first: (host: string) => string | Buffer;
  /** Sent every `everyMs` from then on; null ends it. */
  readonly next: (round: number) => string | Buffer;
  readonly everyMs: number;
}

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const NOTHING = Buffer.alloc(0);

const frame = (type: number, flags: number, about: { readonly stream: number; readonly payload: Buffer }): Buffer => {
  const head = Buffer.alloc(9);
  head.writeUIntBE(about.payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(about.stream, 5);
  return Buffer.concat([head, about.payload]);
};
const settings = frame(4, 0, { stream: 0, payload: NOTHING });
const ping = frame(6, 0, { stream: 0, payload: Buffer.alloc(8) });
/** `:method POST`, `:scheme http`, `:path /` of HPACK's static table. */
const openAndReset = (stream: number): Buffer =>
  Buffer.concat([
    frame(1, 4, { stream, payload: Buffer.from([0x83, 0x86, 0x84]) }),
    frame(3, 0, { stream, payload: Buffer.from([0, 0, 0, 8]) }),
  ]);

const kinds: Readonly<Record<string, Kind>> = {
  headers: {
    door: 'http',
    first: host => `GET /v1/cluster HTTP/1.1\r\nHost: ${host}\r\n`,
    next: round => `X-${round}: 1\r\n`,
    everyMs: 1_000,
  },
  requests: {
    door: 'http',
    first: host =>
      `POST /v1/topics/${TOPIC}/records HTTP/1.1\r\nHost: ${host}\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{"records":[`,
    next: () => ' ',
    everyMs: 1_000,
  },
  frames: {
    door: 'grpc',
    first: () => Buffer.concat([PREFACE, settings, Buffer.from([0, 0x10, 0, 0])]),
    next: () => NOTHING,
    everyMs: 10_000,
  },
  pings: {
    door: 'grpc',
    first: () => Buffer.concat([PREFACE, settings]),
    next: () => Buffer.concat(Array.from({ length: 50 }, () => ping)),
    everyMs: 1_000,
  },
  resets: {
    door: 'grpc',
    first: () => Buffer.concat([PREFACE, settings]),
    next: round => Buffer.concat(Array.from({ length: 20 }, (_, index) => openAndReset(2 * (20 * round + index) + 1))),
    everyMs: 1_000,
  },
  upgrades: {
    door: 'http',
    first: host =>
      Buffer.concat([
        Buffer.from(
          `GET /v1/ws HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
            'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n',
        ),
        Buffer.from([0x81, 0xff, 0, 0, 0, 0, 0, 0x40, 0, 0, 1, 2, 3, 4, 0x7b]),
      ]),
    next: () => ' ',
    everyMs: 1_000,
  },
};

const open = new Set<Socket>();
const timers = new Set<NodeJS.Timeout>();
let refusedCount = 0;

const attack = (kind: Kind, address: string, index: number): Promise<void> =>
  new Promise(resolve => {
    const [host, port] = address.split(':') as [string, string];
    const localAddress = `127.0.0.${2 + Math.floor(index / PER_SOURCE)}`;
    const socket = connect({ host, port: Number(port), localAddress });
    socket.on('error', () => resolve());
    socket.on('connect', () => {
      open.add(socket);
      socket.write(kind.first(address));
      socket.resume();
      let round = 0;
      const timer = setInterval(() => socket.write(kind.next(round++)), kind.everyMs);
      timers.add(timer);
      socket.on('close', () => {
        clearInterval(timer);
        timers.delete(timer);
        if (open.delete(socket)) refusedCount++;
      });
      resolve();
    });
  });

const broker = await BrokerUnderLoad.start();
try {
  await broker.createTopic(TOPIC);
  const body = '{"records":[{"value":1}]}';
  const producing = Buffer.from(
    `POST /v1/topics/${TOPIC}/records HTTP/1.1\r\nHost: ${broker.http}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  );
  const reading = Buffer.from(`GET /v1/topics/${TOPIC}/records?tail=1 HTTP/1.1\r\nHost: ${broker.http}\r\n\r\n`);
  const honest = new HonestClient(broker.http);
  const exchange = async (): Promise<void> => {
    await honest.request(producing);
    await honest.request(reading);
  };
  await measured(2_000, exchange);
  const before = await measured(seconds * 1_000, exchange);
  const rssBefore = broker.rssBytes();
  const chosen = values.kinds.split(',').map(name => {
    const kind = kinds[name];
    if (kind === undefined) throw new Error(`there is no kind ${name}`);
    return kind;
  });
  let heldMax = 0;
  let rssMax = rssBefore;
  const watch = setInterval(() => {
    heldMax = Math.max(heldMax, open.size);
    rssMax = Math.max(rssMax, broker.rssBytes());
  }, 100);
  for (let index = 0; index < connectionCount; index += OPENED_AT_ONCE) {
    const group = Array.from({ length: Math.min(OPENED_AT_ONCE, connectionCount - index) }, (_, member) => {
      const kind = chosen[(index + member) % chosen.length]!;
      return attack(kind, broker[kind.door], index + member);
    });
    await Promise.all(group);
  }
  await delayed(PAUSE_MS);
  const during = await measured(seconds * 1_000, exchange);
  clearInterval(watch);
  const metrics = await scrape(broker.management, /^sluice_connections\w*\{.*$/gm);
  const line = (latenciesMs: readonly number[]): string =>
    [0.5, 0.99].map(share => `p${100 * share} ${percentile(latenciesMs, share).toFixed(2)} ms`).join(', ');
  const ratio = percentile(during.latenciesMs, 0.99) / percentile(before.latenciesMs, 0.99);
  console.log(`hostile: ${connectionCount} connections of ${values.kinds}`);
  console.log(`held at most ${heldMax}, still ${open.size}; ended by the broker ${refusedCount}`);
  const perConnection = (rssMax - rssBefore) / 1_024 / Math.max(1, heldMax);
  console.log(
    `RSS ${Math.round(rssBefore / 1_048_576)} MiB before, at most ${Math.round(rssMax / 1_048_576)} MiB: ${perConnection.toFixed(1)} KiB a connection (budget 64)`,
  );
  console.log(`honest before: ${line(before.latenciesMs)}`);
  console.log(`honest during: ${line(during.latenciesMs)}: p99 × ${ratio.toFixed(2)} (budget 2)`);
  for (const metric of metrics) console.log(metric);
  honest.close();
} finally {
  for (const timer of timers) clearInterval(timer);
  for (const socket of open) socket.destroy();
  await broker.stop();
}
