// Messages about groups: what comes is checked for its numbers, what goes is rendered.

import { create } from '@bufbuild/protobuf';
import { accepted, refused, type Result } from '@sluice/protocol/errors';
import { offset } from '@sluice/protocol/ids';
import type {
  GroupDescription,
  JoinGroup,
  PartitionPosition,
  TopicPartitions as WirePartitions,
} from '@sluice/protocol/services';
import {
  GroupDescriptionSchema,
  GroupMemberSchema,
  GroupPartitionSchema,
  PartitionPositionSchema,
  StartPosition,
  TopicPartitionsSchema,
} from '@sluice/protocol/services';
import {
  type CommittedPosition,
  type GroupAssignor,
  groupAssignors,
  type GroupMemberView,
  type GroupPartitionView,
  type GroupPosition,
  type GroupView,
  type JoinGroupRequest,
  type TopicPartitions,
} from '../../broker/groups.ts';
import { naturalNumber } from './safe-number.ts';

export const wirePartitions = (sets: readonly TopicPartitions[]): WirePartitions[] =>
  sets.map(({ topic, partitions }) => create(TopicPartitionsSchema, { topic, partitions: [...partitions] }));

export const readPartitions = (
  sets: readonly WirePartitions[],
): Result<readonly TopicPartitions[], 'INVALID_REQUEST'> => {
  const negative = sets.flatMap(({ partitions }) => partitions).find(partition => partition < 0);
  return negative === undefined ? accepted(sets) : refused('INVALID_REQUEST', `${negative} is no partition`);
};

export const readPositions = (
  positions: readonly PartitionPosition[],
): Result<readonly GroupPosition[], 'INVALID_REQUEST'> => {
  const read: GroupPosition[] = [];
  for (const { topic, partition, offset: position, leaderEpoch, metadata } of positions) {
    const at = naturalNumber(position);
    if (at === null) return refused('INVALID_REQUEST', 'an offset is in the range of 0 to 2^53 - 1');
    read.push({ topic, partition, offset: offset(at), leaderEpoch, metadata });
  }
  return accepted(read);
};

export const wirePosition = ({ topic, partition, offset: position, leaderEpoch, metadata }: CommittedPosition) =>
  create(PartitionPositionSchema, {
    topic,
    partition,
    offset: BigInt(position),
    metadata,
    ...(leaderEpoch === null ? {} : { leaderEpoch }),
  });

const isAssignor = (text: string): text is GroupAssignor => (groupAssignors as readonly string[]).includes(text);

/** What is empty or zero was not said. */
export const readJoin = (join: JoinGroup, clientHost: string): Result<JoinGroupRequest, 'INVALID_REQUEST'> => {
  const { group, topics, topicPattern, from, instanceId, clientId, rack, assignor } = join;
  if (assignor !== '' && !isAssignor(assignor)) {
    return refused('INVALID_REQUEST', `there is no assignor "${assignor}"; known are ${groupAssignors.join(', ')}`);
  }
  if (from !== StartPosition.EARLIEST && from !== StartPosition.LATEST) {
    return refused('INVALID_REQUEST', `there is no start position ${from}`);
  }
  return accepted({
    group,
    topics: topics.length === 0 ? undefined : topics,
    topicPattern: orAbsent(topicPattern),
    from: from === StartPosition.LATEST ? 'latest' : 'earliest',
    instanceId: orAbsent(instanceId),
    clientId,
    clientHost,
    rack,
    sessionTimeoutMs: join.sessionTimeoutMs === 0 ? undefined : join.sessionTimeoutMs,
    rebalanceTimeoutMs: join.rebalanceTimeoutMs === 0 ? undefined : join.rebalanceTimeoutMs,
    assignor: assignor === '' ? undefined : assignor,
  });
};

const orAbsent = (text: string): string | undefined => (text === '' ? undefined : text);

export const groupDescription = (view: GroupView): GroupDescription =>
  create(GroupDescriptionSchema, {
    group: view.group,
    state: view.state,
    epoch: view.epoch,
    assignor: view.assignor,
    members: view.members.map(groupMember),
    partitions: view.partitions.map(groupPartition),
  });

const groupMember = (member: GroupMemberView) =>
  create(GroupMemberSchema, {
    memberId: member.memberId,
    memberEpoch: member.memberEpoch,
    clientId: member.clientId,
    clientHost: member.clientHost,
    rack: member.rack,
    topics: [...member.topics],
    assignment: wirePartitions(member.assignment),
    revoking: wirePartitions(member.revoking),
    target: wirePartitions(member.target),
    ...(member.instanceId === null ? {} : { instanceId: member.instanceId }),
    ...(member.topicPattern === null ? {} : { topicPattern: member.topicPattern }),
  });

const groupPartition = (row: GroupPartitionView) =>
  create(GroupPartitionSchema, {
    topic: row.topic,
    partition: row.partition,
    metadata: row.metadata,
    ...(row.offset === null ? {} : { offset: BigInt(row.offset) }),
    ...(row.logEndOffset === null ? {} : { logEndOffset: BigInt(row.logEndOffset) }),
    ...(row.lag === null ? {} : { lag: BigInt(row.lag) }),
    ...(row.memberId === null ? {} : { memberId: row.memberId }),
  });
