// `sluice perf produce`: how many records a second this broker takes, and how long each waits for its acknowledgement.
//
// The clock starts after a warm-up whose records are written and answered but not counted: compilers and connections are
// then as they stay. Payload is made before. Latency is a record's time from being handed to the producer to its
// acknowledgement, waiting in the batch included; of many records every n-th is measured, which the settings line says.
// The last line has Kafka's form, so that figures can be laid side by side.

import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';
import type { Compression, Producer, ProducerRecord } from '@sluice/client';
import { type ClientContext, withClient } from './client.ts';
import type { CommandContext } from './command.ts';
import { LatencySample } from './latency-sample.ts';
import { payloadPool } from './perf-payload.ts';
import { Progress } from './progress.ts';
import { outputForm } from './result.ts';

type Raw = Uint8Array | string;

const MIB = 1024 * 1024;
const SAMPLES_MAX = 200_000;
const WARM_UP_MAX = 200_000;
/** The part of a run that warms up unless told otherwise. */
const WARM_UP_SHARE = 0.1;
const ACKS = { all: 'all', '1': 'leader', '0': 'none' } as const;
const IN_FLIGHT = 5;
/** The event loop gets a turn at least this often in bytes, so that what was handed over leaves while more is made. */
const BYTES_PER_TURN = 128 * 1024;

interface Settings {
  readonly topic: string;
  readonly records: number;
  readonly recordBytes: number;
  readonly warmUp: number;
  /** Records a second, or null for as many as go. */
  readonly throughput: number | null;
  readonly sampleEvery: number;
}

interface Run {
  readonly producer: Producer<Raw, Raw>;
  readonly settings: Settings;
  readonly payload: readonly Uint8Array[];
  readonly latencies: LatencySample;
  /** Of measured records; the producer's flush tells only what nobody asked for. */
  readonly failures: unknown[];
  readonly interrupted: AbortSignal;
  readonly progress: Progress;
}

export const perfProduce = (context: CommandContext): Promise<number> => withClient(context, measure);

const measure = async (context: ClientContext): Promise<number> => {
  const { invocation, terminal, client } = context;
  const settings = readSettings(context);
  const acks = ACKS[invocation.text('acks') as keyof typeof ACKS];
  const compression = invocation.text('compression') as Compression;
  const batchBytes = invocation.integer('batch-size')!;
  const lingerMs = invocation.integer('linger-ms')!;
  const { partitionCount } = await client.admin.describeTopic(settings.topic, { signal: terminal.interrupted });
  const producer = client.producer({
    topic: settings.topic,
    acks,
    compression,
    batchBytes,
    lingerMs,
    inFlightMax: IN_FLIGHT,
    // Enough to keep every partition's batches in flight and the next one in the making.
    bufferBytesMax: Math.max(3 * MIB, (IN_FLIGHT + 2) * batchBytes * partitionCount),
  });
  const isText = outputForm(context) === 'table';
  if (isText) await terminal.print(settingsLine(settings, { acks, compression, batchBytes, lingerMs, partitionCount }));
  const run: Run = {
    producer,
    settings,
    payload: payloadPool(settings.recordBytes, batchBytes),
    latencies: new LatencySample(Math.ceil(settings.records / settings.sampleEvery) + 1),
    failures: [],
    interrupted: terminal.interrupted,
    progress: new Progress(terminal),
  };
  await producer.ready({ signal: terminal.interrupted });
  await send(run, settings.warmUp, null);
  await producer.flush();
  const startMs = performance.now();
  const sent = await send(run, settings.records - settings.warmUp, run.latencies);
  await producer.flush();
  const seconds = (performance.now() - startMs) / 1_000;
  run.progress.end();
  if (run.failures.length > 0) throw run.failures[0];
  await producer.drain();
  await terminal.print(
    isText ? resultLine(run, sent, seconds) : `${JSON.stringify(resultObject(run, sent, seconds))}\n`,
  );
  return 0;
};

const readSettings = ({ invocation }: ClientContext): Settings => {
  const topic = invocation.optional('topic');
  if (topic === null) throw invocation.misused('--topic is missing');
  const records = invocation.integer('num-records');
  if (records === null) throw invocation.misused('--num-records is missing');
  const recordBytes = invocation.integer('record-size');
  if (recordBytes === null) throw invocation.misused('--record-size is missing');
  const warmUp = invocation.integer('warmup-records') ?? Math.min(WARM_UP_MAX, Math.floor(records * WARM_UP_SHARE));
  if (warmUp >= records) throw invocation.misused('--warmup-records must be less than --num-records');
  const throughput = invocation.integer('throughput');
  const sampleEvery = Math.max(1, Math.ceil((records - warmUp) / SAMPLES_MAX));
  return { topic, records, recordBytes, warmUp, throughput: throughput === -1 ? null : throughput, sampleEvery };
};

/** Hands over that many records; answers how many when interrupted before. Latencies go to `sample`, unless warming up. */
const send = async (run: Run, count: number, sample: LatencySample | null): Promise<number> => {
  const { producer, settings, payload, interrupted } = run;
  const { recordBytes, throughput, sampleEvery } = settings;
  const perTurn = turnRecords(recordBytes, throughput);
  const startMs = performance.now();
  let sent = 0;
  while (sent < count && !interrupted.aborted) {
    const turnEnd = Math.min(count, sent + perTurn);
    // One look at the clock a turn, not a record.
    const timestamp = Date.now();
    for (; sent < turnEnd; sent++) {
      if (!producer.hasRoom) await producer.ready();
      const value = payload[sent % payload.length]!;
      if (sample !== null && sent % sampleEvery === 0) measureOne(run, { value, timestamp }, sample);
      else producer.enqueue({ value, timestamp });
    }
    run.progress.tick(() => progressLine(sent, recordBytes, (performance.now() - startMs) / 1_000));
    const aheadMs = throughput === null ? 0 : (sent / throughput) * 1_000 - (performance.now() - startMs);
    await (aheadMs > 1 ? sleep(aheadMs) : nextTurn());
  }
  return sent;
};

const measureOne = ({ producer, failures }: Run, record: ProducerRecord<Raw, Raw>, sample: LatencySample): void => {
  const handedMs = performance.now();
  producer
    .enqueue(record)
    .ack()
    .then(
      () => sample.add(performance.now() - handedMs),
      (error: unknown) => {
        failures.push(error);
      },
    );
};

/** Small enough to hold a rate steadily, large enough that turns cost nothing. */
const turnRecords = (recordBytes: number, throughput: number | null): number => {
  const byBytes = Math.max(1, Math.floor(BYTES_PER_TURN / (recordBytes + 1)));
  return throughput === null ? byBytes : Math.max(1, Math.min(byBytes, Math.floor(throughput / 100)));
};

interface Shown {
  readonly acks: string;
  readonly compression: string;
  readonly batchBytes: number;
  readonly lingerMs: number;
  readonly partitionCount: number;
}

const settingsLine = (settings: Settings, shown: Shown): string => {
  const { topic, records, recordBytes, warmUp, throughput, sampleEvery } = settings;
  const { acks, compression, batchBytes, lingerMs, partitionCount } = shown;
  return (
    `topic ${topic} (${partitionCount} ${partitionCount === 1 ? 'partition' : 'partitions'}), ${records} records of ${recordBytes} bytes, acks ${acks}, ` +
    `batch size ${batchBytes}, linger ${lingerMs} ms, compression ${compression}, ${IN_FLIGHT} batches in flight, ` +
    `throughput ${throughput ?? 'unlimited'}; figures leave out the first ${warmUp} records (warm-up), ` +
    `latency of every ${sampleEvery === 1 ? '' : `${sampleEvery}. `}record\n`
  );
};

const progressLine = (sent: number, recordBytes: number, seconds: number): string =>
  `${sent} records, ${(sent / seconds).toFixed(0)} records/sec (${((sent * recordBytes) / MIB / seconds).toFixed(2)} MB/sec)`;

const resultLine = ({ latencies, settings }: Run, sent: number, seconds: number): string => {
  const { averageMs, maxMs, p50Ms, p95Ms, p99Ms, p999Ms } = latencies.summary();
  const whole = (ms: number): string => ms.toFixed(0);
  return (
    `${settings.warmUp + sent} records sent, ${(sent / seconds).toFixed(1)} records/sec ` +
    `(${((sent * settings.recordBytes) / MIB / seconds).toFixed(2)} MB/sec), ` +
    `${averageMs.toFixed(2)} ms avg latency, ${maxMs.toFixed(2)} ms max latency, ${whole(p50Ms)} ms 50th, ` +
    `${whole(p95Ms)} ms 95th, ${whole(p99Ms)} ms 99th, ${whole(p999Ms)} ms 99.9th.\n`
  );
};

const resultObject = ({ latencies, settings }: Run, sent: number, seconds: number): object => {
  const { averageMs, maxMs, p50Ms, p95Ms, p99Ms, p999Ms } = latencies.summary();
  return {
    records: settings.warmUp + sent,
    warm_up_records: settings.warmUp,
    seconds,
    records_per_second: sent / seconds,
    mb_per_second: (sent * settings.recordBytes) / MIB / seconds,
    latency_ms: { average: averageMs, max: maxMs, p50: p50Ms, p95: p95Ms, p99: p99Ms, p999: p999Ms },
  };
};
