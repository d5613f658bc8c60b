// Snapshots: the same state comes out, in pieces that fit, and whatever is missing or strange is told.

import { describe, expect, test } from 'vitest';
import {
  type ClusterSnapshotChunk,
  ClusterSnapshotChunkSchema,
  create,
  fromBinary,
  toBinary,
} from '@sluice/protocol/cluster';
import { nodeId } from '@sluice/protocol/ids';
import {
  PARTITIONS_PER_TOPIC_MAX,
  REPLICATION_FACTOR_MAX,
  SNAPSHOT_CHUNK_BYTES_MAX,
} from '../../../server/base/limits.ts';
import { ClusterState } from '../../../server/state/cluster/cluster-state.ts';
import { emptyImage } from '../../../server/state/cluster/image.ts';
import { allocateProducerIds } from '../../../server/state/cluster/producer-ids.ts';
import { drainBroker } from '../../../server/state/cluster/registration.ts';
import { acknowledgeRemoval } from '../../../server/state/cluster/removal.ts';
import { decodeSnapshot, encodeSnapshot, SnapshotDecoder } from '../../../server/state/cluster/snapshot.ts';
import { deleteTopic } from '../../../server/state/cluster/topic-change.ts';
import { ClusterWorld, plain, replicaOf, startOf, topicIdOf } from './cluster-world.ts';

/** A state with something of everything in it. */
const fullWorld = (): ClusterWorld => {
  const world = ClusterWorld.of([
    { node: 1, rack: 'a' },
    { node: 2, rack: 'b' },
    { node: 7, roles: ['gateway'] },
  ]);
  world.topic('t', { partitions: 5, factor: 2, config: { 'retention.ms': '5' } });
  const gone = world.topic('gone', { partitions: 3 });
  world.do(deleteTopic, 'gone');
  world.topic('gone');
  world.do(acknowledgeRemoval, { nodeId: nodeId(2), incarnation: startOf(2), topicIds: [gone] });
  world.do(allocateProducerIds, { nodeId: nodeId(1), incarnation: startOf(1) });
  world.do(drainBroker, { nodeId: nodeId(2), draining: true });
  world.beat(2, 0, 'not-ready');
  return world;
};

const taken = (chunks: Iterable<Uint8Array>) => {
  const decoded = decodeSnapshot(chunks);
  if (!decoded.ok) expect.fail(`${decoded.kind}: ${decoded.detail}`);
  return decoded.value;
};

describe('a snapshot', () => {
  test('gives the state that it was taken of', () => {
    const { image } = fullWorld();
    expect(plain(taken(encodeSnapshot(image)))).toEqual(plain(image));
    expect(plain(taken(encodeSnapshot(emptyImage())))).toEqual(plain(emptyImage()));
  });

  test('is a state that goes on as the one that it was taken of', () => {
    const world = fullWorld();
    const copy = new ClusterState(taken(encodeSnapshot(world.image)));
    const before = world.records.length;
    world.topic('later', { partitions: 4, factor: 1 });
    world.do(deleteTopic, 't');
    for (const record of world.records.slice(before)) copy.replay(record);
    expect(plain(copy.image)).toEqual(plain(world.image));
  });

  test('of much comes in chunks that fit, each taken by itself', () => {
    let { deletedTopics } = fullWorld().image;
    for (let index = 0; index < 4_000; index++) {
      const deleted = { topicId: topicIdOf(1_000 + index), name: 't'.repeat(249), partitionCount: 1 };
      deletedTopics = deletedTopics.with(deleted.topicId, { ...deleted, waitingFor: [nodeId(1), nodeId(7)] });
    }
    const image = { ...fullWorld().image, deletedTopics };
    const decoder = new SnapshotDecoder();
    const sizes: number[] = [];
    for (const chunk of encodeSnapshot(image)) {
      expect(decoder.finish().ok).toBe(false);
      expect(decoder.take(chunk).ok).toBe(true);
      sizes.push(chunk.length);
    }
    expect(sizes.length).toBeGreaterThan(2);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(SNAPSHOT_CHUNK_BYTES_MAX);
    // No entry here is larger than a quarter of a chunk, so all but the last are well filled.
    expect(Math.min(...sizes.slice(0, -1))).toBeGreaterThan(SNAPSHOT_CHUNK_BYTES_MAX / 2);
    const finished = decoder.finish();
    expect(finished.ok && plain(finished.value)).toEqual(plain(image));
  });

  test('of the largest topics that can be fits too', () => {
    const nodes = Array.from({ length: REPLICATION_FACTOR_MAX }, (_, index) => index + 1);
    const { state } = ClusterWorld.ofCount(nodes.length);
    const replicas = nodes.map(replicaOf);
    const partitions = Array.from({ length: PARTITIONS_PER_TOPIC_MAX }, () => ({ replicas }));
    for (const letter of ['a', 'b', 'c', 'd']) {
      const name = letter.repeat(249);
      const topicId = topicIdOf(letter.charCodeAt(0));
      const shape = { internal: false, replicationFactor: REPLICATION_FACTOR_MAX, config: {}, partitions };
      state.replay({ kind: 'topic-created', topicId, name, ...shape });
    }
    const chunks = [...encodeSnapshot(state.image)];
    expect(Math.max(...chunks.map(chunk => chunk.length))).toBeLessThanOrEqual(SNAPSHOT_CHUNK_BYTES_MAX);
    expect(chunks.length).toBe(2);
    const again = [...encodeSnapshot(taken(chunks))];
    expect(again.map((chunk, index) => Buffer.compare(chunk, chunks[index]!))).toEqual([0, 0]);
  });
});

describe('what is no snapshot', () => {
  const damaged = (detail: string) => ({ ok: false, kind: 'damaged', detail });
  const changed = (change: (chunk: ClusterSnapshotChunk) => void): Uint8Array => {
    const [bytes] = [...encodeSnapshot(fullWorld().image)];
    const chunk = fromBinary(ClusterSnapshotChunkSchema, bytes!);
    change(chunk);
    return toBinary(ClusterSnapshotChunkSchema, chunk);
  };
  const whole = [...encodeSnapshot(fullWorld().image)][0]!;

  test('chunks that are missing, repeated or out of order', () => {
    const next = toBinary(ClusterSnapshotChunkSchema, create(ClusterSnapshotChunkSchema, { index: 1 }));
    const open = changed(chunk => delete chunk.end);
    expect(decodeSnapshot([])).toEqual(damaged('the end is missing'));
    expect(decodeSnapshot([open])).toEqual(damaged('the end is missing'));
    expect(decodeSnapshot([open, next])).toEqual(damaged('the end is missing'));
    expect(decodeSnapshot([next])).toEqual(damaged('a chunk is not the one that comes next'));
    expect(decodeSnapshot([open, open])).toEqual(damaged('a chunk is not the one that comes next'));
    expect(decodeSnapshot([whole, next])).toEqual(damaged('a chunk is not the one that comes next'));
    expect(decodeSnapshot([changed(chunk => delete chunk.header)])).toEqual(
      damaged('the header is not in the first chunk'),
    );
    expect(decodeSnapshot([changed(chunk => void chunk.entries.pop())])).toEqual(damaged('entries are missing'));
    expect(decodeSnapshot([Uint8Array.of(0xff)])).toEqual(damaged('a chunk is no message'));
  });

  test('entries that contradict each other', () => {
    const twice = (at: number) => changed(chunk => void chunk.entries.push(chunk.entries.at(at)!));
    expect(decodeSnapshot([twice(0)])).toEqual(damaged('a broker is listed twice'));
    expect(decodeSnapshot([twice(-2)])).toEqual(damaged('a topic is listed twice'));
    expect(decodeSnapshot([twice(-1)])).toEqual(damaged('a deleted topic is listed twice'));
    expect(decodeSnapshot([changed(chunk => void chunk.entries.shift())])).toEqual(
      damaged('a replica is at a node that is not listed'),
    );
  });

  test('and what a newer release wrote is told as such', () => {
    const level = changed(chunk => (chunk.header!.formatLevel = 1));
    expect(decodeSnapshot([level])).toMatchObject({ ok: false, kind: 'newer' });
    // Index 0, a header of nothing, and an entry with field 100.
    const kind = Uint8Array.of(0x12, 0, 0x1a, 4, 0xa2, 0x06, 1, 0);
    expect(decodeSnapshot([kind])).toMatchObject({ ok: false, kind: 'newer' });
  });
});
