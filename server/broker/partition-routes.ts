// Which node to ask about a partition, and waiting until there is one.
//
// Leadership moves while requests are under way: who is asked and does not lead has done nothing, so the question is put again to whoever
// leads by then. What is written waits in a line for each partition (waiting-line.ts), so that a producer's requests stay in their order.

import type { Problem, Result } from '@sluice/protocol/errors';
import type { NodeId, TopicId } from '@sluice/protocol/ids';
import { ROUTE_RETRY_MS } from '../base/limits.ts';
import type { Clock, Timer } from '../io/clock.ts';
import type { PeerLinks } from '../io/peer-link.ts';
import { groupKey, type GroupName } from '../replication/group-name.ts';
import type { Replication } from '../replication/replication.ts';
import type { LocalPartitions } from './local-partitions.ts';
import type { Replicas } from './replicas.ts';
import { notLeader, type PartitionService, stopping } from './partition-service.ts';
import { RemotePartitions } from './remote-partitions.ts';
import { type Place, WaitingLine } from './waiting-line.ts';

export interface PartitionRoutesOptions {
  readonly nodeId: NodeId;
  readonly clock: Clock;
  /** Null: there are no other nodes. */
  readonly links: PeerLinks | null;
  readonly replication: Pick<Replication, 'leaderOf' | 'onLeaderChange'>;
  readonly replicas: Pick<Replicas, 'find'>;
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
  /** By group; none is empty. */
  readonly #lines = new Map<string, WaitingLine>();
  #lastOrder = 0;
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

  /** Whoever wants to write there now has to stand behind others. */
  hasLine(name: GroupName): boolean {
    return this.#lines.size > 0 && this.#lines.has(groupKey(name));
  }

  /** As `ask`, and nobody overtakes who came before and waits. */
  async askInOrder<R extends Result<unknown>>(
    name: GroupName,
    untilMs: number,
    question: (service: PartitionService) => Promise<R>,
  ): Promise<R | ReturnType<typeof notLeader> | ReturnType<typeof stopping>> {
    const key = groupKey(name);
    const order = ++this.#lastOrder;
    let line = this.#lines.get(key);
    let place = line?.join(order) ?? null;
    try {
      for (;;) {
        const isTurn = line === undefined || place === null || (await this.#turn(line, place, untilMs));
        if (this.#isDraining) return stopping();
        if (!isTurn) return notLeader(name.partition);
        const service = this.find(name);
        if (service !== null) {
          const asked = question(service);
          if (place?.isReleased === true) {
            this.#leave(key, place);
            place = null;
          }
          const result = await asked;
          if (result.ok || !hasMoved(result)) {
            if (place !== null) line?.release();
            return result;
          }
        }
        if (this.#isDraining) return stopping();
        line = this.#lineAt(key);
        place ??= line.join(order);
        place.isReleased = false;
        if (!line.isBehind(place) && !(await this.wait(name, untilMs))) return notLeader(name.partition);
      }
    } finally {
      if (place !== null) this.#leave(key, place);
    }
  }

  #lineAt(key: string): WaitingLine {
    let line = this.#lines.get(key);
    if (line === undefined) {
      line = new WaitingLine();
      this.#lines.set(key, line);
    }
    return line;
  }

  #leave(key: string, place: Place): void {
    const line = this.#lines.get(key);
    line?.leave(place);
    if (line?.isEmpty === true) this.#lines.delete(key);
  }

  /** Until it is the first or released. False: the time is over before. */
  async #turn(line: WaitingLine, place: Place, untilMs: number): Promise<boolean> {
    const { clock } = this.#options;
    while (line.isBehind(place)) {
      const leftMs = untilMs - clock.monotonicMs();
      if (leftMs <= 0 || this.#isDraining) return false;
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = clock.schedule(leftMs, resolve);
      place.wake = resolve;
      await promise;
      place.wake = null;
      timer.cancel();
    }
    return true;
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
    for (const line of this.#lines.values()) line.wakeAll();
  }
}
