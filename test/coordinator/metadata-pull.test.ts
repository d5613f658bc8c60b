// A node that follows, and a voter that it asks, with nothing between them but calls.

import { type NodeId, nodeId, type Offset, offset } from '@sluice/protocol/ids';
import { encodeBatch, stampBatch } from '@sluice/protocol/record';
import { describe, expect, test } from 'vitest';
import { METADATA_POLL_MS, METADATA_SNAPSHOT_RECORDS } from '../../server/base/limits.ts';
import type { Logger } from '../../server/base/logger.ts';
import { MetadataImage } from '../../server/coordinator/metadata-image.ts';
import { MetadataPull } from '../../server/coordinator/metadata-pull.ts';
import { MetadataServing } from '../../server/coordinator/metadata-serving.ts';
import { PEER_KIND } from '../../server/coordinator/peer-kinds.ts';
import { encodePullAnswer, type LeaderHint } from '../../server/coordinator/pull-message.ts';
import type { RecordLog, RecordRead } from '../../server/coordinator/record-log.ts';
import type { PeerIdentity, PeerLinks } from '../../server/io/peer-link.ts';
import { PeerRequests } from '../../server/replication/peer-request.ts';
import type { ClusterRecord } from '../../server/state/cluster/record.ts';
import { encodeClusterRecord } from '../../server/state/cluster/record-codec.ts';
import { encodeSnapshot } from '../../server/state/cluster/snapshot.ts';
import { SimulatedClock } from '../simulation/clock.ts';
import { SeededRandom } from '../simulation/random.ts';
import { Scheduler } from '../simulation/scheduler.ts';
import { plain, registrationOf, replicaOf, topicIdOf } from '../state/cluster/cluster-world.ts';

const silent: Logger = { debug() {}, info() {}, warn() {}, error() {}, fatal() {} };
const from: PeerIdentity = { nodeId: nodeId(9), directory: 'd', incarnation: 1, clusterId: 'c' };

/** The log of a voter, one record a batch. */
class MemoryLog implements RecordLog {
  startOffset = offset(0);
  readonly batches: Uint8Array[] = [];

  get durableOffset(): Offset {
    return offset(this.batches.length);
  }

  append(record: ClusterRecord): void {
    const batch = encodeBatch([{ key: null, value: encodeClusterRecord(record), timestamp: 1 }]);
    stampBatch(batch, { baseOffset: this.batches.length, leaderEpoch: 1 });
    this.batches.push(batch);
  }

  read(at: Offset, { endMax }: { readonly endMax: Offset }): Promise<RecordRead> {
    if (at < this.startOffset) return Promise.resolve({ kind: 'below-start' });
    return Promise.resolve({ kind: 'batches', batches: this.batches.slice(at, Math.min(endMax, at + 100)) });
  }
}

const records = (topics: number, value: string): readonly ClusterRecord[] => [
  { kind: 'founded', clusterId: 'c', voters: [replicaOf(1)] },
  { kind: 'broker-registered', registration: registrationOf(1) },
  ...Array.from(
    { length: topics },
    (_, index): ClusterRecord => ({
      kind: 'topic-created',
      topicId: topicIdOf(index),
      name: `topic-${index}`,
      internal: false,
      replicationFactor: 1,
      config: { 'retention.ms': value },
      partitions: [{ replicas: [replicaOf(1)] }],
    }),
  ),
];

interface Voter {
  readonly image: MetadataImage;
  readonly log: MemoryLog;
  readonly requests: PeerRequests;
  readonly commit: (...added: readonly ClusterRecord[]) => void;
  calls: number;
}

const world = (...voterIds: readonly number[]) => {
  const scheduler = new Scheduler(new SeededRandom('pull'));
  const clock = new SimulatedClock(scheduler);
  const hint: LeaderHint = { leader: nodeId(1), term: 4 };
  const voters = new Map(
    voterIds.map((id): [NodeId, Voter] => {
      const image = new MetadataImage(clock);
      const log = new MemoryLog();
      const serving = new MetadataServing(image, () => hint);
      serving.serveFrom(log);
      const requests = new PeerRequests();
      requests.register(PEER_KIND.metadataPull, (_, body) => serving.answer(body));
      const commit = (...added: readonly ClusterRecord[]): void => {
        for (const record of added) log.append(record);
        image.replay(added, offset(image.next + added.length));
      };
      const calls = 0;
      return [nodeId(id), { image, log, requests, commit, calls }];
    }),
  );
  /** What happens to a call: nothing, for as long as the test does not say otherwise. */
  const meddle: { with: ((to: NodeId, answer: Uint8Array) => Uint8Array | null) | null } = { with: null };
  const links: Pick<PeerLinks, 'call'> = {
    call: async (to, request, options) => {
      const voter = voters.get(to);
      if (voter === undefined) return { kind: 'not-sent', reason: 'no-session' };
      voter.calls++;
      const bytes = await voter.requests.handle(from, request, options.signal ?? new AbortController().signal);
      const changed = meddle.with === null ? bytes : meddle.with(to, bytes);
      return changed === null ? { kind: 'unknown', reason: 'session-ended' } : { kind: 'answer', bytes: changed };
    },
  };
  const image = new MetadataImage(clock);
  const heard: LeaderHint[] = [];
  const unreadable: string[] = [];
  const sources: NodeId[] = [...voters.keys()];
  const pull = new MetadataPull({
    image,
    links,
    clock,
    logger: silent,
    sources: () => sources,
    heard: each => heard.push(each),
    unreadable: detail => unreadable.push(detail),
  });
  const follow = (until: number): Promise<void> => scheduler.drive(pull.run(() => image.next >= until));
  const voter = (id: number) => voters.get(nodeId(id))!;
  return { scheduler, voter, image, pull, follow, heard, unreadable, meddle, sources };
};

const bytesOf = (image: MetadataImage): string => JSON.stringify(plain(image.image));

describe('a node that follows', () => {
  test('takes records in pieces, and hears who leads', async () => {
    const w = world(1);
    w.voter(1).commit(...records(500, '1'));
    await w.follow(502);
    expect(bytesOf(w.image)).toBe(bytesOf(w.voter(1).image));
    expect(w.voter(1).calls).toBe(6);
    expect(w.heard.at(-1)).toEqual({ leader: 1, term: 4 });
  });

  test('is kept waiting until there is news, and not longer than a poll', async () => {
    const w = world(1);
    w.voter(1).commit(...records(1, '1'));
    await w.follow(3);
    const running = w.pull.run(() => w.image.next >= 4);
    await w.scheduler.advance(METADATA_POLL_MS * 2.5);
    const { calls } = w.voter(1);
    expect(calls).toBeLessThan(6);
    w.voter(1).commit({ kind: 'topic-deleted', topicId: topicIdOf(0) });
    await w.scheduler.drive(running);
    expect(w.voter(1).calls).toBeLessThanOrEqual(calls + 1);
    expect(w.image.image.topics.size).toBe(0);
  });

  test('that is far behind, or before the start of the log, is sent the image in pieces', async () => {
    for (const start of [0, 300]) {
      const w = world(1);
      w.voter(1).commit(...records(METADATA_SNAPSHOT_RECORDS + 10, '9'.repeat(600)));
      w.voter(1).log.startOffset = offset(start);
      expect([...encodeSnapshot(w.voter(1).image.image)].length).toBeGreaterThan(2);
      // What is committed meanwhile comes after it.
      w.meddle.with = (_, answer) => {
        w.meddle.with = null;
        w.voter(1).commit({ kind: 'topic-deleted', topicId: topicIdOf(0) });
        return answer;
      };
      await w.follow(METADATA_SNAPSHOT_RECORDS + 13);
      expect(bytesOf(w.image)).toBe(bytesOf(w.voter(1).image));
      expect(w.voter(1).calls).toBeLessThan(20);
    }
  });

  test('begins an image anew when the voter that sent it is gone', async () => {
    const w = world(1, 2);
    const all = records(METADATA_SNAPSHOT_RECORDS + 10, '9'.repeat(600));
    w.voter(1).commit(...all);
    w.voter(2).commit(...all, { kind: 'topic-deleted', topicId: topicIdOf(0) });
    let chunks = 0;
    // The first one answers one piece and no more.
    w.meddle.with = (to, answer) => (to === 1 && ++chunks > 1 ? null : answer);
    await w.follow(all.length + 1);
    expect(bytesOf(w.image)).toBe(bytesOf(w.voter(2).image));
  });

  test('asks another one where nobody answers, or what comes makes no sense', async () => {
    const w = world(1, 2);
    w.voter(1).commit(...records(3, '1'));
    w.voter(2).commit(...records(3, '1'));
    w.sources.unshift(nodeId(7));
    const gap = encodePullAnswer({
      kind: 'records',
      hint: { leader: null, term: 0 },
      batches: w.voter(1).log.batches.slice(2),
    });
    w.meddle.with = (to, answer) => (to === 1 ? Uint8Array.of(0, ...gap) : answer);
    await w.follow(5);
    expect(bytesOf(w.image)).toBe(bytesOf(w.voter(2).image));
  });

  test('stops at what a newer release wrote', async () => {
    const w = world(1);
    w.voter(1).commit(...records(1, '1'));
    const log = w.voter(1).log;
    // A level that this release does not know: field 1, value 99.
    const batch = encodeBatch([{ key: null, value: Uint8Array.of(0x08, 99), timestamp: 1 }]);
    stampBatch(batch, { baseOffset: 3, leaderEpoch: 1 });
    log.batches.push(batch);
    w.voter(1).image.replay([], offset(4));
    await w.scheduler.drive(w.pull.run(() => false));
    expect(w.unreadable).toHaveLength(1);
    expect(w.image.next).toBe(0);
  });
});
