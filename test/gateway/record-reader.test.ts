// Readers against a real broker.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { startBroker, type TestBroker } from 'sluice/testing';
import type { Offset } from '@sluice/protocol/ids';
import { BatchBuilder, recordValue } from '@sluice/protocol/record';
import { RecordReader, type RecordVisitor } from '../../server/gateway/record-reader.ts';

let running: TestBroker;

beforeAll(async () => {
  running = await startBroker();
});
afterAll(() => running.stop());

const produce = async (topic: string, values: readonly string[]): Promise<void> => {
  const builder = new BatchBuilder({ codec: 'none' });
  for (const value of values) builder.append({ key: null, value, timestamp: 1 });
  const sent = { topic, partition: 0, batches: builder.build(), acks: 'all', timeoutMs: 10_000 } as const;
  expect((await running.broker.produce(sent)).ok).toBe(true);
};

class Values implements RecordVisitor {
  readonly seen: string[] = [];
  #marked = 0;

  visit(_partition: number, cursor: Parameters<RecordVisitor['visit']>[1]): boolean {
    this.seen.push(Buffer.from(recordValue(cursor) ?? []).toString());
    return true;
  }

  mark(): void {
    this.#marked = this.seen.length;
  }

  undo(): void {
    this.seen.length = this.#marked;
  }
}

const STEP = { bytesMax: 65_536, waitMs: 0, signal: undefined };

test.each([
  ['has more records', ['other', 'another']],
  ['has none yet', []],
])('a read does not go on in a topic that took the name and %s', async (_, values) => {
  const { broker } = running;
  const name = `again-${values.length}`;
  await broker.createTopic({ name, partitionCount: 1 });
  await produce(name, ['first']);
  const source = { broker, topic: broker.findTopic(name)!, isolation: 'read_uncommitted' } as const;
  const reader = new RecordReader(source, [{ partition: 0, offset: 0 as Offset }], 0);
  const visitor = new Values();
  expect(await reader.step(STEP, visitor)).toMatchObject({ ok: true });
  expect((await broker.deleteTopic(name)).ok).toBe(true);
  await broker.createTopic({ name, partitionCount: 1 });
  if (values.length > 0) await produce(name, values);
  expect(await reader.step(STEP, visitor)).toMatchObject({ ok: false, problem: { code: 'TOPIC_NOT_FOUND' } });
  expect(visitor.seen).toEqual(['first']);
});

test('a read that waits ends when its topic is replaced meanwhile', async () => {
  const { broker } = running;
  const name = 'replaced';
  await broker.createTopic({ name, partitionCount: 1 });
  const source = { broker, topic: broker.findTopic(name)!, isolation: 'read_uncommitted' } as const;
  const reader = new RecordReader(source, [{ partition: 0, offset: 0 as Offset }], 0);
  const visitor = new Values();
  const waiting = reader.step({ ...STEP, waitMs: 30_000 }, visitor);
  await broker.deleteTopic(name);
  await broker.createTopic({ name, partitionCount: 1 });
  await produce(name, ['other']);
  expect(await waiting).toMatchObject({ ok: false, problem: { code: 'TOPIC_NOT_FOUND' } });
  expect(visitor.seen).toEqual([]);
});
