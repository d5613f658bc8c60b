// The coordinator of the groups of one partition of the offsets' topic, at work where this node leads it: runs commands on the state, puts out
// members that are overdue, follows topics, forgets old positions, and lets heartbeats wait for news.
//
// Time is counted in ticks, judged after the input that is already there (group-coordinators.ts): after a stall of this node a late tick is
// one tick, and nobody is put out for having been unheard meanwhile.

import type { ErrorCode, Result } from '@sluice/protocol/errors';
import type { LeaderEpoch } from '@sluice/protocol/ids';
import { GROUP_TICK_MS, METADATA_IMAGE_MS, OFFSETS_EXPIRY_TICKS, OFFSETS_UNKNOWN_TOPIC_MS } from '../../base/limits.ts';
import type { Logger } from '../../base/logger.ts';
import type { Clock } from '../../io/clock.ts';
import type { GroupListener } from '../../replication/replicated-log.ts';
import type { ClusterImage } from '../../state/cluster/image.ts';
import { GroupsState } from '../../state/groups/groups-state.ts';
import { followTopics, judgeMembers, overdueMembers } from '../../state/groups/liveness.ts';
import type { MemberAnswer, Speaker } from '../../state/groups/membership.ts';
import { expireOffsets } from '../../state/groups/offsets.ts';
import { hasNews } from '../../state/groups/reconciliation.ts';
import { encodeGroupRecord } from '../../state/groups/record-codec.ts';
import type { GroupRecord } from '../../state/groups/record.ts';
import type { RecordLog } from '../record-log.ts';
import { ReplicatedState, type StateGroup } from '../replicated-state.ts';
import {
  type GroupCommand,
  type GroupResponse,
  judgeGroupCommand,
  metadataVersionOf,
  speakerOf,
} from './group-command.ts';
import { MemberClock } from './member-clock.ts';
import { readGroupRecord } from './offsets-topic.ts';

export interface GroupCoordinatorOptions {
  readonly partition: number;
  readonly image: () => ClusterImage;
  /** Resolves when this node's metadata is of that version, or after so long. */
  readonly imageReached: (version: number, waitMs: number) => Promise<void>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Of positions of groups that have no members any more. */
  readonly offsetsRetentionMs: number;
  readonly counts: GroupCounts;
}

/** Since the start of this node, of all partitions that it led. */
export interface GroupCounts {
  rebalances: number;
  commits: number;
  fencedMembers: number;
}

export type GroupResult = Result<GroupResponse>;

/** A state that lives in a partition: what that one tells it, and what it is given. */
export interface HostedState {
  readonly listener: GroupListener;
  attach(group: StateGroup, records: RecordLog): void;
  close(): void;
}

interface Waiter extends Speaker {
  readonly wake: () => void;
}

export class GroupCoordinator implements HostedState {
  readonly listener: GroupListener;
  readonly #options: GroupCoordinatorOptions;
  readonly #state: ReplicatedState<GroupsState, GroupRecord>;
  readonly #times = new MemberClock();
  readonly #waiters = new Set<Waiter>();
  /** Changed since waiters were looked at. */
  readonly #touched = new Set<string>();
  #records: RecordLog | null = null;
  #ticks = 0;
  #epoch: LeaderEpoch | null = null;
  /** The topics that the targets were made of; another one means that they are to be looked at again. */
  #topics: ClusterImage['topics'] | null = null;
  #isFollowing = false;
  #isExpiring = false;
  #isDraining = false;

  constructor(options: GroupCoordinatorOptions) {
    const { clock, logger, partition } = options;
    this.#options = options;
    this.#state = new ReplicatedState<GroupsState, GroupRecord>({
      clock,
      logger,
      machine: {
        name: `partition ${partition} of the groups`,
        restore: () => {
          const start = this.#records?.startOffset;
          if (start === undefined) throw new TypeError('a state is loaded once it has a log');
          return Promise.resolve({ state: new GroupsState(), next: start });
        },
        replay: (state, record) => {
          state.replay(record);
          this.#replayed(record);
          return state;
        },
        encode: encodeGroupRecord,
        decode: readGroupRecord,
      },
      ready: () => this.#ready(),
      unreadable: detail => logger.error({ partition }, `groups cannot be coordinated here: ${detail}`),
    });
    const { listener } = this.#state;
    this.listener = {
      ...listener,
      roleChanged: change => {
        listener.roleChanged(change);
        this.#wakeAll();
      },
      leadershipLost: epoch => {
        listener.leadershipLost(epoch);
        this.#wakeAll();
      },
    };
  }

  attach(group: StateGroup, records: RecordLog): void {
    this.#records = records;
    this.#state.attach(group, records);
  }

  close(): void {
    this.#state.close();
    this.#wakeAll();
  }

  /** Heartbeats that wait are answered, and others do not wait any more. */
  drain(): void {
    this.#isDraining = true;
    this.#wakeAll();
  }

  /** Null: it is not led here, or being loaded. */
  get groups(): GroupsState | null {
    return this.#state.state;
  }

  // ---- Commands

  async execute(command: GroupCommand, signal?: AbortSignal): Promise<GroupResult> {
    const version = metadataVersionOf(command);
    if (version > this.#options.image().version) await this.#options.imageReached(version, METADATA_IMAGE_MS);
    if (command.verb === 'heartbeat' && command.request.waitMs > 0) return this.#heartbeat(command, signal);
    if (command.verb === 'delete') return this.#delete(command);
    return this.#submit(command);
  }

  async #submit(command: GroupCommand): Promise<GroupResult> {
    const { image, clock, counts } = this.#options;
    this.#followTerm();
    const answered = this.#state.submit<GroupResponse, ErrorCode>(state => {
      const judged = judgeGroupCommand(state, command, { image: image(), nowMs: clock.wallMs() });
      const speaker = speakerOf(command);
      if (judged.ok && speaker !== null) this.#times.heard(speaker.groupId, speaker.memberId);
      return judged;
    });
    this.#wakeTouched();
    const { result } = await answered;
    if (result.ok && command.verb === 'commit') counts.commits++;
    return result;
  }

  #replayed({ groupId, kind, value }: GroupRecord): void {
    // While it is loaded nobody waits, and nothing happens that did not happen before.
    if (this.#state.state === null) return;
    this.#touched.add(groupId);
    if (kind === 'head' && value !== null && value.epoch > 0) this.#options.counts.rebalances++;
  }

  /** In pieces: one that is cut short is done by whoever asks again. */
  async #delete(command: GroupCommand): Promise<GroupResult> {
    for (;;) {
      const result = await this.#submit(command);
      if (!result.ok || (result.value as { readonly isDone: boolean }).isDone) return result;
    }
  }

  // ---- Heartbeats that wait

  /** Each answer is asked of the state once more: who was deposed while it waited must not say that anything still stands. */
  async #heartbeat(command: GroupCommand & { readonly verb: 'heartbeat' }, signal?: AbortSignal): Promise<GroupResult> {
    const { clock } = this.#options;
    const { request } = command;
    const untilMs = clock.monotonicMs() + request.waitMs;
    for (;;) {
      const result = await this.#submit(command);
      const isNews = !result.ok || (result.value as MemberAnswer).memberEpoch !== request.memberEpoch;
      const leftMs = untilMs - clock.monotonicMs();
      if (isNews || leftMs <= 0 || this.#isDraining || signal?.aborted === true) return result;
      await this.#news(request, leftMs, signal);
    }
  }

  async #news({ groupId, memberId }: Speaker, waitMs: number, signal?: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const waiter = { groupId, memberId, wake: resolve };
    const timer = this.#options.clock.schedule(waitMs, resolve);
    this.#waiters.add(waiter);
    const abort = (): void => resolve();
    signal?.addEventListener('abort', abort);
    // It may have come while the answer to the last look was waited for.
    if (this.#hasNews(waiter)) resolve();
    await promise;
    timer.cancel();
    signal?.removeEventListener('abort', abort);
    this.#waiters.delete(waiter);
  }

  #hasNews({ groupId, memberId }: Speaker): boolean {
    const state = this.#state.state;
    if (state === null) return true;
    const group = state.groups.get(groupId);
    const member = group?.members.get(memberId);
    return group === undefined || member === undefined || hasNews(group, member);
  }

  #wakeTouched(): void {
    if (this.#touched.size === 0) return;
    for (const waiter of this.#waiters) {
      if (this.#touched.has(waiter.groupId) && this.#hasNews(waiter)) waiter.wake();
    }
    this.#touched.clear();
  }

  #wakeAll(): void {
    for (const { wake } of this.#waiters) wake();
  }

  // ---- Time

  tick(): void {
    this.#ticks++;
    this.#times.nowMs += GROUP_TICK_MS;
    this.#followTerm();
    const state = this.#state.state;
    if (state === null) return;
    // Whoever waits is there.
    for (const { groupId, memberId } of this.#waiters) this.#times.heard(groupId, memberId);
    this.#times.look(state);
    if (overdueMembers(state, this.#times).length > 0) this.#judgeMembers();
    if (this.#ticks % OFFSETS_EXPIRY_TICKS === 0) void this.#expire();
    this.imageChanged();
  }

  /** What was heard belongs to one leadership. */
  #followTerm(): void {
    const { epoch } = this.#state;
    if (epoch === this.#epoch) return;
    this.#epoch = epoch;
    this.#times.restart();
    this.#topics = null;
  }

  #ready(): void {
    this.#followTerm();
    this.imageChanged();
  }

  #context() {
    const { image, clock } = this.#options;
    return { image: image(), nowMs: clock.wallMs() };
  }

  #judgeMembers(): void {
    const { logger, counts } = this.#options;
    const judged = this.#state.submit(state => {
      const value = judgeMembers(state, this.#times, this.#context());
      return { ok: true, value } as const;
    });
    this.#wakeTouched();
    void judged.then(({ result }) => {
      for (const { groupId, memberId, why } of result.ok ? result.value.fenced : []) {
        counts.fencedMembers++;
        const detail =
          why === 'session' ? 'was silent for too long' : 'did not give back what it was asked for in time';
        logger.info({ group: groupId, member: memberId }, `a member is out: it ${detail}`);
      }
    });
  }

  /** Targets follow the topics that there are. */
  imageChanged(): void {
    const { topics } = this.#options.image();
    if (this.#isFollowing || topics === this.#topics || this.#state.state === null) return;
    this.#isFollowing = true;
    void this.#followTopics(topics).then(() => {
      this.#isFollowing = false;
    });
  }

  async #followTopics(topics: ClusterImage['topics']): Promise<void> {
    for (let isDone = false; !isDone; ) {
      const followed = this.#state.submit(state => {
        const value = followTopics(state, this.#context());
        return { ok: true, value } as const;
      });
      this.#wakeTouched();
      const { result } = await followed;
      // The next tick tries again.
      if (!result.ok) return;
      isDone = result.value.isDone;
    }
    this.#topics = topics;
  }

  async #expire(): Promise<void> {
    if (this.#isExpiring) return;
    this.#isExpiring = true;
    for (let isDone = false; !isDone; ) {
      const { result } = await this.#state.submit(state =>
        expireOffsets(state, {
          nowMs: this.#options.clock.wallMs(),
          retentionMs: this.#options.offsetsRetentionMs,
          unknownTopicMs: OFFSETS_UNKNOWN_TOPIC_MS,
          image: this.#options.image(),
        }),
      );
      isDone = !result.ok || result.value.isDone;
    }
    this.#isExpiring = false;
  }
}
