// A load of the WebSocket door: one record a frame with many frames in flight, or one topic to many readers. Sockets speak the
// protocol by hand, prebuilt frames up and headers alone down, so that on a small machine the broker is what is measured.
//
//   node bench/load/websocket.ts [--server 127.0.0.1:8080] [--case produce|fan-out] [--seconds 5] [--connections 8]
//                                [--in-flight 64] [--bytes 100] [--readers 1000] [--rate 500] [--pid PID]
//
// produce   --connections with --in-flight requests each; records acknowledged a second, and the median answer
// fan-out   --readers of one topic while --rate records a second are written in batches; records delivered to all readers a
//           second. With --pid, the memory that the broker's process grew by, a reader (Linux).
//
// A second of warm-up is not counted. The first frame that is an error ends the run.

import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { connect } from 'node:net';
import { parseArgs } from 'node:util';

const { values: settings } = parseArgs({
  options: {
    server: { type: 'string', default: '127.0.0.1:8080' },
    case: { type: 'string', default: 'produce' },
    seconds: { type: 'string', default: '5' },
    connections: { type: 'string', default: '8' },
    'in-flight': { type: 'string', default: '64' },
    bytes: { type: 'string', default: '100' },
    readers: { type: 'string', default: '1000' },
    rate: { type: 'string', default: '500' },
    pid: { type: 'string', default: '' },
  },
});
const [host, port] = settings.server.split(':') as [string, string];
const seconds = Number(settings.seconds);
const WARM_UP_MS = 1_000;
const HEADERS_END = '\r\n\r\n';

/** A masked text frame; a mask of zeros leaves the payload as it is. */
const frameOf = (text: string): Buffer => {
  const payload = Buffer.from(text);
  if (payload.length > 0xffff) throw new Error('a frame of this load is shorter');
  const header = payload.length < 126 ? Buffer.alloc(6) : Buffer.alloc(8);
  header[0] = 0x81;
  header[1] = 0x80 | (payload.length < 126 ? payload.length : 126);
  if (payload.length >= 126) header.writeUInt16BE(payload.length, 2);
  return Buffer.concat([header, payload]);
};

const PONG = Buffer.from([0x8a, 0x80, 0, 0, 0, 0]);

type OnFrame = (bytes: Buffer, start: number, end: number) => void;

/** Calls with each text frame, which may be cut where it is long: its first bytes and its true length are given. */
const openSocket = (onFrame: OnFrame): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket = connect(Number(port), host);
    let rest: Buffer = Buffer.alloc(0);
    let isOpen = false;
    const key = randomBytes(16).toString('base64');
    socket.setNoDelay(true);
    socket.on('error', reject);
    socket.on('connect', () => {
      socket.write(
        `GET /v1/ws HTTP/1.1\r\nHost: ${settings.server}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
          `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n\r\n`,
      );
    });
    socket.on('data', (chunk: Buffer) => {
      let bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
      if (!isOpen) {
        const end = bytes.indexOf(HEADERS_END);
        if (end < 0) {
          rest = bytes;
          return;
        }
        if (!bytes.toString('latin1', 0, end).startsWith('HTTP/1.1 101')) {
          reject(new Error(bytes.toString('utf8')));
          return;
        }
        isOpen = true;
        bytes = bytes.subarray(end + HEADERS_END.length);
        resolve(socket);
      }
      let at = 0;
      while (bytes.length - at >= 2) {
        const short = bytes[at + 1]! & 0x7f;
        const headerBytes = short < 126 ? 2 : short === 126 ? 4 : 10;
        if (bytes.length - at < headerBytes) break;
        const length =
          short < 126 ? short : short === 126 ? bytes.readUInt16BE(at + 2) : Number(bytes.readBigUInt64BE(at + 2));
        if (bytes.length - at < headerBytes + length) break;
        const opcode = bytes[at]! & 0x0f;
        if (opcode === 9) socket.write(PONG);
        else if (opcode === 1) onFrame(bytes, at + headerBytes, at + headerBytes + length);
        at += headerBytes + length;
      }
      // Not a view: it would keep the whole chunk.
      rest = at === bytes.length ? Buffer.alloc(0) : Buffer.from(bytes.subarray(at));
    });
  });

const refuse = (bytes: Buffer, start: number, end: number): never => {
  throw new Error(bytes.toString('utf8', start, end));
};

const post = async (route: string, body: unknown): Promise<void> => {
  const answer = await fetch(`http://${settings.server}${route}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  if (!answer.ok) throw new Error(await answer.text());
};

const newTopic = async (partitions: number): Promise<string> => {
  const topic = `load-websocket-${randomBytes(4).toString('hex')}`;
  await post('/v1/topics', { name: topic, partition_count: partitions });
  return topic;
};

const pause = (ms: number): Promise<void> =>
  new Promise(resolve => {
    setTimeout(resolve, ms);
  });

const produce = async (): Promise<void> => {
  const topic = await newTopic(4);
  const connections = Number(settings.connections);
  const inFlight = Number(settings['in-flight']);
  const value = 'x'.repeat(Number(settings.bytes));
  const from = performance.now() + WARM_UP_MS;
  const until = from + seconds * 1_000;
  const latencies: number[] = [];
  let records = 0;
  const sockets: Socket[] = [];
  for (let index = 0; index < connections; index++) {
    const frames = Array.from({ length: inFlight }, (_, id) =>
      frameOf(`{"id":${100 + id},"op":"produce","topic":"${topic}","records":[{"value_text":"${value}"}]}`),
    );
    const sentAt = new Float64Array(inFlight);
    const socket = await openSocket((bytes, start, end) => {
      // {"id":NNN,"op":"produced",…}
      if (bytes[start + 16] !== 0x70) refuse(bytes, start, end);
      const id = (bytes[start + 6]! - 48) * 100 + (bytes[start + 7]! - 48) * 10 + (bytes[start + 8]! - 48) - 100;
      const now = performance.now();
      if (now >= from && now < until) {
        records++;
        if (records % 16 === 0) latencies.push(now - sentAt[id]!);
      }
      if (now >= until) return;
      sentAt[id] = now;
      if (again.length === 0) queueMicrotask(flush);
      again.push(frames[id]!);
    });
    let again: Buffer[] = [];
    const flush = (): void => {
      socket.write(again.length === 1 ? again[0]! : Buffer.concat(again));
      again = [];
    };
    sockets.push(socket);
    sentAt.fill(performance.now());
    socket.write(Buffer.concat(frames));
  }
  await pause(until - performance.now() + 200);
  for (const socket of sockets) socket.destroy();
  latencies.sort((a, b) => a - b);
  const median = latencies[Math.floor(latencies.length / 2)] ?? Number.NaN;
  process.stdout.write(
    `produce: ${Math.round(records / seconds)} records/s, one a frame, ${connections} connections x ${inFlight} in ` +
      `flight, ${settings.bytes} bytes, median answer ${median.toFixed(1)} ms\n`,
  );
};

/** KiB resident, of the broker's process. */
const residentKib = (): number => {
  if (settings.pid === '') return Number.NaN;
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${settings.pid}/status`, 'utf8'))?.[1]);
};

const OFFSET = Buffer.from('"offset":');

const fanOut = async (): Promise<void> => {
  const topic = await newTopic(1);
  const readers = Number(settings.readers);
  const rate = Number(settings.rate);
  const before = residentKib();
  let isCounting = false;
  let delivered = 0;
  let frames = 0;
  let bytesSeen = 0;
  const subscribed: Promise<void>[] = [];
  const sockets: Socket[] = [];
  for (let index = 0; index < readers; index++) {
    const { promise, resolve } = Promise.withResolvers<void>();
    subscribed.push(promise);
    const socket = await openSocket((bytes, start, end) => {
      // {"op":"records",…} or {"id":1,"op":"subscribed",…}
      if (bytes[start + 2] === 0x69) {
        if (bytes[start + 14] !== 0x73) refuse(bytes, start, end);
        resolve();
        return;
      }
      if (bytes[start + 7] !== 0x72) refuse(bytes, start, end);
      if (!isCounting) return;
      frames++;
      bytesSeen += end - start;
      for (let at = start; ; delivered++) {
        at = bytes.indexOf(OFFSET, at);
        if (at < 0 || at >= end) break;
        at += OFFSET.length;
      }
    });
    socket.write(frameOf(`{"id":1,"op":"subscribe","topic":"${topic}","from":"latest"}`));
    sockets.push(socket);
  }
  await Promise.all(subscribed);
  const idle = residentKib();
  const value = 'x'.repeat(Number(settings.bytes));
  const BATCHES_A_SECOND = 10;
  const batch = { records: Array.from({ length: Math.ceil(rate / BATCHES_A_SECOND) }, () => ({ value })) };
  const writeFor = async (ms: number): Promise<number> => {
    const began = performance.now();
    for (let due = began; due < began + ms; due += 1_000 / BATCHES_A_SECOND) {
      await pause(Math.max(0, due - performance.now()));
      await post(`/v1/topics/${topic}/records`, batch);
    }
    return (performance.now() - began) / 1_000;
  };
  await writeFor(WARM_UP_MS);
  isCounting = true;
  const took = await writeFor(seconds * 1_000);
  const busy = residentKib();
  process.stdout.write(
    `fan-out: ${Math.round(delivered / took)} deliveries/s in ${Math.round(frames / took)} frames/s and ` +
      `${(bytesSeen / took / 1e6).toFixed(0)} MB/s, ${readers} readers, ${settings.bytes} bytes` +
      `${Number.isNaN(before) ? '' : `, ${((idle - before) / readers).toFixed(1)} KiB a reader idle, ${((busy - before) / readers).toFixed(1)} KiB reading`}\n`,
  );
  for (const socket of sockets) socket.destroy();
};

if (settings.case === 'fan-out') await fanOut();
else await produce();
