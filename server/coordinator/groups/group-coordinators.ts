// The coordinators of this node, one for each partition of the offsets' topic whose replica is here, with one clock for all; and what other
// nodes ask of them.
//
// Who asks for a partition that is not led here is told NOT_LEADER with nothing done, and asks another node (group-client.ts).

import { problem, refused } from '@sluice/protocol/errors';
import type { TopicId } from '@sluice/protocol/ids';
import { GROUP_TICK_MS } from '../../base/limits.ts';
import type { Logger } from '../../base/logger.ts';
import type { Clock, Timer } from '../../io/clock.ts';
import type { PeerRequests } from '../../replication/peer-request.ts';
import type { ClusterImage } from '../../state/cluster/image.ts';
import type { CommittedOffset } from '../../state/groups/record.ts';
import type { ImageListener } from '../metadata-image.ts';
import { pause } from '../pause.ts';
import type { GroupCommand } from './group-command.ts';
import { GroupCoordinator, type GroupCounts, type GroupResult, type HostedState } from './group-coordinator.ts';
import { decodeGroupCommand, encodeGroupAnswer } from './group-message.ts';
import { OFFSETS_TOPIC } from './offsets-topic.ts';
import { GROUP_PEER_KIND } from './peer-kinds.ts';

export interface GroupCoordinatorsOptions {
  readonly metadata: { image(): ClusterImage; watch(listener: ImageListener): () => void };
  readonly requests: PeerRequests;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly offsetsRetentionMs: number;
}

export interface GroupReport extends Readonly<GroupCounts> {
  readonly groups: number;
  readonly members: number;
  readonly offsets: number;
}

export interface GroupPositions {
  readonly groupId: string;
  readonly topicId: TopicId;
  readonly positions: ReadonlyMap<number, CommittedOffset>;
}

export class GroupCoordinators {
  readonly #options: GroupCoordinatorsOptions;
  readonly #coordinators = new Map<number, GroupCoordinator>();
  readonly #counts: GroupCounts = { rebalances: 0, commits: 0, fencedMembers: 0 };
  #timer: Timer | null = null;
  #unwatch: () => void = () => {};
  #isClosed = false;

  constructor(options: GroupCoordinatorsOptions) {
    this.#options = options;
    options.requests.register(GROUP_PEER_KIND.groupCommand, async (_from, body, signal) => {
      const asked = decodeGroupCommand(body);
      if (asked !== null) return encodeGroupAnswer(await this.execute(asked.partition, asked.command, signal));
      return encodeGroupAnswer(
        refused('INTERNAL', 'another broker asked for something that this release does not know'),
      );
    });
  }

  /** Null: the partitions of this topic are what clients make of them. */
  host(topic: string, partition: number): HostedState | null {
    if (topic !== OFFSETS_TOPIC || this.#isClosed) return null;
    const { metadata, clock, logger, offsetsRetentionMs } = this.#options;
    const coordinator = new GroupCoordinator({
      partition,
      clock,
      logger,
      offsetsRetentionMs,
      counts: this.#counts,
      image: () => metadata.image(),
      imageReached: (version, waitMs) => this.#imageReached(version, waitMs),
    });
    this.#coordinators.set(partition, coordinator);
    if (this.#timer === null) this.#start();
    return {
      listener: coordinator.listener,
      attach: (group, records) => coordinator.attach(group, records),
      close: () => {
        coordinator.close();
        if (this.#coordinators.get(partition) === coordinator) this.#coordinators.delete(partition);
      },
    };
  }

  #start(): void {
    this.#unwatch();
    this.#unwatch = this.#options.metadata.watch(() => {
      for (const coordinator of this.#coordinators.values()) coordinator.imageChanged();
    });
    this.#scheduleTick();
  }

  #scheduleTick(): void {
    const { clock } = this.#options;
    this.#timer = clock.schedule(GROUP_TICK_MS, () => {
      if (this.#isClosed) return;
      this.#scheduleTick();
      clock.defer(() => {
        for (const coordinator of this.#coordinators.values()) coordinator.tick();
      });
    });
  }

  #imageReached(version: number, waitMs: number): Promise<void> {
    const { metadata, clock } = this.#options;
    const { promise, resolve } = Promise.withResolvers<void>();
    const unwatch = metadata.watch(image => {
      if (image.version >= version) resolve();
    });
    if (metadata.image().version >= version) resolve();
    return Promise.race([promise, pause(clock, waitMs)]).finally(unwatch);
  }

  /** Here or not at all. */
  execute(partition: number, command: GroupCommand, signal?: AbortSignal): Promise<GroupResult> {
    const coordinator = this.#coordinators.get(partition);
    if (coordinator !== undefined) return coordinator.execute(command, signal);
    const detail = `this node has no replica of partition ${partition} of ${OFFSETS_TOPIC}`;
    return Promise.resolve({ ok: false, problem: problem('NOT_LEADER', detail, { partition }) });
  }

  /** Committed positions of the groups that are led here, by group and topic. */
  *positions(): Generator<GroupPositions, void> {
    for (const coordinator of this.#coordinators.values()) {
      for (const { groupId, offsets } of coordinator.groups?.groups.values() ?? []) {
        for (const [topicId, positions] of offsets) yield { groupId, topicId, positions };
      }
    }
  }

  /** Of what is led here. */
  report(): GroupReport {
    let [groups, members, offsets] = [0, 0, 0];
    for (const coordinator of this.#coordinators.values()) {
      const state = coordinator.groups;
      if (state === null) continue;
      groups += state.groups.size;
      offsets += state.offsetCount;
      for (const group of state.groups.values()) members += group.members.size;
    }
    return { ...this.#counts, groups, members, offsets };
  }

  /** Nobody waits for news any more. */
  drain(): void {
    for (const coordinator of this.#coordinators.values()) coordinator.drain();
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
    this.#unwatch();
    for (const coordinator of Array.from(this.#coordinators.values())) coordinator.close();
    this.#coordinators.clear();
  }
}
