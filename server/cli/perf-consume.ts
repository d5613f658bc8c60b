// `sluice perf consume`: how many records a second a reader gets from the beginning of a topic.
//
// Reads --num-records, or all that there is, and stops at the end of the topic in any case. The clock starts with the
// first batch, after the warm-up where one is asked for: what is measured is reading, not connecting.

import type { Message } from '@sluice/client';
import { type ClientContext, withClient } from './client.ts';
import type { CommandContext } from './command.ts';
import { Progress } from './progress.ts';
import { outputForm } from './result.ts';

const MIB = 1024 * 1024;

interface Tally {
  records: number;
  bytes: number;
}

/** As printed with `-o json`. */
interface Result {
  readonly records: number;
  readonly warm_up_records: number;
  readonly seconds: number;
  readonly records_per_second: number;
  readonly mb_per_second: number;
  /** Null when nothing came. */
  readonly first_batch_ms: number | null;
}

export const perfConsume = (context: CommandContext): Promise<number> => withClient(context, measure);

const measure = async (context: ClientContext): Promise<number> => {
  const { invocation, terminal, client } = context;
  const topic = invocation.optional('topic');
  if (topic === null) throw invocation.misused('--topic is missing');
  const wanted = invocation.integer('num-records') ?? Number.POSITIVE_INFINITY;
  const warmUp = invocation.integer('warmup-records') ?? 0;
  if (warmUp >= wanted) throw invocation.misused('--warmup-records must be less than --num-records');
  const reader = client.reader({ topic, from: 'earliest', untilEnd: true, signal: terminal.interrupted });
  const progress = new Progress(terminal);
  const warm: Tally = { records: 0, bytes: 0 };
  const counted: Tally = { records: 0, bytes: 0 };
  const connectMs = performance.now();
  let startMs = connectMs;
  let firstMs = 0;
  try {
    for await (const batch of reader.batches()) {
      if (firstMs === 0) startMs = firstMs = performance.now();
      if (warm.records < warmUp) {
        tally(warm, batch, batch.length);
        startMs = performance.now();
        continue;
      }
      tally(counted, batch, Math.min(batch.length, wanted - warm.records - counted.records));
      if (warm.records + counted.records >= wanted) break;
      progress.tick(() => `${counted.records} records, ${perSecond(counted.records, startMs).toFixed(0)} records/sec`);
    }
  } catch (error) {
    if (!terminal.interrupted.aborted) throw error;
  } finally {
    reader.close();
  }
  const seconds = Math.max((performance.now() - startMs) / 1_000, Number.EPSILON);
  progress.end();
  const result: Result = {
    records: warm.records + counted.records,
    warm_up_records: warm.records,
    seconds,
    records_per_second: counted.records / seconds,
    mb_per_second: counted.bytes / MIB / seconds,
    first_batch_ms: firstMs === 0 ? null : firstMs - connectMs,
  };
  await terminal.print(outputForm(context) === 'table' ? resultText(result, counted) : `${JSON.stringify(result)}\n`);
  return 0;
};

const tally = (into: Tally, batch: readonly Message[], count: number): void => {
  for (let index = 0; index < count; index++) {
    const message = batch[index]!;
    into.bytes += (message.keyBytes?.length ?? 0) + (message.valueBytes?.length ?? 0);
  }
  into.records += count;
};

const perSecond = (count: number, startMs: number): number =>
  count / Math.max(1e-9, (performance.now() - startMs) / 1_000);

const resultText = (result: Result, counted: Tally): string => {
  const warm = result.warm_up_records === 0 ? '' : `, the first ${result.warm_up_records} not counted (warm-up)`;
  return (
    `first batch after ${(result.first_batch_ms ?? 0).toFixed(0)} ms\n` +
    `${result.records} records received${warm}, ${result.records_per_second.toFixed(1)} records/sec ` +
    `(${result.mb_per_second.toFixed(2)} MB/sec), ${(counted.bytes / MIB).toFixed(2)} MB in ${result.seconds.toFixed(3)} s.\n`
  );
};
