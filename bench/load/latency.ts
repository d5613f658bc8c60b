// End-to-end latency at a steady rate: from the call that hands a record over until a reader in the same process, hence with the
// same clock, has it.
//
//   node bench/load/latency.ts [--server 127.0.0.1:9090] [--rate 10000] [--seconds 5] [--linger-ms 0] [--record-size 100]
//
// Open loop: what is due is sent whether or not earlier records arrived, so a stall of the broker is seen by every record
// that is due meanwhile. A record carries the time at which it was due in its first 8 bytes; the wait for the timer of this
// process, up to a millisecond, is thus part of the figure. The first second warms up and is not counted. Every record
// has to arrive, once and in order.

import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Sluice } from '@sluice/client';

const { values: settings } = parseArgs({
  options: {
    server: { type: 'string', default: '127.0.0.1:9090' },
    rate: { type: 'string', default: '10000' },
    seconds: { type: 'string', default: '5' },
    'linger-ms': { type: 'string', default: '0' },
    'record-size': { type: 'string', default: '100' },
  },
});
const rate = Number(settings.rate);
const seconds = Number(settings.seconds);
const recordBytes = Number(settings['record-size']);
const WARM_UP_S = 1;
/** After the last record was sent: a broker that has not delivered by then is not slow but broken. */
const ARRIVAL_MS_MAX = 30_000;
const DUE_BYTES = 8;

const count = Math.round(rate * (WARM_UP_S + seconds));
const firstCounted = Math.round(rate * WARM_UP_S);
const latenciesMs = new Float64Array(count);
const topic = `latency-${process.pid}`;

const sluice = new Sluice({ servers: [settings.server] });
await sluice.admin.createTopic({ name: topic, partitionCount: 1 });

const receive = async (): Promise<void> => {
  let received = 0;
  for await (const messages of sluice.reader({ topic, from: 'earliest' }).batches()) {
    const now = performance.now();
    for (const message of messages) {
      if (message.offset !== received) throw new Error(`offset ${message.offset} came in the place of ${received}`);
      const value = message.value!;
      latenciesMs[received++] = now - new DataView(value.buffer, value.byteOffset, DUE_BYTES).getFloat64(0);
    }
    if (received === count) return;
  }
};

const send = async (): Promise<void> => {
  const producer = sluice.producer({ topic, acks: 'all', lingerMs: Number(settings['linger-ms']) });
  const began = performance.now();
  for (let sent = 0; sent < count; ) {
    const due = Math.min(count, Math.floor(((performance.now() - began) * rate) / 1_000));
    for (; sent < due; sent++) {
      if (!producer.hasRoom) await producer.ready();
      const value = new Uint8Array(recordBytes);
      new DataView(value.buffer).setFloat64(0, began + ((sent + 1) / rate) * 1_000);
      producer.enqueue({ value });
    }
    await sleep(1);
  }
  await producer.drain();
};

const received = receive();
// A reader that fails while records are still sent is seen below, not as an unhandled rejection.
received.catch(() => undefined);
await send();
const late = new AbortController();
await Promise.race([
  received.then(() => late.abort()),
  sleep(ARRIVAL_MS_MAX, undefined, { signal: late.signal }).then(
    () => {
      throw new Error(`not everything arrived within ${ARRIVAL_MS_MAX} ms`);
    },
    () => undefined,
  ),
]);

const counted = latenciesMs.subarray(firstCounted).toSorted();
const at = (share: number): string =>
  counted[Math.min(counted.length - 1, Math.floor(counted.length * share))]!.toFixed(2);
console.log(
  `latency at ${rate} records/s: p50 ${at(0.5)} ms, p95 ${at(0.95)} ms, p99 ${at(0.99)} ms, p99.9 ${at(0.999)} ms, ` +
    `max ${at(1)} ms, ${counted.length} records`,
);
await sluice.admin.deleteTopic(topic);
await sluice.close();
