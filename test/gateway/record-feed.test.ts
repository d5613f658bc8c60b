// Feeds against a real broker whose fetches are counted.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { startBroker, type TestBroker } from 'sluice/testing';
import type { Offset } from '@sluice/protocol/ids';
import { BatchBuilder } from '@sluice/protocol/record';
import type { Broker } from '../../server/broker/broker.ts';
import { LoopShare } from '../../server/gateway/loop-share.ts';
import type { FeedStyle } from '../../server/gateway/feed-rendering.ts';
import type { FeedPiece, RecordFeed } from '../../server/gateway/record-feed.ts';
import { RecordFeeds } from '../../server/gateway/record-feed.ts';
import { realClock } from '../../server/io/real/clock.ts';

let running: TestBroker;
let serial = 0;
const { signal } = new AbortController();

beforeAll(async () => {
  running = await startBroker();
});
afterAll(() => running.stop());

interface World {
  readonly feeds: RecordFeeds;
  readonly fetches: () => number;
  readonly produce: (partition: number, values: readonly (string | null)[]) => Promise<void>;
  readonly open: (offsets: readonly number[], style?: FeedStyle) => RecordFeed;
}

const world = async (partitionCount = 1): Promise<World> => {
  const { broker } = running;
  const name = `feed-${++serial}`;
  await broker.createTopic({ name, partitionCount });
  const topic = broker.findTopic(name)!;
  let fetches = 0;
  const counted: Broker = Object.create(broker, {
    fetch: {
      value: (request: Parameters<Broker['fetch']>[0]) => {
        fetches++;
        return broker.fetch(request);
      },
    },
    findTopic: { value: (asked: string) => broker.findTopic(asked) },
  }) as Broker;
  const feeds = new RecordFeeds(counted, new LoopShare(realClock, 4));
  return {
    feeds,
    fetches: () => fetches,
    async produce(partition, values) {
      const builder = new BatchBuilder({ codec: 'none' });
      for (const value of values) builder.append({ key: null, value, timestamp: 1 });
      const sent = { topic: name, partition, batches: builder.build(), acks: 'all', timeoutMs: 10_000 } as const;
      expect((await broker.produce(sent)).ok).toBe(true);
    },
    open: (offsets, style = 'members') =>
      feeds.open(
        { topic, isolation: 'read_uncommitted', values: 'auto', style },
        offsets.map((offset, partition) => ({ partition, offset: offset as Offset })),
      ),
  };
};

const taken = async (feed: RecordFeed, demand?: { records: number; bytes: number }): Promise<FeedPiece> => {
  const next = await feed.next({ signal, demand });
  if (!next.ok || next.value === null) throw new Error('a piece was due');
  return next.value;
};

const valuesIn = (piece: FeedPiece): string[] =>
  (JSON.parse(`[${piece.text.toString()}]`) as { value_text: string }[]).map(record => record.value_text);

test('a hundred readers that wait at one place cost one fetch, and are given the same bytes', async () => {
  const { produce, open, fetches } = await world();
  const feeds = Array.from({ length: 100 }, () => open([0]));
  const pieces = feeds.map(feed => taken(feed));
  await produce(0, ['a', 'b']);
  const [first, ...others] = await Promise.all(pieces);
  expect(valuesIn(first!)).toEqual(['a', 'b']);
  for (const piece of others) expect(piece.text).toBe(first!.text);
  expect(fetches()).toBe(1);
});

test('a reader that comes a little later finds the piece', async () => {
  const { produce, open, fetches } = await world();
  const [one, other] = [open([0]), open([0])];
  await produce(0, ['a']);
  const piece = await taken(one);
  expect((await taken(other)).text).toBe(piece.text);
  expect(fetches()).toBe(1);
});

test('readers that began in between meet the others at the edge', async () => {
  const { produce, open } = await world(2);
  const front = [open([0, 0]), open([0, 0])];
  await produce(0, ['a', 'b', 'c', 'd']);
  await produce(1, ['A', 'B']);
  const seen: string[] = [];
  while (seen.length < 6) {
    const [piece] = await Promise.all(front.map(feed => taken(feed)));
    seen.push(...valuesIn(piece!));
  }
  // Records behind the edge are there already: a reader in between must not run past it.
  await produce(0, ['e']);
  const late = open([2, 1]);
  const caught: string[] = [];
  while (caught.length < 3) caught.push(...valuesIn(await taken(late)));
  expect(caught.toSorted()).toEqual(['B', 'c', 'd']);
  const [next, lateNext] = await Promise.all([taken(front[0]!), taken(late)]);
  expect(lateNext.text).toBe(next.text);
  expect(valuesIn(next)).toEqual(['e']);
});

test('a reader takes no more than it wants, and finds the rest', async () => {
  const { produce, open } = await world();
  await produce(0, ['aaaa', 'bbbb', 'cccc', 'dddd']);
  const feed = open([0]);
  expect(valuesIn(await taken(feed, { records: 2, bytes: 1000 }))).toEqual(['aaaa', 'bbbb']);
  // The record that uses the credit up goes whole.
  expect(valuesIn(await taken(feed, { records: 10, bytes: 1 }))).toEqual(['cccc']);
  expect(valuesIn(await taken(feed))).toEqual(['dddd']);
});

test('a wait that is ended gives nothing and leaves nothing behind', async () => {
  const { produce, open, feeds, fetches } = await world();
  const feed = open([0]);
  const stop = new AbortController();
  const waiting = feed.next({ signal: stop.signal });
  stop.abort();
  expect(await waiting).toEqual({ ok: true, value: null });
  await produce(0, ['a']);
  expect(valuesIn(await taken(feed))).toEqual(['a']);
  feed.close();
  expect(feeds.cachedBytes).toBe(0);
  expect(fetches()).toBeLessThanOrEqual(2);
});

test('pieces are kept for those behind, within the bound, and dropped with the last reader', async () => {
  const { produce, open, feeds } = await world();
  const [fast, slow] = [open([0]), open([0])];
  const values = Array.from({ length: 60 }, (_, index) => `${index}`.padEnd(16_384, '.'));
  for (let round = 0; round < 50; round++) await produce(0, values);
  let count = 0;
  while (count < 3_000) count += (await taken(fast)).recordCount;
  expect(feeds.cachedBytes).toBeGreaterThan(30 * 1024 * 1024);
  expect(feeds.cachedBytes).toBeLessThanOrEqual(32 * 1024 * 1024);
  // What was dropped is read again.
  const seen: string[] = [];
  while (seen.length < 3_000) seen.push(...valuesIn(await taken(slow)));
  expect(seen).toEqual(Array.from({ length: 50 }, () => values).flat());
  fast.close();
  slow.close();
  expect(feeds.cachedBytes).toBe(0);
});

test('readers of lines that wait at one place are given the same bytes, each record a line', async () => {
  const { produce, open, fetches } = await world();
  const [one, other] = [open([0], 'lines'), open([0], 'lines')];
  const pieces = [taken(one), taken(other)];
  await produce(0, ['a', null]);
  const [first, second] = await Promise.all(pieces);
  expect(second!.text).toBe(first!.text);
  expect(fetches()).toBe(1);
  const lines = first!.text.toString().split('\n');
  expect(lines.pop()).toBe('');
  expect(lines.map(line => JSON.parse(line) as unknown)).toMatchObject([
    { offset: 0, value_text: 'a' },
    { offset: 1, value: null },
  ]);
});

test('values alone leave tombstones out, do not count them, and move past them', async () => {
  const { produce, open } = await world();
  const feed = open([0], 'values');
  await produce(0, [null, 'a', null, 'b', 'c']);
  const some = await taken(feed, { records: 2, bytes: Number.POSITIVE_INFINITY });
  expect([some.text.toString(), some.recordCount]).toEqual(['a\nb\n', 2]);
  expect((await taken(feed)).text.toString()).toBe('c\n');
  await produce(0, [null]);
  const nothing = await taken(feed);
  expect([nothing.text.length, nothing.recordCount]).toEqual([0, 0]);
  expect(feed.positions).toEqual([{ partition: 0, offset: 6 }]);
});

test('a feed tells whether its log has more', async () => {
  const { produce, open } = await world(2);
  const feed = open([0, 0]);
  expect(await feed.isAtEnd()).toBe(true);
  await produce(1, ['a']);
  expect(await feed.isAtEnd()).toBe(false);
  await taken(feed);
  expect(await feed.isAtEnd()).toBe(true);
});
