// Groups as a runtime would keep them: what a command decides is encoded, decoded and replayed; refusals change nothing, and
// neither do commands themselves. A second state follows by the decoded records alone, and all of them are kept as a log.

import { expect } from 'vitest';
import type { ErrorCode } from '@sluice/protocol/errors';
import { type Offset, offset, type TopicId } from '@sluice/protocol/ids';
import type { Decided, Decision } from '../../../server/state/decision.ts';
import type { ClusterImage, ClusterTopic } from '../../../server/state/cluster/image.ts';
import { SortedMap } from '../../../server/state/sorted-map.ts';
import { type Group, GroupsState } from '../../../server/state/groups/groups-state.ts';
import { heartbeat, join, leave, type MemberAnswer } from '../../../server/state/groups/membership.ts';
import { commitOffsets, type CommitRequest } from '../../../server/state/groups/offsets.ts';
import type { PartitionSet } from '../../../server/state/groups/partition-set.ts';
import type { GroupRecord } from '../../../server/state/groups/record.ts';
import { decodeGroupRecord, encodeGroupRecord, type EncodedRecord } from '../../../server/state/groups/record-codec.ts';
import type { JoinRequest } from '../../../server/state/groups/subscription.ts';
import { replicaOf, topicIdOf } from '../cluster/cluster-world.ts';

const plainGroup = (group: Group) => ({
  groupId: group.groupId,
  epoch: group.epoch,
  assignor: group.assignor,
  emptySinceMs: group.emptySinceMs,
  topics: group.topics,
  members: Array.from(group.members.values())
    .sort((a, b) => (a.memberId < b.memberId ? -1 : 1))
    .map(({ memberId, subscription, target, holding }) => ({ memberId, subscription, target, holding })),
  instances: new Map(group.instances),
  replaced: new Map(group.replaced),
  owners: group.owners,
  offsets: group.offsets,
});

/** Everything of a state as plain values, to be compared. Maps are compared without their order. */
export const plain = (state: GroupsState) => ({
  offsetCount: state.offsetCount,
  groups: new Map(Array.from(state.groups.values(), group => [group.groupId, plainGroup(group)] as const)),
});

/** The image of a cluster in which these topics are, under ids of their own. */
export class TopicsWorld {
  #version = 1;
  #topics = SortedMap.empty<string, ClusterTopic>();
  #topicNames = SortedMap.empty<TopicId, string>();
  #deletedTopics: ClusterImage['deletedTopics'] = SortedMap.empty();
  #ids = 0;

  get image(): Pick<ClusterImage, 'version' | 'topics' | 'topicNames' | 'deletedTopics'> {
    return {
      version: this.#version,
      topics: this.#topics,
      topicNames: this.#topicNames,
      deletedTopics: this.#deletedTopics,
    };
  }

  id(name: string): TopicId {
    const topic = this.#topics.get(name);
    if (topic === undefined) throw new Error(`no topic ${name}`);
    return topic.topicId;
  }

  /** Created, or with so many partitions from now on. */
  set(name: string, partitionCount: number): TopicId {
    this.#version++;
    const known = this.#topics.get(name);
    const topicId = known?.topicId ?? topicIdOf(++this.#ids);
    const partitions = Array.from({ length: partitionCount }, () => ({ replicas: [replicaOf(1)] }));
    const internal = name.startsWith('__');
    this.#topics = this.#topics.with(name, { topicId, name, internal, replicationFactor: 1, config: {}, partitions });
    this.#topicNames = this.#topicNames.with(topicId, name);
    return topicId;
  }

  delete(name: string): void {
    const topic = this.#topics.get(name);
    if (topic === undefined) return;
    this.#version++;
    const { topicId, partitions } = topic;
    this.#topics = this.#topics.without(name);
    this.#topicNames = this.#topicNames.without(topicId);
    const deleted = { topicId, name, partitionCount: partitions.length, waitingFor: [replicaOf(1).nodeId] };
    this.#deletedTopics = this.#deletedTopics.with(topicId, deleted);
  }
}

const keyText = ({ key }: EncodedRecord): string => Buffer.from(key).toString('hex');

export class GroupsWorld {
  readonly state = new GroupsState();
  readonly follower = new GroupsState();
  readonly topics = new TopicsWorld();
  readonly log: EncodedRecord[] = [];
  nowMs = 1_700_000_000_000;

  get context() {
    return { image: this.topics.image, nowMs: this.nowMs };
  }

  group(groupId = 'g'): Group {
    const group = this.state.groups.get(groupId);
    if (group === undefined) throw new Error(`no group ${groupId}`);
    return group;
  }

  replay(records: readonly GroupRecord[]): void {
    for (const record of records) {
      const encoded = encodeGroupRecord(record);
      const decoded = decodeGroupRecord(encoded.key, encoded.value);
      if (!decoded.ok) throw new Error(decoded.detail);
      expect(decoded.value).toEqual(record);
      this.log.push(encoded);
      this.state.replay(record);
      this.follower.replay(decoded.value);
    }
  }

  /** What it decides is replayed; deciding changes nothing. */
  try<T, C extends ErrorCode>(decide: (state: GroupsState) => Decided<GroupRecord, T, C>): Decided<GroupRecord, T, C> {
    const before = structuredClone(plain(this.state));
    const result = decide(this.state);
    expect(plain(this.state)).toEqual(before);
    if (result.ok) this.replay(result.value.records);
    return result;
  }

  do<T, C extends ErrorCode>(decide: (state: GroupsState) => Decided<GroupRecord, T, C>): T {
    const result = this.try(decide);
    if (!result.ok) throw new Error(`${result.problem.code}: ${result.problem.detail}`);
    return result.value.response;
  }

  judge<T>(decide: (state: GroupsState) => Decision<GroupRecord, T>): T {
    return this.do<T, never>(state => ({ ok: true, value: decide(state) }));
  }

  join(memberId: string, request: Partial<JoinRequest> = {}): MemberAnswer {
    return this.do(state => join(state, this.joining(memberId, request), this.context));
  }

  joining(memberId: string, request: Partial<JoinRequest> = {}): JoinRequest {
    const topics = request.topicPattern === undefined ? { topics: ['t'] } : {};
    return { groupId: 'g', memberId, ...topics, ...request };
  }

  heartbeat(memberId: string, memberEpoch: number, owned: PartitionSet | null = null): MemberAnswer {
    return this.do(state => heartbeat(state, { groupId: 'g', memberId, memberEpoch, owned }));
  }

  leave(memberId: string): void {
    this.do(state => leave(state, { groupId: 'g', memberId }, this.context));
  }

  commit(request: Omit<CommitRequest, 'groupId'>) {
    return this.try(state => commitOffsets(state, { groupId: 'g', ...request }, this.context));
  }

  at(partition: number, position: number, topic = 't') {
    return { topicId: this.topics.id(topic), partition, offset: offset(position) };
  }

  committed(partition: number, topic = 't'): Offset | undefined {
    return this.group().offsets.get(this.topics.id(topic))?.get(partition)?.offset;
  }

  /** The log as compaction by key would leave it: the last record of each key, in their order. */
  compacted(): GroupsState {
    const last = new Map(this.log.map((record, index) => [keyText(record), index] as const));
    const state = new GroupsState();
    for (const [index, record] of this.log.entries()) {
      if (last.get(keyText(record)) !== index) continue;
      const decoded = decodeGroupRecord(record.key, record.value);
      if (!decoded.ok) throw new Error(decoded.detail);
      state.replay(decoded.value);
    }
    state.check();
    return state;
  }
}

/** Partition numbers of one topic, or of all where there is one only. */
export const numbers = (partitions: PartitionSet): readonly number[] => Array.from(partitions.values()).flat();
