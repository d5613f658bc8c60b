// A node's way to the coordinator of a group: a call of its own where that is here, else one hop to whoever leads the group's partition of
// the offsets' topic, which is created by the first request that needs it.
//
//   answered NOT_LEADER, still loading, or stopping ──> asked again, of whoever leads then
//   certainly not sent ───────────────────────────────> the same
//   sent, and no answer ──────────────────────────────> the same: every command may be done twice (below)
//
// Doing a command twice is the same as doing it once: a join has its member's id, a heartbeat its epoch, a position is where it is. Of who
// left, or was deleted, by an attempt that nobody answered, the next attempt finds nothing, which then means that it is done.

import { problem, refused, type Result } from '@sluice/protocol/errors';
import type { NodeId } from '@sluice/protocol/ids';
import { unreachable } from '../../base/assert.ts';
import { GROUP_REQUEST_MS, METADATA_ATTEMPT_MS } from '../../base/limits.ts';
import type { Clock } from '../../io/clock.ts';
import type { PeerLinks } from '../../io/peer-link.ts';
import type { GroupName } from '../../replication/group-name.ts';
import { askPeer } from '../../replication/peer-request.ts';
import type { ClusterImage } from '../../state/cluster/image.ts';
import type { CreateInternalTopicRequest, TopicResponse } from '../../state/cluster/topic-change.ts';
import type { GroupListing, ListRequest } from '../../state/groups/group-description.ts';
import { groupIdFault } from '../../state/groups/subscription.ts';
import type { GroupCommand, GroupVerb, GroupVerbs } from './group-command.ts';
import type { GroupResult } from './group-coordinator.ts';
import type { GroupCoordinators } from './group-coordinators.ts';
import { decodeGroupAnswer, encodeGroupCommand } from './group-message.ts';
import { OFFSETS_TOPIC, offsetsTopicRequest, partitionOfGroup } from './offsets-topic.ts';
import { GROUP_PEER_KIND } from './peer-kinds.ts';

export interface GroupClientOptions {
  readonly self: NodeId;
  readonly coordinators: Pick<GroupCoordinators, 'execute'>;
  readonly metadata: {
    image(): ClusterImage;
    createInternalTopic(request: Omit<CreateInternalTopicRequest, 'topicId'>): Promise<Result<TopicResponse>>;
    isCurrent(): Promise<boolean>;
  };
  /** Null: there are no other nodes. */
  readonly links: Pick<PeerLinks, 'call'> | null;
  readonly clock: Clock;
  /** Who leads a partition, -1: nobody that is known. */
  readonly leaderOf: (name: GroupName) => number;
  /** Until that may have changed, but not for long. False: the time is over. */
  readonly wait: (name: GroupName, untilMs: number, signal?: AbortSignal) => Promise<boolean>;
}

export interface AskOptions {
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

type Answer<V extends GroupVerb> = Result<GroupVerbs[V]['response']>;

/** Nothing was done there, and somebody else leads, or will soon. */
const isWorthRetrying = (result: GroupResult): boolean =>
  !result.ok && ['NOT_LEADER', 'COORDINATOR_LOADING', 'SHUTTING_DOWN'].includes(result.problem.code);

/** Whether it was done is not known. */
const isUnknown = (result: GroupResult): boolean => !result.ok && result.problem.facts['outcome'] === 'unknown';

const unknownOutcome: GroupResult = {
  ok: false,
  problem: problem('REQUEST_TIMED_OUT', 'the coordinator of the group did not answer in time', { outcome: 'unknown' }),
};

const notReached = refused('COORDINATOR_LOADING', 'no coordinator of the group could be reached');

const stopping: GroupResult = { ok: false, problem: problem('SHUTTING_DOWN', 'the broker is stopping') };

/** What these find where no group ever was. */
const withoutTopic = (command: GroupCommand): GroupResult | null => {
  switch (command.verb) {
    case 'fetchOffsets':
    case 'list':
      return { ok: true, value: [] };
    case 'delete':
    case 'describe': {
      const { groupId } = command.request;
      return { ok: false, problem: problem('GROUP_NOT_FOUND', `there is no group "${groupId}"`, { group: groupId }) };
    }
    case 'heartbeat':
    case 'leave': {
      const { groupId, memberId } = command.request;
      const facts = { group: groupId, member_id: memberId };
      return { ok: false, problem: problem('UNKNOWN_MEMBER', `group "${groupId}" has no member "${memberId}"`, facts) };
    }
    case 'join':
    case 'commit':
    case 'reset':
      return null;
    default:
      return unreachable(command);
  }
};

/** An attempt before this one, which nobody answered, may have done it: what is refused now says nothing of that one. */
const afterUnknown = ({ verb }: GroupCommand, result: GroupResult): GroupResult => {
  if (result.ok) return result;
  const { code, detail, facts } = result.problem;
  if (verb === 'leave' && code === 'UNKNOWN_MEMBER') return { ok: true, value: null };
  if (verb === 'delete' && code === 'GROUP_NOT_FOUND') return { ok: true, value: { isDone: true } };
  return { ok: false, problem: problem(code, detail, { ...facts, outcome: 'unknown' }) };
};

export class GroupClient {
  readonly #options: GroupClientOptions;
  readonly #abort = new AbortController();
  #creating: Promise<Result<TopicResponse>> | null = null;

  constructor(options: GroupClientOptions) {
    this.#options = options;
  }

  /** Whoever waits is told that the broker stops. */
  close(): void {
    this.#abort.abort();
  }

  ask<V extends GroupVerb>(verb: V, request: GroupVerbs[V]['request'], options: AskOptions = {}): Promise<Answer<V>> {
    const command = { verb, request } as GroupCommand;
    const groupId = 'groupId' in command.request ? command.request.groupId : '';
    // A group that is not there has no positions, and this one cannot be. All other verbs find that out themselves.
    const fault = command.verb === 'fetchOffsets' ? groupIdFault(groupId) : null;
    if (fault !== null) return Promise.resolve(refused('INVALID_REQUEST', fault, { group: groupId }));
    return this.#insist(command, count => partitionOfGroup(groupId, count), options);
  }

  /** Of all partitions, in the order of names; one that has no answer refuses the whole. */
  async list(request: ListRequest, options: AskOptions = {}): Promise<Result<readonly GroupListing[]>> {
    const command: GroupCommand = { verb: 'list', request };
    const { metadata } = this.#options;
    if (!metadata.image().topics.has(OFFSETS_TOPIC) && !(await metadata.isCurrent())) return notReached;
    const count = metadata.image().topics.get(OFFSETS_TOPIC)?.partitions.length ?? 0;
    const answers = await Promise.all(
      Array.from({ length: count }, (_, partition) => this.#insist(command, () => partition, options)),
    );
    const groups: GroupListing[] = [];
    for (const answer of answers) {
      if (!answer.ok) return answer;
      groups.push(...(answer.value as readonly GroupListing[]));
    }
    groups.sort((a, b) => (a.groupId < b.groupId ? -1 : 1));
    return { ok: true, value: groups.slice(0, request.limit) };
  }

  async #insist(
    command: GroupCommand,
    partitionOf: (count: number) => number,
    { timeoutMs, signal }: AskOptions,
  ): Promise<GroupResult> {
    const { clock, metadata, wait } = this.#options;
    const waitMs = command.verb === 'heartbeat' ? command.request.waitMs : 0;
    const untilMs = clock.monotonicMs() + waitMs + (timeoutMs ?? GROUP_REQUEST_MS);
    let last: GroupResult = notReached;
    let mayBeDone = false;
    for (;;) {
      if (this.#abort.signal.aborted) return stopping;
      if (clock.monotonicMs() >= untilMs) return last;
      const topic = metadata.image().topics.get(OFFSETS_TOPIC);
      if (topic === undefined) {
        const result = await this.#beforeTopic(command);
        if (result !== null) return result;
        continue;
      }
      const partition = partitionOf(topic.partitions.length);
      const name = { topicId: topic.topicId, partition };
      const result = await this.#attempt(command, name, { untilMs, signal });
      if (result !== null && !isWorthRetrying(result) && !isUnknown(result)) {
        return mayBeDone ? afterUnknown(command, result) : result;
      }
      if (result !== null) {
        mayBeDone ||= isUnknown(result);
        last = mayBeDone ? unknownOutcome : result;
      }
      if (signal?.aborted === true || !(await wait(name, untilMs, signal))) {
        return this.#abort.signal.aborted ? stopping : last;
      }
    }
  }

  /** Null: nobody is known to lead, or nothing was sent. */
  async #attempt(
    command: GroupCommand,
    name: GroupName,
    { untilMs, signal }: { readonly untilMs: number; readonly signal: AbortSignal | undefined },
  ): Promise<GroupResult | null> {
    const { self, coordinators, links, leaderOf, clock } = this.#options;
    const leader = leaderOf(name);
    const leftMs = untilMs - clock.monotonicMs();
    if (leader < 0 || leftMs <= 0) return null;
    const asked = shortened(command, leftMs);
    if (leader === self) return coordinators.execute(name.partition, asked, signal);
    if (links === null) return null;
    const body = encodeGroupCommand({ partition: name.partition, command: asked });
    const request = { to: leader as NodeId, kind: GROUP_PEER_KIND.groupCommand, body };
    const waitMs = asked.verb === 'heartbeat' ? asked.request.waitMs : 0;
    const timeoutMs = Math.min(leftMs, waitMs + METADATA_ATTEMPT_MS);
    const answer = await askPeer(links, request, { timeoutMs, ...(signal === undefined ? {} : { signal }) });
    if (answer.kind === 'not-sent') return null;
    return answer.kind === 'answer' ? (decodeGroupAnswer(asked.verb, answer.body) ?? unknownOutcome) : unknownOutcome;
  }

  /** Null: the topic is there, or will be. */
  async #beforeTopic(command: GroupCommand): Promise<GroupResult | null> {
    const { metadata } = this.#options;
    const result = withoutTopic(command);
    if (result === null) return this.#create();
    // This node may be behind: a member would be told that it is out, or a reader that there is no position.
    if (!(await metadata.isCurrent())) return notReached;
    return metadata.image().topics.has(OFFSETS_TOPIC) ? null : result;
  }

  /** Null: it is there, or will be. */
  async #create(): Promise<GroupResult | null> {
    const { metadata } = this.#options;
    this.#creating ??= metadata.createInternalTopic(offsetsTopicRequest).finally(() => {
      this.#creating = null;
    });
    const created = await this.#creating;
    if (created.ok || created.problem.code === 'TOPIC_EXISTS') return null;
    return created;
  }
}

/** What is left of the time that a heartbeat may wait: an attempt before may have used it up. */
const shortened = (command: GroupCommand, leftMs: number): GroupCommand =>
  command.verb === 'heartbeat' && command.request.waitMs > leftMs
    ? { ...command, request: { ...command.request, waitMs: Math.max(0, Math.floor(leftMs)) } }
    : command;
