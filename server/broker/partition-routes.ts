// Which node to ask about a partition, and waiting until there is one.
//
// Leadership moves while requests are under way: who is asked and does not lead has done nothing, so the question is put again to whoever
// leads by then. Questions that wait for one partition go on in the order in which they came.

import { type Problem, type Result, refused } from '@sluice/protocol/errors';
import type { NodeId, TopicId } from '@sluice/protocol/ids';
import { ROUTE_RETRY_MS } from '../base/limits.ts';
import type { Clock, Timer } from '../io/clock.ts';
import type { PeerLinks } from '../io/peer-link.ts';
import { groupKey, type GroupName } from '../replication/group-name.ts';
import type { Replication } from '../replication/replication.ts';
import { type LocalPartitions, notLeader } from './local-partitions.ts';
import type { Partition } from './partition.ts';
import type { PartitionService } from './partition-service.ts';
import { RemotePartitions } from './remote-partitions.ts';

export interface PartitionRoutesOptions {
  readonly nodeId: NodeId;
  readonly clock: Clock;
  /** Null: there are no other nodes. */
  readonly links: PeerLinks | null;
  readonly replication: Pick<Replication, 'leaderOf' | 'onLeaderChange'>;
  readonly replicas: { find(topicId: TopicId, partition: number): Partition | undefined };
  readonly local: LocalPartitions;
}

/** Partitions of one topic, each with its place in the request, by the node that leads them. */
export interface Share {
  readonly service: PartitionService;
  readonly indices: readonly number[];
}

type Failed = { readonly ok: false; readonly problem: Problem };

/** Nothing was done there, and somebody else leads, or will soon. */
export const hasMoved = ({ problem: { code, facts } }: Failed): boolean =>
  (code === 'NOT_LEADER' || code === 'SHUTTING_DOWN') && facts['outcome'] === undefined;

export class PartitionRoutes {
  readonly #options: PartitionRoutesOptions;
  readonly #remote = new Map<NodeId, RemotePartitions>();
  /** By group: to be called once, in this order. */
  readonly #waiting = new Map<string, Set<() => void>>();
  #isDraining = false;

  constructor(options: PartitionRoutesOptions) {
    this.#options = options;
    options.replication.onLeaderChange(name => this.changed(name));
  }

  /** Where the partition is served now, as far as is known here; -1: nowhere. */
  leaderOf(name: GroupName): { readonly nodeId: number; readonly epoch: number } {
    const replica = this.#options.replicas.find(name.topicId, name.partition);
    if (replica?.mayRead === true) return { nodeId: this.#options.nodeId, epoch: replica.leaderEpoch };
    const known = this.#options.replication.leaderOf(name);
    const nodeId = known === null ? -1 : Number.parseInt(known.leader, 10);
    // This node does not serve, whatever it said once.
    return { nodeId: nodeId === this.#options.nodeId ? -1 : nodeId, epoch: known?.term ?? 0 };
  }

  /** Null: nobody is known to lead. */
  find(name: GroupName): PartitionService | null {
    const { nodeId } = this.leaderOf(name);
    if (nodeId === this.#options.nodeId) return this.#options.local;
    return nodeId < 0 ? null : this.#remoteAt(nodeId as NodeId);
  }

  #remoteAt(nodeId: NodeId): PartitionService | null {
    const { links } = this.#options;
    if (links === null) return null;
    let remote = this.#remote.get(nodeId);
    if (remote === undefined) {
      remote = new RemotePartitions(links, nodeId);
      this.#remote.set(nodeId, remote);
    }
    return remote;
  }

  /** By leader; a number: that partition has none. */
  shares(topicId: TopicId, partitions: readonly number[]): readonly Share[] | number {
    const shares = new Map<PartitionService, number[]>();
    for (const [index, partition] of partitions.entries()) {
      const service = this.find({ topicId, partition });
      if (service === null) return partition;
      const indices = shares.get(service);
      if (indices === undefined) shares.set(service, [index]);
      else indices.push(index);
    }
    return Array.from(shares, ([service, indices]) => ({ service, indices }));
  }

  /** Asks whoever leads, and again whoever leads then, until somebody does or `untilMs` (monotonic) has come. */
  async ask<R extends Result<unknown>>(
    name: GroupName,
    untilMs: number,
    question: (service: PartitionService) => Promise<R>,
  ): Promise<R | ReturnType<typeof notLeader> | ReturnType<typeof stopping>> {
    for (;;) {
      const service = this.find(name);
      if (service !== null) {
        const result = await question(service);
        if (result.ok || !hasMoved(result)) return result;
      }
      if (this.#isDraining) return stopping();
      if (!(await this.wait(name, untilMs))) return notLeader(name.partition);
    }
  }

  /** Until something about its leader may be new, but not for long. False: the time is over. */
  async wait(name: GroupName, untilMs: number, signal?: AbortSignal): Promise<boolean> {
    const { clock } = this.#options;
    const leftMs = untilMs - clock.monotonicMs();
    if (leftMs <= 0 || this.#isDraining || signal?.aborted === true) return false;
    const key = groupKey(name);
    let waiting = this.#waiting.get(key);
    if (waiting === undefined) {
      waiting = new Set();
      this.#waiting.set(key, waiting);
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer: Timer = clock.schedule(Math.min(leftMs, ROUTE_RETRY_MS), resolve);
    waiting.add(resolve);
    const abort = (): void => resolve();
    signal?.addEventListener('abort', abort);
    await promise;
    signal?.removeEventListener('abort', abort);
    timer.cancel();
    waiting.delete(resolve);
    if (waiting.size === 0) this.#waiting.delete(key);
    return true;
  }

  changed(name: GroupName): void {
    for (const wake of this.#waiting.get(groupKey(name)) ?? []) wake();
  }

  drain(): void {
    this.#isDraining = true;
    for (const waiting of this.#waiting.values()) for (const wake of waiting) wake();
  }
}

const stopping = (): { readonly ok: false; readonly problem: Problem<'SHUTTING_DOWN'> } =>
  refused('SHUTTING_DOWN', 'the broker is stopping');
