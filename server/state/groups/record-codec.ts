// Records of groups as bytes: the key by hand, so that one thing has one key and the log can be compacted by it; the value as a message
// (proto/sluice/internal/v1/groups.proto), none where the thing is no more. Reading checks every value.
//
//   key = kind (1 byte) | length of the group's name (1 byte) | name, UTF-8 | rest
//
//   kind 1 head, 2 topics             rest: nothing
//   kind 3 member, 4 target, 5 holding  rest: the member's id, UTF-8
//   kind 6 offset                     rest: topic id (16 bytes) | partition (4 bytes, big-endian)
//
// What a newer release wrote is told from what is damaged: a kind of key that is not known, a format level above FORMAT_LEVEL.

import {
  create,
  fromBinary,
  GroupHeadSchema,
  GroupHoldingSchema,
  GroupMemberSchema,
  GroupOffsetSchema,
  GroupTargetSchema,
  GroupTopicsSchema,
  type HeldPartitions,
  toBinary,
} from '@sluice/protocol/groups';
import { isOffset, type TopicId, topicIdBytes, topicIdFromBytes } from '@sluice/protocol/ids';
import { assert, unreachable } from '../../base/assert.ts';
import { GROUP_TEXT_CHARS_MAX } from '../../base/limits.ts';
import { damaged, type Decoding, decoding, Undecodable } from '../cluster/undecodable.ts';
import { type GivenPartitions, GivenBuilder, type PartitionSet } from './partition-set.ts';
import {
  type CommittedOffset,
  type GroupHead,
  type GroupRecord,
  type GroupTopics,
  type Holding,
  isAssignorName,
  type AssignorName,
  type Subscription,
} from './record.ts';
import { topicPattern } from './topic-pattern.ts';

/** Raised by a release whose records older ones must not replay, although they know their kinds. */
export const FORMAT_LEVEL = 0;

const KIND = { head: 1, topics: 2, member: 3, target: 4, holding: 5, offset: 6 } as const;
const TOPIC_ID_BYTES = 16;
const PARTITION_BYTES = 4;

export interface EncodedRecord {
  readonly key: Uint8Array;
  readonly value: Uint8Array | null;
}

// ---- Encoding ----------------------------------------------------------------------------------------------------

const restOf = (record: GroupRecord): Uint8Array => {
  switch (record.kind) {
    case 'head':
    case 'topics':
      return new Uint8Array(0);
    case 'member':
    case 'target':
    case 'holding':
      return Buffer.from(record.memberId);
    case 'offset': {
      const rest = Buffer.alloc(TOPIC_ID_BYTES + PARTITION_BYTES);
      rest.set(topicIdBytes(record.topicId));
      rest.writeUInt32BE(record.partition, TOPIC_ID_BYTES);
      return rest;
    }
    default:
      return unreachable(record);
  }
};

const encodeKey = (record: GroupRecord): Uint8Array => {
  const group = Buffer.from(record.groupId);
  assert(group.length <= GROUP_TEXT_CHARS_MAX, 'the name of a group was checked');
  return Buffer.concat([Uint8Array.of(KIND[record.kind], group.length), group, restOf(record)]);
};

const wireGiven = (given: GivenPartitions) =>
  Array.from(given, ([topicId, epochs]) => {
    const pairs = Array.from(epochs).sort(([a], [b]) => a - b);
    return {
      topicId: topicIdBytes(topicId),
      partitions: pairs.map(([partition]) => partition),
      givenEpochs: pairs.map(([, epoch]) => epoch),
    };
  });

const wireHead = ({ epoch, assignor, emptySinceMs }: GroupHead) => ({
  epoch,
  assignor,
  ...(emptySinceMs === null ? {} : { emptySinceMs: BigInt(emptySinceMs) }),
});

const wireMember = (member: Subscription) => ({
  clientId: member.clientId,
  clientHost: member.clientHost,
  rack: member.rack,
  topics: [...member.topics],
  fromLatest: member.from === 'latest',
  sessionTimeoutMs: member.sessionTimeoutMs,
  rebalanceTimeoutMs: member.rebalanceTimeoutMs,
  ...(member.instanceId === null ? {} : { instanceId: member.instanceId }),
  ...(member.topicPattern === null ? {} : { topicPattern: member.topicPattern }),
  ...(member.assignor === null ? {} : { assignor: member.assignor }),
  ...(member.replacedMemberId === null ? {} : { replacedMemberId: member.replacedMemberId }),
});

const wireOffset = (committed: CommittedOffset) => ({
  offset: BigInt(committed.offset),
  metadata: committed.metadata,
  committedAtMs: BigInt(committed.committedAtMs),
  memberEpoch: committed.memberEpoch,
  ...(committed.leaderEpoch === null ? {} : { leaderEpoch: committed.leaderEpoch }),
  ...(committed.memberId === null ? {} : { memberId: committed.memberId }),
});

const encodeValue = (record: GroupRecord): Uint8Array | null => {
  if (record.value === null) return null;
  const formatLevel = FORMAT_LEVEL;
  switch (record.kind) {
    case 'head':
      return toBinary(GroupHeadSchema, create(GroupHeadSchema, { formatLevel, ...wireHead(record.value) }));
    case 'topics': {
      const { metadataVersion, topics } = record.value;
      const value = {
        metadataVersion: BigInt(metadataVersion),
        topics: topics.map(({ topicId, partitionCount }) => ({ topicId: topicIdBytes(topicId), partitionCount })),
      };
      return toBinary(GroupTopicsSchema, create(GroupTopicsSchema, { formatLevel, ...value }));
    }
    case 'member':
      return toBinary(GroupMemberSchema, create(GroupMemberSchema, { formatLevel, ...wireMember(record.value) }));
    case 'target': {
      const partitions = Array.from(record.value, ([topicId, list]) => ({
        topicId: topicIdBytes(topicId),
        partitions: [...list],
      }));
      return toBinary(GroupTargetSchema, create(GroupTargetSchema, { formatLevel, partitions }));
    }
    case 'holding': {
      const { memberEpoch, previousEpoch, assigned, revoking } = record.value;
      const value = { memberEpoch, previousEpoch, assigned: wireGiven(assigned), revoking: wireGiven(revoking) };
      return toBinary(GroupHoldingSchema, create(GroupHoldingSchema, { formatLevel, ...value }));
    }
    case 'offset':
      return toBinary(GroupOffsetSchema, create(GroupOffsetSchema, { formatLevel, ...wireOffset(record.value) }));
    default:
      return unreachable(record);
  }
};

export const encodeGroupRecord = (record: GroupRecord): EncodedRecord => ({
  key: encodeKey(record),
  value: encodeValue(record),
});

// ---- Decoding ----------------------------------------------------------------------------------------------------

const readText = (bytes: Uint8Array): string => {
  const text = Buffer.from(bytes).toString('utf8');
  if (!Buffer.from(text).equals(bytes)) throw damaged('a name is no UTF-8');
  if (text.length === 0) throw damaged('a name is empty');
  return text;
};

interface Key {
  readonly kind: number;
  readonly groupId: string;
  readonly rest: Uint8Array;
}

const readKey = (key: Uint8Array): Key => {
  const [kind = 0, length = 0] = key;
  if (kind > KIND.offset)
    throw new Undecodable('newer', `its key is of kind ${kind}, which this release does not know`);
  if (kind === 0 || key.length < 2 + length) throw damaged('its key is none');
  return { kind, groupId: readText(key.subarray(2, 2 + length)), rest: key.subarray(2 + length) };
};

/** A count or a time that a double holds. */
const readNumber = (value: bigint): number => {
  if (value < 0n || value > BigInt(Number.MAX_SAFE_INTEGER)) throw damaged(`${value} is out of range`);
  return Number(value);
};

const readLevel = (level: number): void => {
  if (level > FORMAT_LEVEL) {
    throw new Undecodable('newer', `it is of format level ${level}, and this release knows ${FORMAT_LEVEL}`);
  }
};

const readTopicId = (bytes: Uint8Array): TopicId => {
  if (bytes.length !== TOPIC_ID_BYTES) throw damaged('a topic id is none');
  return topicIdFromBytes(bytes);
};

const readAssignor = (text: string): AssignorName => {
  if (!isAssignorName(text)) throw new Undecodable('newer', `it names the assignor "${text}", which is not known`);
  return text;
};

const readAscending = (partitions: readonly number[]): readonly number[] => {
  if (partitions.length === 0) throw damaged('a topic stands there without a partition');
  for (let at = 1; at < partitions.length; at++) {
    if (partitions[at]! <= partitions[at - 1]!) throw damaged('partitions are not in their order');
  }
  return partitions;
};

const readSet = (wire: readonly HeldPartitions[]): PartitionSet => {
  const set = new Map<TopicId, readonly number[]>();
  for (const { topicId, partitions } of wire) set.set(readTopicId(topicId), readAscending(partitions));
  if (set.size < wire.length) throw damaged('a topic is listed twice');
  return set;
};

const readGiven = (wire: readonly HeldPartitions[]): GivenPartitions => {
  readSet(wire);
  const builder = new GivenBuilder();
  for (const { topicId, partitions, givenEpochs } of wire) {
    if (givenEpochs.length !== partitions.length) throw damaged('partitions and their epochs differ in number');
    for (const [at, partition] of partitions.entries()) builder.add(readTopicId(topicId), partition, givenEpochs[at]!);
  }
  return builder.given;
};

const parse = <T>(read: () => T): T => {
  try {
    return read();
  } catch {
    throw damaged('it is no message');
  }
};

const readHead = (bytes: Uint8Array): GroupHead => {
  const wire = parse(() => fromBinary(GroupHeadSchema, bytes));
  readLevel(wire.formatLevel);
  const { epoch, emptySinceMs } = wire;
  return {
    epoch,
    assignor: readAssignor(wire.assignor),
    emptySinceMs: emptySinceMs === undefined ? null : readNumber(emptySinceMs),
  };
};

const readTopics = (bytes: Uint8Array): GroupTopics => {
  const wire = parse(() => fromBinary(GroupTopicsSchema, bytes));
  readLevel(wire.formatLevel);
  const topics = wire.topics.map(({ topicId, partitionCount }) => ({ topicId: readTopicId(topicId), partitionCount }));
  return { metadataVersion: readNumber(wire.metadataVersion), topics };
};

const readMember = (bytes: Uint8Array): Subscription => {
  const wire = parse(() => fromBinary(GroupMemberSchema, bytes));
  readLevel(wire.formatLevel);
  const { clientId, clientHost, rack, topics, sessionTimeoutMs, rebalanceTimeoutMs } = wire;
  const pattern = wire.topicPattern ?? null;
  // One that this release cannot read was written by a newer one.
  if (pattern !== null && !topicPattern(pattern).ok) throw new Undecodable('newer', 'a topic pattern cannot be read');
  return {
    instanceId: wire.instanceId ?? null,
    clientId,
    clientHost,
    rack,
    topics,
    topicPattern: pattern,
    from: wire.fromLatest ? 'latest' : 'earliest',
    sessionTimeoutMs,
    rebalanceTimeoutMs,
    assignor: wire.assignor === undefined ? null : readAssignor(wire.assignor),
    replacedMemberId: wire.replacedMemberId ?? null,
  };
};

const readTarget = (bytes: Uint8Array): PartitionSet => {
  const wire = parse(() => fromBinary(GroupTargetSchema, bytes));
  readLevel(wire.formatLevel);
  return readSet(wire.partitions);
};

const readHolding = (bytes: Uint8Array): Holding => {
  const wire = parse(() => fromBinary(GroupHoldingSchema, bytes));
  readLevel(wire.formatLevel);
  const { memberEpoch, previousEpoch } = wire;
  if (memberEpoch === 0 || previousEpoch >= memberEpoch) throw damaged('a member epoch is none');
  return { memberEpoch, previousEpoch, assigned: readGiven(wire.assigned), revoking: readGiven(wire.revoking) };
};

const readOffset = (bytes: Uint8Array): CommittedOffset => {
  const wire = parse(() => fromBinary(GroupOffsetSchema, bytes));
  readLevel(wire.formatLevel);
  const offset = readNumber(wire.offset);
  if (!isOffset(offset)) throw damaged('an offset is none');
  return {
    offset,
    leaderEpoch: wire.leaderEpoch ?? null,
    metadata: wire.metadata,
    committedAtMs: readNumber(wire.committedAtMs),
    memberId: wire.memberId ?? null,
    memberEpoch: wire.memberEpoch,
  };
};

const readRecord = ({ kind, groupId, rest }: Key, value: Uint8Array | null): GroupRecord => {
  const when = <T>(read: (bytes: Uint8Array) => T): T | null => (value === null ? null : read(value));
  if (kind === KIND.offset) {
    if (rest.length !== TOPIC_ID_BYTES + PARTITION_BYTES) throw damaged('its key names no partition');
    const topicId = readTopicId(rest.subarray(0, TOPIC_ID_BYTES));
    const partition = Buffer.from(rest).readUInt32BE(TOPIC_ID_BYTES);
    return { kind: 'offset', groupId, topicId, partition, value: when(readOffset) };
  }
  if (kind === KIND.head || kind === KIND.topics) {
    if (rest.length > 0) throw damaged('its key is too long');
    return kind === KIND.head
      ? { kind: 'head', groupId, value: when(readHead) }
      : { kind: 'topics', groupId, value: when(readTopics) };
  }
  const memberId = readText(rest);
  if (kind === KIND.member) return { kind: 'member', groupId, memberId, value: when(readMember) };
  if (kind === KIND.target) return { kind: 'target', groupId, memberId, value: when(readTarget) };
  return { kind: 'holding', groupId, memberId, value: when(readHolding) };
};

export const decodeGroupRecord = (key: Uint8Array, value: Uint8Array | null): Decoding<GroupRecord> =>
  decoding(() => readRecord(readKey(key), value));
