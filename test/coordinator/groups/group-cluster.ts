// Whole brokers in one simulated world, on which a test plays what clients of groups do.

import type { ErrorCode, Problem, Result } from '@sluice/protocol/errors';
import { offset } from '@sluice/protocol/ids';
import type { Groups, JoinGroupRequest, Membership, TopicPartitions } from '../../../server/broker/groups.ts';
import { OFFSETS_TOPIC, partitionOfGroup } from '../../../server/coordinator/groups/offsets-topic.ts';
import { BrokerCluster, type BrokerClusterReport } from '../../simulation/broker-cluster.ts';
import type { BrokerNode } from '../../simulation/broker-node.ts';
import { makeBatch } from '../../storage/batches.ts';

const LIMIT_MS = 120_000;

export class GroupCluster extends BrokerCluster {
  readonly #body: (cluster: GroupCluster) => Promise<void>;

  constructor(seed: string, nodes: number, body: (cluster: GroupCluster) => Promise<void>) {
    super(seed, { nodes, drift: 0, troubles: [] });
    this.#body = body;
  }

  /** Plays it to its end; throws what it throws. */
  static async play(seed: string, nodes: number, body: (cluster: GroupCluster) => Promise<void>): Promise<void> {
    await new GroupCluster(seed, nodes, body).run();
  }

  protected override async play(): Promise<BrokerClusterReport> {
    for (const node of this.nodes) node.start();
    await this.within(LIMIT_MS, 'the cluster is not ready', () => this.isReady);
    let fault: unknown = null;
    let isDone = false;
    void this.#body(this).then(
      () => {
        isDone = true;
      },
      (thrown: unknown) => {
        fault = thrown;
        isDone = true;
      },
    );
    await this.within(LIMIT_MS * 10, 'the scenario does not end', () => isDone);
    if (fault !== null) throw fault;
    for (const node of this.nodes) if (node.isUp) await this.drive(LIMIT_MS, node.stop());
    this.throwFailure();
    const none = { events: 0, answers: 0, sent: 0, acknowledged: 0, topics: 0, lives: 0, behind: 0, convergedMs: 0 };
    return { ...none, trace: '' };
  }

  get isReady(): boolean {
    return this.nodes.every(node => node.isUp && node.running.broker.notReady().length === 0);
  }

  node(id: number): BrokerNode {
    return this.nodes[id - 1]!;
  }

  groups(id: number): Groups {
    return this.node(id).running.broker.groups;
  }

  sleep(ms: number): Promise<void> {
    return new Promise(resolve => {
      this.scheduler.after(ms, resolve);
    });
  }

  async when(condition: () => boolean): Promise<void> {
    while (!condition()) await this.sleep(20);
  }

  async topic(name: string, partitionCount: number): Promise<void> {
    const replicationFactor = this.nodes.length;
    value(await this.node(1).running.broker.createTopic({ name, partitionCount, replicationFactor }));
    await this.when(() => this.nodes.every(node => !node.isUp || node.running.broker.findTopic(name) !== null));
  }

  async write(topic: string, partition: number, records: number): Promise<void> {
    const batches = makeBatch({ count: records, timestamp: 1_767_225_600_000 });
    const request = { topic, partition, batches, acks: 'all', timeoutMs: 30_000 } as const;
    value(await this.node(1).running.broker.produce(request));
  }

  /** Of the group, as the given node has heard; -1: nobody. */
  coordinatorOf(group: string, seenBy: number): number {
    const { broker } = this.node(seenBy).running;
    const leaders = broker.leaders(OFFSETS_TOPIC);
    return leaders?.[partitionOfGroup(group, leaders.length)]?.leader ?? -1;
  }
}

export const value = <T>(result: Result<T>): T => {
  if (!result.ok) throw new Error(`${result.problem.code}: ${result.problem.detail}`);
  return result.value;
};

export const codeOf = (result: Result<unknown>): ErrorCode | 'ok' => (result.ok ? 'ok' : result.problem.code);

export const problemOf = (result: Result<unknown>): Problem | null => (result.ok ? null : result.problem);

export const partitionsIn = (sets: readonly TopicPartitions[]): readonly number[] =>
  sets.flatMap(({ partitions }) => partitions);

export const position = (partition: number, at: number, topic = 't') => ({ topic, partition, offset: offset(at) });

/** A member as it talks to one node after the other. */
export class TestMember {
  readonly #cluster: GroupCluster;
  readonly group: string;
  state: Membership;

  private constructor(cluster: GroupCluster, group: string, state: Membership) {
    this.#cluster = cluster;
    this.group = group;
    this.state = state;
  }

  static async join(
    cluster: GroupCluster,
    through: number,
    request: Partial<JoinGroupRequest> = {},
  ): Promise<TestMember> {
    const asked = { group: 'g', topics: ['t'], ...request };
    return new TestMember(cluster, asked.group, value(await cluster.groups(through).join(asked)));
  }

  get owned(): readonly number[] {
    return partitionsIn(this.state.assignment);
  }

  async heartbeat(through: number, waitMs = 0): Promise<ErrorCode | 'ok'> {
    const { memberId, memberEpoch } = this.state;
    const request = { group: this.group, memberId, memberEpoch, owned: null, waitMs };
    const result = await this.#cluster.groups(through).heartbeat(request);
    if (result.ok) this.state = result.value;
    return codeOf(result);
  }

  async commit(through: number, ...offsets: ReturnType<typeof position>[]): Promise<ErrorCode | 'ok'> {
    const { memberId, memberEpoch } = this.state;
    const member = { memberId, memberEpoch };
    return codeOf(await this.#cluster.groups(through).commit({ group: this.group, member, offsets }));
  }
}
