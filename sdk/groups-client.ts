// The calls about groups over gRPC. Descriptions are plain objects with plain numbers: offsets are safe integers by contract.

import { GroupService, ResetEnd } from '@sluice/protocol/services';
import type * as wire from '@sluice/protocol/services';
import type {
  GroupDescription,
  GroupMember,
  GroupOffset,
  GroupPartition,
  Groups,
  GroupSummary,
  ResetOffsets,
  ResetPosition,
  ResetTo,
  TopicPartitions,
} from './groups.ts';
import type { CallOptions } from './producer.ts';
import type { Requester } from './request.ts';
import { SluiceError } from './sluice-error.ts';

const PAGE_GROUPS = 1_000;

export class GroupsClient implements Groups {
  readonly #requester: Requester;

  constructor(requester: Requester) {
    this.#requester = requester;
  }

  async list(options: CallOptions & { readonly prefix?: string } = {}): Promise<readonly GroupSummary[]> {
    const { prefix = '', signal } = options;
    const groups: GroupSummary[] = [];
    let after: string | undefined = '';
    while (after !== undefined) {
      const request = { prefix, after, limit: PAGE_GROUPS };
      const method = GroupService.method.listGroups;
      const page: wire.ListGroupsResponse = await this.#requester.ask({ method, request, isRepeatable: true, signal });
      for (const { group, state, memberCount } of page.groups) groups.push({ group, state, memberCount });
      after = page.nextAfter;
    }
    return groups;
  }

  async describe(group: string, { signal }: CallOptions = {}): Promise<GroupDescription> {
    const method = GroupService.method.describeGroup;
    const described = await this.#requester.ask({ method, request: { group }, isRepeatable: true, signal });
    const { state, epoch, assignor, members, partitions } = described;
    return {
      group: described.group,
      state,
      epoch,
      assignor,
      members: members.map(groupMember),
      partitions: partitions.map(groupPartition),
    };
  }

  async delete(group: string, { signal }: CallOptions = {}): Promise<void> {
    const method = GroupService.method.deleteGroup;
    await this.#requester.ask({ method, request: { group }, isRepeatable: false, signal });
  }

  async offsets(group: string, { signal }: CallOptions = {}): Promise<readonly GroupOffset[]> {
    const method = GroupService.method.fetchGroupOffsets;
    const fetched = await this.#requester.ask({ method, request: { group }, isRepeatable: true, signal });
    return fetched.offsets.map(({ topic, partition, offset, leaderEpoch, metadata }) => ({
      topic,
      partition,
      offset: Number(offset),
      leaderEpoch,
      metadata,
    }));
  }

  async commit(group: string, offsets: readonly GroupOffset[], { signal }: CallOptions = {}): Promise<void> {
    const request = { group, offsets: offsets.map(wirePosition) };
    const method = GroupService.method.commitGroupOffsets;
    await this.#requester.ask({ method, request, isRepeatable: true, signal });
  }

  async reset(reset: ResetOffsets, { signal }: CallOptions = {}): Promise<readonly ResetPosition[]> {
    const { group, topic, partitions = [], to, dryRun = false } = reset;
    const request = { group, topic, partitions: [...partitions], to: resetTarget(to), dryRun };
    const method = GroupService.method.resetGroupOffsets;
    // A shift that is done twice goes twice as far.
    const isRepeatable = dryRun || !(typeof to === 'object' && 'shiftBy' in to);
    const answer = await this.#requester.ask({ method, request, isRepeatable, signal });
    return answer.positions.map(({ partition, before, after }) => ({
      partition,
      before: before === undefined ? null : Number(before),
      after: Number(after),
    }));
  }
}

function whole(value: number): bigint {
  if (!Number.isSafeInteger(value)) throw new SluiceError('INVALID_REQUEST', `${value} is not a whole number`);
  return BigInt(value);
}

function wirePosition({ topic, partition, offset, leaderEpoch, metadata = '' }: GroupOffset) {
  const position = { topic, partition, offset: whole(offset), metadata };
  return leaderEpoch === undefined ? position : { ...position, leaderEpoch };
}

function resetTarget(to: ResetTo) {
  if (to === 'earliest') return { case: 'end', value: ResetEnd.EARLIEST } as const;
  if (to === 'latest') return { case: 'end', value: ResetEnd.LATEST } as const;
  if ('offset' in to) return { case: 'offset', value: whole(to.offset) } as const;
  if ('timestamp' in to) return { case: 'timestampMs', value: whole(to.timestamp) } as const;
  return { case: 'shiftBy', value: whole(to.shiftBy) } as const;
}

function topicPartitions(sets: readonly wire.TopicPartitions[]): readonly TopicPartitions[] {
  return sets.map(({ topic, partitions }) => ({ topic, partitions: [...partitions] }));
}

function groupMember(member: wire.GroupMember): GroupMember {
  const { memberId, memberEpoch, clientId, clientHost, rack, topics } = member;
  return {
    memberId,
    memberEpoch,
    instanceId: member.instanceId ?? null,
    clientId,
    clientHost,
    rack,
    topics: [...topics],
    topicPattern: member.topicPattern ?? null,
    assignment: topicPartitions(member.assignment),
    revoking: topicPartitions(member.revoking),
    target: topicPartitions(member.target),
  };
}

function groupPartition(row: wire.GroupPartition): GroupPartition {
  const { topic, partition, metadata } = row;
  return {
    topic,
    partition,
    offset: numberOrNull(row.offset),
    logEndOffset: numberOrNull(row.logEndOffset),
    lag: numberOrNull(row.lag),
    metadata,
    memberId: row.memberId ?? null,
  };
}

function numberOrNull(value: bigint | undefined): number | null {
  return value === undefined ? null : Number(value);
}
