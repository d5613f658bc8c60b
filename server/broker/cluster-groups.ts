// Consumer groups on this node: names of topics become ids and back, and what people look at is put beside where the logs end. The rest is the
// coordinator's (coordinator/groups).

import { accepted, refused, type Result } from '@sluice/protocol/errors';
import { type Offset, offset, type TopicId } from '@sluice/protocol/ids';
import { METADATA_IMAGE_MS } from '../base/limits.ts';
import type { GroupClient } from '../coordinator/groups/group-client.ts';
import type { Clock } from '../io/clock.ts';
import type { Random } from '../io/random.ts';
import type { ClusterImage } from '../state/cluster/image.ts';
import type { GroupDescription, MemberDescription } from '../state/groups/group-description.ts';
import type { MemberAnswer } from '../state/groups/membership.ts';
import type { OffsetToCommit, ResetOffset } from '../state/groups/offsets.ts';
import type { PartitionSet } from '../state/groups/partition-set.ts';
import type { Broker, PartitionOffsets } from './broker.ts';
import type {
  CommitGroupRequest,
  CommittedPosition,
  GroupMemberView,
  GroupPage,
  GroupPartitionView,
  GroupPosition,
  Groups,
  GroupView,
  JoinGroupRequest,
  ListGroupsRequest,
  MemberHeartbeat,
  Membership,
  ResetGroupRequest,
  ResetPosition,
  ResetTarget,
  TopicPartitions,
} from './groups.ts';

export interface ClusterGroupsOptions {
  readonly client: GroupClient;
  readonly metadata: {
    image(): ClusterImage;
    watch(listener: (image: ClusterImage) => void): () => void;
    isCurrent(): Promise<boolean>;
  };
  readonly listOffsets: Broker['listOffsets'];
  readonly random: Random;
  readonly clock: Clock;
}

export class ClusterGroups implements Groups {
  readonly #options: ClusterGroupsOptions;

  constructor(options: ClusterGroupsOptions) {
    this.#options = options;
  }

  get #image(): ClusterImage {
    return this.#options.metadata.image();
  }

  // ---- Members

  async join({ group: groupId, ...request }: JoinGroupRequest): Promise<Result<Membership>> {
    const memberId = this.#options.random.uuid();
    const metadataVersion = this.#image.version;
    const joined = await this.#options.client.ask('join', { ...request, groupId, memberId, metadataVersion });
    return joined.ok ? accepted(await this.#membership(joined.value)) : joined;
  }

  async heartbeat({ group: groupId, owned, signal, ...request }: MemberHeartbeat): Promise<Result<Membership>> {
    const ids = owned === null ? accepted(null) : await this.#idsOf(owned);
    if (!ids.ok) return ids;
    const asked = { ...request, groupId, owned: ids.value };
    const answered = await this.#options.client.ask('heartbeat', asked, { signal });
    return answered.ok ? accepted(await this.#membership(answered.value)) : answered;
  }

  leave({ group: groupId, memberId }: { readonly group: string; readonly memberId: string }): Promise<Result<null>> {
    return this.#options.client.ask('leave', { groupId, memberId });
  }

  async #membership({ assigned, revoking, ...answer }: MemberAnswer): Promise<Membership> {
    await this.#known([...assigned.keys(), ...revoking.keys()]);
    return { ...answer, assignment: this.#namesOf(assigned), revoking: this.#namesOf(revoking) };
  }

  /** The coordinator may know topics that this node is about to hear of. */
  async #known(topicIds: readonly TopicId[]): Promise<void> {
    const { metadata, clock } = this.#options;
    const isKnown = (): boolean =>
      topicIds.every(id => this.#image.topicNames.has(id) || this.#image.deletedTopics.has(id));
    if (isKnown()) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = clock.schedule(METADATA_IMAGE_MS, resolve);
    const unwatch = metadata.watch(() => {
      if (isKnown()) resolve();
    });
    await promise;
    timer.cancel();
    unwatch();
  }

  // ---- Names

  /** Ordered by names; topics that are not there any more are left out. */
  #namesOf(set: PartitionSet): readonly TopicPartitions[] {
    const named: TopicPartitions[] = [];
    for (const [topicId, partitions] of set) {
      const topic = this.#image.topicNames.get(topicId);
      if (topic !== undefined) named.push({ topic, partitions });
    }
    return named.sort(byTopic);
  }

  /** Of a topic that is not there nobody has anything: but this node must be sure of that, or what a member has is taken for given back. */
  async #idsOf(named: readonly TopicPartitions[]): Promise<Result<PartitionSet, 'COORDINATOR_LOADING'>> {
    const isMissing = named.some(({ topic }) => !this.#image.topics.has(topic));
    if (isMissing && !(await this.#options.metadata.isCurrent())) {
      return refused('COORDINATOR_LOADING', 'this node does not know all topics yet');
    }
    const set = new Map<TopicId, readonly number[]>();
    for (const { topic, partitions } of named) {
      const topicId = this.#image.topics.get(topic)?.topicId;
      if (topicId === undefined) continue;
      const all = new Set([...(set.get(topicId) ?? []), ...partitions]);
      set.set(topicId, Array.from(all).sort(ascending));
    }
    return accepted(set);
  }

  #positions(offsets: readonly GroupPosition[]): Result<readonly OffsetToCommit[], 'TOPIC_NOT_FOUND'> {
    const positions: OffsetToCommit[] = [];
    for (const { topic, ...rest } of offsets) {
      const topicId = this.#image.topics.get(topic)?.topicId;
      if (topicId === undefined) return refused('TOPIC_NOT_FOUND', `there is no topic "${topic}"`, { topic });
      positions.push({ topicId, ...rest });
    }
    return accepted(positions);
  }

  // ---- Positions

  async commit({ group: groupId, member, offsets, timeoutMs }: CommitGroupRequest): Promise<Result<null>> {
    const positions = this.#positions(offsets);
    if (!positions.ok) return positions;
    const metadataVersion = this.#image.version;
    const request = { groupId, member, offsets: positions.value, metadataVersion };
    return this.#options.client.ask('commit', request, { timeoutMs });
  }

  async offsets(request: {
    readonly group: string;
    readonly places?: readonly TopicPartitions[] | undefined;
  }): Promise<Result<readonly CommittedPosition[]>> {
    const ids = request.places === undefined ? accepted(undefined) : await this.#idsOf(request.places);
    if (!ids.ok) return ids;
    const places = ids.value === undefined ? undefined : placesIn(ids.value);
    const fetched = await this.#options.client.ask('fetchOffsets', { groupId: request.group, places });
    if (!fetched.ok) return fetched;
    await this.#known(fetched.value.map(each => each.topicId));
    const named: CommittedPosition[] = [];
    for (const { topicId, ...position } of fetched.value) {
      const topic = this.#image.topicNames.get(topicId);
      if (topic !== undefined) named.push({ topic, ...position });
    }
    return accepted(named.sort(byPlace));
  }

  async setOffsets(request: {
    readonly group: string;
    readonly offsets: readonly GroupPosition[];
    readonly isDryRun: boolean;
  }): Promise<Result<readonly ResetPosition[]>> {
    const { group: groupId, isDryRun } = request;
    const positions = this.#positions(request.offsets);
    if (!positions.ok) return positions;
    const metadataVersion = this.#image.version;
    const asked = { groupId, offsets: positions.value, isDryRun, metadataVersion };
    const reset = await this.#options.client.ask('reset', asked);
    return reset.ok ? accepted(this.#resetPositions(reset.value)) : reset;
  }

  #resetPositions(reset: readonly ResetOffset[]): readonly ResetPosition[] {
    return reset.map(({ topicId, ...rest }) => ({ topic: this.#image.topicNames.get(topicId) ?? topicId, ...rest }));
  }

  async reset({
    group,
    topic,
    partitions,
    to,
    isDryRun,
  }: ResetGroupRequest): Promise<Result<readonly ResetPosition[]>> {
    const query = to.kind === 'timestamp' ? to : ({ kind: 'none' } as const);
    const ends = await this.#options.listOffsets({ topic, partitions, query });
    if (!ends.ok) return ends;
    const current = new Map<number, Offset>();
    if (to.kind === 'shift') {
      const places = [{ topic, partitions: ends.value.map(each => each.partition) }];
      const fetched = await this.offsets({ group, places });
      if (!fetched.ok) return fetched;
      for (const { partition, offset: position } of fetched.value) current.set(partition, position);
    }
    const offsets: GroupPosition[] = [];
    for (const end of ends.value) {
      const after = resetTo(to, end, current.get(end.partition));
      if (!after.ok) return after;
      // A shift of a position that is not there says nothing of that partition.
      if (after.value !== null) offsets.push({ topic, partition: end.partition, offset: after.value });
    }
    return this.setOffsets({ group, offsets, isDryRun });
  }

  // ---- What people look at

  async list({ prefix, after, limit }: ListGroupsRequest): Promise<Result<GroupPage>> {
    const listed = await this.#options.client.list({ prefix, after, limit: limit + 1 });
    if (!listed.ok) return listed;
    const groups = listed.value
      .slice(0, limit)
      .map(({ groupId, state, memberCount }) => ({ group: groupId, state, memberCount }));
    return accepted({ groups, nextAfter: listed.value.length > limit ? groups.at(-1)!.group : null });
  }

  async describe(group: string): Promise<Result<GroupView>> {
    const described = await this.#options.client.ask('describe', { groupId: group });
    if (!described.ok) return described;
    const { groupId, state, memberCount, epoch, assignor, members } = described.value;
    const partitions = await this.#partitions(described.value);
    const views = members.map(member => this.#memberView(member));
    return accepted({ group: groupId, state, memberCount, epoch, assignor, members: views, partitions });
  }

  #memberView({ memberId, memberEpoch, subscription, assigned, revoking, target }: MemberDescription): GroupMemberView {
    const { instanceId, clientId, clientHost, rack, topics, topicPattern, sessionTimeoutMs, rebalanceTimeoutMs } =
      subscription;
    return {
      ...{ memberId, memberEpoch, instanceId, clientId, clientHost, rack, topics, topicPattern },
      ...{ sessionTimeoutMs, rebalanceTimeoutMs },
      assignment: this.#namesOf(assigned),
      revoking: this.#namesOf(revoking),
      target: this.#namesOf(target),
    };
  }

  async #partitions({ members, offsets }: GroupDescription): Promise<readonly GroupPartitionView[]> {
    const rows = new Map<string, Omit<GroupPartitionView, 'logEndOffset' | 'lag'>>();
    for (const { topicId, partition, offset: position, metadata } of offsets) {
      const topic = this.#image.topicNames.get(topicId);
      if (topic === undefined) continue;
      rows.set(`${topic}/${partition}`, { topic, partition, offset: position, metadata, memberId: null });
    }
    for (const { memberId, assigned, revoking } of members) {
      for (const { topic, partitions } of [...this.#namesOf(assigned), ...this.#namesOf(revoking)]) {
        for (const partition of partitions) {
          const row = rows.get(`${topic}/${partition}`) ?? { topic, partition, offset: null, metadata: '' };
          rows.set(`${topic}/${partition}`, { ...row, memberId });
        }
      }
    }
    const ends = await this.#ends(Array.from(rows.values()));
    return Array.from(rows.values(), (row): GroupPartitionView => {
      const logEndOffset = ends.get(`${row.topic}/${row.partition}`) ?? null;
      const isKnown = row.offset !== null && logEndOffset !== null;
      return { ...row, logEndOffset, lag: isKnown ? Math.max(0, logEndOffset - row.offset) : null };
    }).sort(byPlace);
  }

  /** Topic by topic; of one whose leaders do not answer nothing is known. */
  async #ends(places: readonly { readonly topic: string; readonly partition: number }[]): Promise<Map<string, Offset>> {
    const topics = new Map<string, number[]>();
    for (const { topic, partition } of places) {
      const partitions = topics.get(topic);
      if (partitions === undefined) topics.set(topic, [partition]);
      else partitions.push(partition);
    }
    const ends = new Map<string, Offset>();
    await Promise.all(
      Array.from(topics, async ([topic, partitions]) => {
        const listed = await this.#options.listOffsets({ topic, partitions, query: { kind: 'none' } });
        if (!listed.ok) return;
        for (const { partition, highWatermark } of listed.value) ends.set(`${topic}/${partition}`, highWatermark);
      }),
    );
    return ends;
  }

  async delete(group: string): Promise<Result<null>> {
    const deleted = await this.#options.client.ask('delete', { groupId: group });
    return deleted.ok ? accepted(null) : deleted;
  }
}

const placesIn = (set: PartitionSet) =>
  Array.from(set).flatMap(([topicId, partitions]) => partitions.map(partition => ({ topicId, partition })));

const ascending = (a: number, b: number): number => a - b;
const byTopic = (a: TopicPartitions, b: TopicPartitions): number => (a.topic < b.topic ? -1 : 1);

interface Place {
  readonly topic: string;
  readonly partition: number;
}

const byPlace = (a: Place, b: Place): number =>
  a.topic === b.topic ? a.partition - b.partition : a.topic < b.topic ? -1 : 1;

/** Null: nothing to set. */
const resetTo = (
  to: ResetTarget,
  { partition, earliestOffset, highWatermark, found }: PartitionOffsets,
  current: Offset | undefined,
): Result<Offset | null, 'OFFSET_OUT_OF_RANGE'> => {
  switch (to.kind) {
    case 'earliest':
      return accepted(earliestOffset);
    case 'latest':
      return accepted(highWatermark);
    case 'timestamp':
      return accepted(found?.offset ?? highWatermark);
    case 'shift': {
      if (current === undefined) return accepted(null);
      return accepted(offset(Math.min(highWatermark, Math.max(earliestOffset, current + to.by))));
    }
    case 'offset': {
      if (to.offset >= earliestOffset && to.offset <= highWatermark) return accepted(to.offset);
      const detail = `offset ${to.offset} of partition ${partition} is outside ${earliestOffset} to ${highWatermark}`;
      const facts = { partition, offset: to.offset, earliest_offset: earliestOffset, high_watermark: highWatermark };
      return refused('OFFSET_OUT_OF_RANGE', detail, facts);
    }
  }
};
