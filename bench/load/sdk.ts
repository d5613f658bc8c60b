// The client against a broker in another process: how many 100-byte records a second it writes and reads.
//
//   node server/sluice.cjs start --grpc 127.0.0.1:9090 …       in one terminal
//   node bench/load/sdk.ts [--server 127.0.0.1:9090] [--records 5000000] [--record-size 100] [--rounds 3]
//                          [--partitions 1] [--acks all] [--compression none] [--batch-bytes 262144] [--in-flight 5]
//
// Each round writes all records, acknowledgements awaited, and reads them back from the beginning, in batches and one by
// one; the medians are printed. The first records warm up and are not counted. It creates a topic of its own and
// deletes it.
//
// Both processes gain from `node --external-memory-accounted-in-global-limit`: without it V8 holds the memory of buffers
// against a small limit of its own and walks the whole heap after every few dozen batches.

import { parseArgs } from 'node:util';
import { Sluice, type Acks, type Compression, type Producer } from '@sluice/client';

const { values } = parseArgs({
  options: {
    server: { type: 'string', default: '127.0.0.1:9090' },
    records: { type: 'string', default: '5000000' },
    'record-size': { type: 'string', default: '100' },
    rounds: { type: 'string', default: '3' },
    partitions: { type: 'string', default: '1' },
    acks: { type: 'string', default: 'all' },
    compression: { type: 'string', default: 'none' },
    'batch-bytes': { type: 'string', default: '262144' },
    'in-flight': { type: 'string', default: '5' },
  },
});

const recordCount = Number(values.records);
const recordBytes = Number(values['record-size']);
const warmUpCount = Math.min(500_000, Math.ceil(recordCount / 5));

/** Printable text, so that a codec has something to do; a few values in turn, so that memory does not matter. */
const payloads = Array.from({ length: 64 }, () =>
  Uint8Array.from({ length: recordBytes }, () => 32 + Math.floor(Math.random() * 95)),
);

async function write(producer: Producer<Uint8Array | string, Uint8Array | string>, count: number): Promise<void> {
  for (let index = 0; index < count; index++) {
    if (!producer.hasRoom) await producer.ready();
    producer.enqueue({ value: payloads[index & 63]! });
    // The answers come in between, as they would in a program that does something else too.
    if ((index & 0x3fff) === 0) await new Promise(resolve => setImmediate(resolve));
  }
  await producer.flush();
}

interface Figure {
  readonly perSecond: number;
  /** What the client's process spent on a record; unlike the rate it hardly depends on who else uses the machine. */
  readonly cpuNs: number;
}

async function timed(work: () => Promise<number>): Promise<Figure> {
  const startMs = performance.now();
  const startCpu = process.cpuUsage();
  const count = await work();
  const { user, system } = process.cpuUsage(startCpu);
  return { perSecond: (count / (performance.now() - startMs)) * 1_000, cpuNs: ((user + system) * 1_000) / count };
}

const median = (figures: number[]): number => figures.toSorted((a, b) => a - b)[Math.floor(figures.length / 2)]!;
const shown = ({ perSecond, cpuNs }: Figure): string =>
  `${(perSecond / 1e6).toFixed(2)} M records/s (${((perSecond * recordBytes) / 1e6).toFixed(0)} MB/s, ${cpuNs.toFixed(0)} ns of client CPU each)`;

const sluice = new Sluice({ servers: [values.server] });
const figures: Record<string, Figure[]> = { produce: [], 'consume, batches': [], 'consume, one by one': [] };
console.log(`${recordCount} records of ${recordBytes} B a round, ${warmUpCount} to warm up; ${JSON.stringify(values)}`);

for (let round = 0; round < Number(values.rounds); round++) {
  const name = `bench-sdk-${process.pid}-${round}`;
  await sluice.admin.createTopic({ name, partitionCount: Number(values.partitions) });
  const producer = sluice.producer({
    topic: name,
    acks: values.acks as Acks,
    compression: values.compression as Compression,
    batchBytes: Number(values['batch-bytes']),
    inFlightMax: Number(values['in-flight']),
  });
  await write(producer, warmUpCount);
  const produced = await timed(async () => {
    await write(producer, recordCount);
    return recordCount;
  });
  await producer.drain();
  figures['produce']!.push(produced);

  let bytes = 0;
  const consumed = await timed(async () => {
    let count = 0;
    for await (const messages of sluice.reader({ topic: name, from: 'earliest', untilEnd: true }).batches()) {
      for (const message of messages) bytes += message.value!.length;
      count += messages.length;
    }
    return count;
  });
  figures['consume, batches']!.push(consumed);

  const oneByOne = await timed(async () => {
    let count = 0;
    for await (const message of sluice.reader({ topic: name, from: 'earliest', untilEnd: true })) {
      bytes += message.value!.length;
      count++;
    }
    return count;
  });
  figures['consume, one by one']!.push(oneByOne);
  if (bytes !== 2 * (warmUpCount + recordCount) * recordBytes)
    throw new Error('not everything that was written was read');
  await sluice.admin.deleteTopic(name);
  console.log(`round ${round + 1}: produce ${shown(produced)}; consume ${shown(consumed)}; ${shown(oneByOne)}`);
}
for (const [what, rounds] of Object.entries(figures)) {
  const perSecond = median(rounds.map(figure => figure.perSecond));
  console.log(`${what.padEnd(20)} ${shown({ perSecond, cpuNs: median(rounds.map(figure => figure.cpuNs)) })}`);
}
await sluice.close();
