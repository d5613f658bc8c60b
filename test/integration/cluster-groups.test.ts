// Consumer groups on three brokers in processes of their own: members go on at whatever node is left when their coordinator is killed, and
// when nodes are stopped one after the other.

import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import {
  GroupService,
  MemberRequestSchema,
  type MemberResponse,
  MetadataService,
  type TopicPartitions,
} from '@sluice/protocol/services';
import { murmur2 } from '@sluice/protocol/record';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { RawClient } from '../gateway/grpc/raw-client.ts';
import { type ClusterNode, TestCluster } from './cluster-processes.ts';
import { call, expectStatus, post } from './http-call.ts';

const OFFSETS_TOPIC = '__consumer_offsets';
const GROUP = 'billing';
const LIMIT_MS = 120_000;

const folder = mkdtempSync(join(tmpdir(), 'sluice-groups-'));
let cluster: TestCluster;

beforeAll(async () => {
  cluster = await TestCluster.start({ folder });
}, LIMIT_MS);

afterAll(async () => {
  await cluster.close();
  await rm(folder, { recursive: true, force: true });
});

const numbers = (sets: readonly TopicPartitions[]): readonly number[] => sets.flatMap(({ partitions }) => partitions);

/** Who leads the partition in which the group lives, as a node sees it. */
const coordinatorOf = async (node: ClusterNode): Promise<number> => {
  const client = new RawClient(node.grpc);
  try {
    const metadata = await client.unary(MetadataService.method.getMetadata, { topics: [OFFSETS_TOPIC] });
    const partitions = metadata.topics[0]!.partitions;
    return partitions[(murmur2(Buffer.from(GROUP)) & 0x7fffffff) % partitions.length]!.leader;
  } finally {
    client.close();
  }
};

/** A member that takes up its stream at another node when the one that it was at is gone. */
class Member {
  memberId = '';
  memberEpoch = 0;
  owned: readonly number[] = [];
  #client: RawClient;
  #stream: ReturnType<Member['open']>;

  constructor(node: ClusterNode) {
    this.#client = new RawClient(node.grpc);
    this.#stream = this.open();
  }

  open() {
    return this.#client.bidi(GroupService.method.member);
  }

  async join(): Promise<void> {
    const join = { group: GROUP, topics: ['orders'], sessionTimeoutMs: 30_000 };
    this.#stream.write(create(MemberRequestSchema, { request: { case: 'join', value: join } }));
    await this.take('joined');
  }

  async resumeAt(node: ClusterNode): Promise<void> {
    this.close();
    this.#client = new RawClient(node.grpc);
    this.#stream = this.open();
    const owned = [{ topic: 'orders', partitions: [...this.owned] }];
    const resume = { group: GROUP, memberId: this.memberId, memberEpoch: this.memberEpoch, owned };
    this.#stream.write(create(MemberRequestSchema, { request: { case: 'resume', value: resume } }));
    await this.take('joined');
  }

  beat(): void {
    const value = { memberEpoch: this.memberEpoch, owned: [{ topic: 'orders', partitions: [...this.owned] }] };
    this.#stream.write(create(MemberRequestSchema, { request: { case: 'heartbeat', value } }));
  }

  async commit(partition: number, offset: bigint): Promise<void> {
    const value = { id: 1n, offsets: [{ topic: 'orders', partition, offset }] };
    this.#stream.write(create(MemberRequestSchema, { request: { case: 'commit', value } }));
    await this.take('committed');
  }

  /** The next response, which is of that kind; gives back what it is asked for at once. */
  async take(wanted: MemberResponse['response']['case']): Promise<void> {
    const message = await this.#stream.next();
    const told = message?.response;
    if (told?.case !== wanted) throw new Error(`${told?.case} came in place of ${wanted}`);
    if (told?.case === 'joined' || told?.case === 'assigned') {
      if (told.case === 'joined') this.memberId = told.value.memberId;
      this.memberEpoch = told.value.memberEpoch;
      this.owned = numbers(told.value.assignment);
    } else if (told?.case === 'revoking') {
      this.memberEpoch = told.value.memberEpoch;
      const gone = new Set(numbers(told.value.partitions));
      this.owned = this.owned.filter(partition => !gone.has(partition));
      this.beat();
    }
  }

  close(): void {
    this.#stream.call.cancel();
    this.#client.close();
  }
}

test(
  'a member goes on where it was when its coordinator is killed, and a position that was committed stays',
  async () => {
    const topic = { name: 'orders', partition_count: 4, replication_factor: 3 };
    expectStatus(await post(`http://${cluster.node(1).http}`, '/v1/topics', topic), 201);
    const a = new Member(cluster.node(1));
    await a.join();
    expect(a.owned).toEqual([0, 1, 2, 3]);
    const b = new Member(cluster.node(2));
    await b.join();
    await a.take('revoking');
    await a.take('assigned');
    await b.take('assigned');
    expect([a.owned, b.owned]).toEqual([
      [0, 1],
      [2, 3],
    ]);
    await b.commit(3, 7n);

    const first = await coordinatorOf(cluster.node(1));
    await cluster.node(first).kill();
    const [one, other] = cluster.nodes.filter(({ id }) => id !== first) as [ClusterNode, ClusterNode];
    await a.resumeAt(one);
    await b.resumeAt(other);
    expect([a.owned, b.owned]).toEqual([
      [0, 1],
      [2, 3],
    ]);
    await b.commit(3, 8n);
    const offsets = await call(`http://${one.http}`, `/v1/groups/${GROUP}/offsets`);
    expect(offsets.json).toMatchObject({ offsets: [{ topic: 'orders', partition: 3, offset: 8 }] });

    await cluster.node(first).start();
    await cluster.node(first).ready();
    // Everywhere, one after the other: what a clean stop hands over is there at once.
    for (const node of cluster.nodes) {
      await node.terminate();
      const next = cluster.nodes.find(({ isUp }) => isUp)!;
      await a.resumeAt(next);
      await b.resumeAt(next);
      expect([a.owned, b.owned]).toEqual([
        [0, 1],
        [2, 3],
      ]);
      await node.start();
      await node.ready();
    }
    const view = await call(`http://${cluster.node(first).http}`, `/v1/groups/${GROUP}`);
    expect(view.json).toMatchObject({ state: 'stable', member_count: 2, partitions: [{}, {}, {}, { offset: 8 }] });
    a.close();
    b.close();
    expect(cluster.nodes.flatMap(node => node.faults)).toEqual([]);
  },
  LIMIT_MS,
);
