// A compacted topic that is cleaned while others write: how much the cleaner shortens it, how fast, and what it costs a producer beside it.
//
//   node bench/load/compaction.ts [--updates 10000000] [--keys 10000] [--bytes 100] [--seconds 10] [--compression none]
//
// It starts a broker of its own. All updates go to one partition of a topic that is never dirty enough to be cleaned; then a producer on
// another topic is measured alone; then the topic is given back its usual ratio, and the same producer is measured again while the cleaner
// is at work. The broker looks for something to clean every 30 s, which is waited for and not counted.

import { parseArgs } from 'node:util';
import { Sluice, type Compression } from '@sluice/client';
import { BrokerUnderLoad, delayed, HonestClient, percentile, scrape } from './broker-under-load.ts';

const { values: settings } = parseArgs({
  options: {
    updates: { type: 'string', default: '10000000' },
    keys: { type: 'string', default: '10000' },
    bytes: { type: 'string', default: '100' },
    seconds: { type: 'string', default: '10' },
    connections: { type: 'string', default: '4' },
    compression: { type: 'string', default: 'none' },
    'segment-bytes': { type: 'string', default: String(256 * 1024 * 1024) },
  },
});
const updates = Number(settings.updates);
const keys = Number(settings.keys);

const write = async (sluice: Sluice, topic: string): Promise<void> => {
  const producer = sluice.producer({ topic, compression: settings.compression as Compression, batchBytes: 262_144 });
  const value = new Uint8Array(Number(settings.bytes)).fill(120);
  for (let index = 0; index < updates; index++) {
    if (!producer.hasRoom) await producer.ready();
    producer.enqueue({ key: `key-${(index * 7_919) % keys}`, value });
    if ((index & 0x3fff) === 0) await new Promise(resolve => setImmediate(resolve));
  }
  await producer.flush();
  await producer.drain();
};

/** One-record requests on a few connections, until told to end. */
const measured = async (broker: BrokerUnderLoad, until: () => Promise<boolean>): Promise<readonly number[]> => {
  const body = JSON.stringify({ records: [{ key: 'k', value: 'x'.repeat(100) }] });
  const head = `POST /v1/topics/probe/records HTTP/1.1\r\nHost: ${broker.http}\r\nContent-Type: application/json\r\n`;
  const request = Buffer.from(`${head}Content-Length: ${body.length}\r\n\r\n${body}`);
  const latenciesMs: number[] = [];
  const state = { isOver: false };
  const drive = async (): Promise<void> => {
    const client = new HonestClient(broker.http);
    while (!state.isOver) {
      const from = performance.now();
      await client.request(request);
      latenciesMs.push(performance.now() - from);
    }
    client.close();
  };
  const clients = Array.from({ length: Number(settings.connections) }, drive);
  while (!(await until())) await delayed(100);
  state.isOver = true;
  await Promise.all(clients);
  return latenciesMs;
};

const shown = (name: string, latenciesMs: readonly number[], seconds: number): void => {
  const at = (share: number): string => percentile(latenciesMs, share).toFixed(2);
  console.log(
    `${name}: ${Math.round(latenciesMs.length / seconds)}/s, p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, p99.9 ${at(0.999)} ms`,
  );
};

const gauge = async (broker: BrokerUnderLoad, name: string): Promise<number> => {
  const [line] = await scrape(broker.management, new RegExp(`^${name}.*$`, 'm'));
  return Number(line?.split(' ').at(-1) ?? Number.NaN);
};

const broker = await BrokerUnderLoad.start();
const sluice = new Sluice({ servers: [broker.grpc] });
try {
  const never = { 'cleanup.policy': 'compact', 'min.cleanable.dirty.ratio': '1', 'min.compaction.lag.ms': '86400000' };
  await broker.createTopic('keyed', { ...never, 'segment.bytes': settings['segment-bytes'] });
  await broker.createTopic('probe');
  const size = (): Promise<number> => gauge(broker, 'sluice_log_size_bytes\\{topic="keyed"');
  const wroteFrom = performance.now();
  await write(sluice, 'keyed');
  const before = await size();
  const wroteSeconds = (performance.now() - wroteFrom) / 1_000;
  console.log(
    `${updates} updates of ${keys} keys: ${(before / 1e6).toFixed(0)} MB written in ${wroteSeconds.toFixed(0)} s`,
  );

  const seconds = Number(settings.seconds);
  const aloneUntil = performance.now() + seconds * 1_000;
  const alone = await measured(broker, () => Promise.resolve(performance.now() >= aloneUntil));
  shown('producer alone', alone, seconds);

  await sluice.admin.alterTopic({
    name: 'keyed',
    config: { 'min.cleanable.dirty.ratio': '0.5', 'min.compaction.lag.ms': '0' },
  });
  while ((await gauge(broker, 'sluice_cleaner_at_work')) === 0) await delayed(20);
  const from = performance.now();
  const beside = await measured(broker, async () => (await gauge(broker, 'sluice_cleaner_runs')) > 0);
  const tookSeconds = (performance.now() - from) / 1_000;
  shown('producer beside the cleaner', beside, tookSeconds);
  const after = await size();
  const rate = before / 1e6 / tookSeconds;
  console.log(
    `cleaned in ${tookSeconds.toFixed(1)} s: ${rate.toFixed(0)} MB/s of log; ${(before / 1e6).toFixed(1)} MB became ${(after / 1e6).toFixed(1)} MB`,
  );
  console.log(
    `p99 beside the cleaner: ${(percentile(beside, 0.99) / percentile(alone, 0.99)).toFixed(2)} times that alone`,
  );
} finally {
  await sluice.close();
  await broker.stop();
}
