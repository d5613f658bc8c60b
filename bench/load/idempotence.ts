// What idempotence costs a producer and its broker: the same records written with and without an identity, in turns, so that whoever else uses
// the machine disturbs both alike.
//
//   node server/sluice.cjs start --grpc 127.0.0.1:9090 …       in one terminal
//   node bench/load/idempotence.ts --broker-pid PID [--server 127.0.0.1:9090] [--records 1000000] [--record-size 100] [--rounds 7]
//                                  [--batch-bytes 65536]
//
// The ratio of each pair is printed, and the medians: of records a second, and of the processor time of client and broker a record, which
// hardly depends on the others.

import { parseArgs } from 'node:util';
import { Sluice } from '@sluice/client';
import { processorMs } from './process-usage.ts';

const { values } = parseArgs({
  options: {
    server: { type: 'string', default: '127.0.0.1:9090' },
    'broker-pid': { type: 'string' },
    records: { type: 'string', default: '1000000' },
    'record-size': { type: 'string', default: '100' },
    rounds: { type: 'string', default: '7' },
    'batch-bytes': { type: 'string', default: '65536' },
  },
});

const recordCount = Number(values.records);
const value = Buffer.alloc(Number(values['record-size']), 'x');

interface Figure {
  readonly perSecond: number;
  readonly clientNs: number;
  readonly brokerNs: number;
}

const sluice = new Sluice({ servers: [values.server] });
const brokerPid = Number(values['broker-pid']);
if (!Number.isInteger(brokerPid)) throw new Error('--broker-pid is missing');

const write = async (topic: string, idempotent: boolean): Promise<Figure> => {
  const producer = sluice.producer({ topic, idempotent, batchBytes: Number(values['batch-bytes']) });
  await producer.send({ value });
  const startMs = performance.now();
  const client = process.cpuUsage();
  const brokerMs = processorMs(brokerPid) ?? 0;
  for (let index = 0; index < recordCount; index++) {
    if (!producer.hasRoom) await producer.ready();
    producer.enqueue({ value });
    if ((index & 0x3fff) === 0) await new Promise(resolve => setImmediate(resolve));
  }
  await producer.flush();
  const { user, system } = process.cpuUsage(client);
  const perSecond = (recordCount / (performance.now() - startMs)) * 1_000;
  const brokerUsedMs = (processorMs(brokerPid) ?? 0) - brokerMs;
  await producer.drain();
  return {
    perSecond,
    clientNs: ((user + system) * 1_000) / recordCount,
    brokerNs: (brokerUsedMs * 1e6) / recordCount,
  };
};

const ratios: Figure[] = [];
for (let round = 0; round <= Number(values.rounds); round++) {
  const topic = `bench-idempotence-${process.pid}-${round}`;
  await sluice.admin.createTopic({ name: topic });
  // Whoever comes first changes from round to round.
  const order = round % 2 === 0 ? [false, true] : [true, false];
  const figures = new Map<boolean, Figure>();
  for (const idempotent of order) figures.set(idempotent, await write(topic, idempotent));
  await sluice.admin.deleteTopic(topic);
  const [plain, signed] = [figures.get(false)!, figures.get(true)!];
  const ratio = {
    perSecond: signed.perSecond / plain.perSecond,
    clientNs: signed.clientNs / plain.clientNs,
    brokerNs: signed.brokerNs / plain.brokerNs,
  };
  // The first round warms up.
  if (round > 0) ratios.push(ratio);
  console.log(
    `round ${round}: ${(plain.perSecond / 1e6).toFixed(2)} and ${(signed.perSecond / 1e6).toFixed(2)} M records/s; a record ` +
      `${plain.clientNs.toFixed(0)} and ${signed.clientNs.toFixed(0)} ns at the client, ` +
      `${plain.brokerNs.toFixed(0)} and ${signed.brokerNs.toFixed(0)} ns at the broker`,
  );
}
const median = (pick: (figure: Figure) => number): string => {
  const sorted = ratios.map(pick).toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)]!.toFixed(3);
};
console.log(
  `with an identity: ${median(ratio => ratio.perSecond)} times the records a second, ${median(ratio => ratio.clientNs)} times the ` +
    `client's processor time and ${median(ratio => ratio.brokerNs)} times the broker's`,
);
await sluice.close();
