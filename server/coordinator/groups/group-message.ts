// What nodes say to each other about groups.
//
//   request   JSON {"partition", "verb", "request"}
//   answer    JSON {"ok": true, "verb", "value"} or {"ok": false, "problem": {code, detail, facts}}
//
// Sets of partitions are lists of {"topicId", "partitions"}. JSON, because the state machine judges the values itself: what is read here is
// only that they are of the right kinds. Members that a reader does not know are passed over.

import { type ErrorCode, isErrorCode, problem } from '@sluice/protocol/errors';
import { isOffset, isTopicId, type Offset, offset, type TopicId } from '@sluice/protocol/ids';
import { unreachable } from '../../base/assert.ts';
import type { GroupDescription, GroupListing, MemberDescription } from '../../state/groups/group-description.ts';
import type { MemberAnswer } from '../../state/groups/membership.ts';
import type { FetchedOffset, OffsetToCommit, ResetOffset } from '../../state/groups/offsets.ts';
import type { PartitionSet } from '../../state/groups/partition-set.ts';
import { type AssignorName, isAssignorName, type Subscription } from '../../state/groups/record.ts';
import { JsonReader } from '../json-reader.ts';
import type { GroupCommand, GroupResponse, GroupVerb } from './group-command.ts';
import type { GroupResult } from './group-coordinator.ts';

const jsonOf = (_name: string, value: unknown): unknown =>
  value instanceof Map
    ? Array.from(value as PartitionSet, ([topicId, partitions]) => ({ topicId, partitions }))
    : value;

const encode = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value, jsonOf));

// ---- Parts

const readTopicId = (reader: JsonReader): TopicId => {
  const text = reader.text('topicId');
  return isTopicId(text) ? text : reader.fail('' as TopicId);
};

const readOffset = (reader: JsonReader, name = 'offset'): Offset => {
  const value = reader.number(name);
  return isOffset(value) ? value : reader.fail(offset(0));
};

const readPlace = (reader: JsonReader) => ({ topicId: readTopicId(reader), partition: reader.count('partition') });

const isCount = (value: number): boolean => Number.isSafeInteger(value) && value >= 0;

const readSet = (reader: JsonReader, name: string): PartitionSet => {
  const topics = reader.list(name, each => [readTopicId(each), each.numbers('partitions')] as const);
  if (!topics.every(([, partitions]) => partitions.every(isCount))) reader.fail(null);
  return new Map(topics);
};

const readAssignor = (reader: JsonReader): AssignorName | undefined => {
  const text = reader.optionalText('assignor');
  return text === undefined || isAssignorName(text) ? text : reader.fail(undefined);
};

const readFrom = (reader: JsonReader): 'earliest' | 'latest' | undefined => {
  const text = reader.optionalText('from');
  return text === undefined || text === 'earliest' || text === 'latest' ? text : reader.fail(undefined);
};

const readOffsetToCommit = (reader: JsonReader): OffsetToCommit => ({
  ...readPlace(reader),
  offset: readOffset(reader),
  leaderEpoch: reader.optionalNumber('leaderEpoch'),
  metadata: reader.optionalText('metadata'),
});

// ---- Requests

export interface GroupQuestion {
  readonly partition: number;
  readonly command: GroupCommand;
}

export const encodeGroupCommand = ({ partition, command }: GroupQuestion): Uint8Array =>
  encode({ partition, ...command });

const readSpeaker = (reader: JsonReader) => ({ groupId: reader.text('groupId'), memberId: reader.text('memberId') });

const readJoin = (reader: JsonReader): GroupCommand => ({
  verb: 'join',
  request: {
    ...readSpeaker(reader),
    instanceId: reader.optionalText('instanceId'),
    clientId: reader.optionalText('clientId'),
    clientHost: reader.optionalText('clientHost'),
    rack: reader.optionalText('rack'),
    topics: reader.has('topics') ? reader.texts('topics') : undefined,
    topicPattern: reader.optionalText('topicPattern'),
    from: readFrom(reader),
    sessionTimeoutMs: reader.optionalNumber('sessionTimeoutMs'),
    rebalanceTimeoutMs: reader.optionalNumber('rebalanceTimeoutMs'),
    assignor: readAssignor(reader),
    metadataVersion: reader.count('metadataVersion'),
  },
});

const readCommit = (reader: JsonReader): GroupCommand => {
  const member = reader.has('member') ? reader.object('member') : null;
  return {
    verb: 'commit',
    request: {
      groupId: reader.text('groupId'),
      offsets: reader.list('offsets', readOffsetToCommit),
      member:
        member === null ? undefined : { memberId: member.text('memberId'), memberEpoch: member.count('memberEpoch') },
      metadataVersion: reader.count('metadataVersion'),
    },
  };
};

const readCommand = (verb: string, reader: JsonReader): GroupCommand | null => {
  switch (verb) {
    case 'join':
      return readJoin(reader);
    case 'heartbeat': {
      const owned = reader.has('owned') ? readSet(reader, 'owned') : null;
      const times = { memberEpoch: reader.number('memberEpoch'), waitMs: reader.count('waitMs') };
      return { verb, request: { ...readSpeaker(reader), ...times, owned } };
    }
    case 'leave':
      return { verb, request: readSpeaker(reader) };
    case 'commit':
      return readCommit(reader);
    case 'fetchOffsets': {
      const places = reader.has('places') ? reader.list('places', readPlace) : undefined;
      return { verb, request: { groupId: reader.text('groupId'), places } };
    }
    case 'reset': {
      const offsets = reader.list('offsets', readOffsetToCommit);
      const isDryRun = reader.boolean('isDryRun');
      const metadataVersion = reader.count('metadataVersion');
      return { verb, request: { groupId: reader.text('groupId'), offsets, isDryRun, metadataVersion } };
    }
    case 'delete':
    case 'describe':
      return { verb, request: { groupId: reader.text('groupId') } };
    case 'list': {
      const after = reader.optionalText('after') ?? null;
      return { verb, request: { prefix: reader.text('prefix'), after, limit: reader.count('limit') } };
    }
    default:
      return null;
  }
};

/** Null for what is no command of this release. */
export const decodeGroupCommand = (bytes: Uint8Array): GroupQuestion | null => {
  const reader = JsonReader.parse(bytes);
  const partition = reader.count('partition');
  const command = readCommand(reader.text('verb'), reader.object('request'));
  return reader.isBroken || command === null ? null : { partition, command };
};

// ---- Answers

export const encodeGroupAnswer = (result: GroupResult): Uint8Array => encode(result);

const readMemberAnswer = (reader: JsonReader): MemberAnswer => ({
  memberId: reader.text('memberId'),
  memberEpoch: reader.count('memberEpoch'),
  heartbeatIntervalMs: reader.count('heartbeatIntervalMs'),
  sessionTimeoutMs: reader.count('sessionTimeoutMs'),
  rebalanceTimeoutMs: reader.count('rebalanceTimeoutMs'),
  from: readFrom(reader) ?? reader.fail('earliest'),
  assigned: readSet(reader, 'assigned'),
  revoking: readSet(reader, 'revoking'),
});

const readFetched = (reader: JsonReader): FetchedOffset => ({
  ...readPlace(reader),
  offset: readOffset(reader),
  leaderEpoch: reader.optionalNumber('leaderEpoch') ?? null,
  metadata: reader.text('metadata'),
  committedAtMs: reader.count('committedAtMs'),
});

const readResetOffset = (reader: JsonReader): ResetOffset => ({
  ...readPlace(reader),
  before: reader.has('before') ? readOffset(reader, 'before') : null,
  after: readOffset(reader, 'after'),
});

const readListing = (reader: JsonReader): GroupListing => {
  const state = reader.text('state');
  const isState = state === 'empty' || state === 'stable' || state === 'reconciling';
  return {
    groupId: reader.text('groupId'),
    state: isState ? state : reader.fail('empty'),
    memberCount: reader.count('memberCount'),
  };
};

const readSubscription = (reader: JsonReader): Subscription => ({
  instanceId: reader.optionalText('instanceId') ?? null,
  clientId: reader.text('clientId'),
  clientHost: reader.text('clientHost'),
  rack: reader.text('rack'),
  topics: reader.texts('topics'),
  topicPattern: reader.optionalText('topicPattern') ?? null,
  from: readFrom(reader) ?? reader.fail('earliest'),
  sessionTimeoutMs: reader.count('sessionTimeoutMs'),
  rebalanceTimeoutMs: reader.count('rebalanceTimeoutMs'),
  assignor: readAssignor(reader) ?? null,
  replacedMemberId: reader.optionalText('replacedMemberId') ?? null,
});

const readMember = (reader: JsonReader): MemberDescription => ({
  memberId: reader.text('memberId'),
  memberEpoch: reader.count('memberEpoch'),
  subscription: readSubscription(reader.object('subscription')),
  assigned: readSet(reader, 'assigned'),
  revoking: readSet(reader, 'revoking'),
  target: readSet(reader, 'target'),
});

const readDescription = (reader: JsonReader): GroupDescription => ({
  ...readListing(reader),
  epoch: reader.count('epoch'),
  assignor: readAssignor(reader) ?? reader.fail('uniform'),
  members: reader.list('members', readMember),
  offsets: reader.list('offsets', readFetched),
});

const readValue = (verb: GroupVerb, reader: JsonReader): GroupResponse => {
  switch (verb) {
    case 'join':
    case 'heartbeat':
      return readMemberAnswer(reader.object('value'));
    case 'leave':
    case 'commit':
      return null;
    case 'fetchOffsets':
      return reader.list('value', readFetched);
    case 'reset':
      return reader.list('value', readResetOffset);
    case 'delete':
      return { isDone: reader.object('value').boolean('isDone') };
    case 'describe':
      return readDescription(reader.object('value'));
    case 'list':
      return reader.list('value', readListing);
    default:
      return unreachable(verb);
  }
};

const readProblem = (reader: JsonReader) => {
  const code = reader.text('code');
  const known: ErrorCode = isErrorCode(code) ? code : 'INTERNAL';
  return problem(known, reader.text('detail'), reader.facts('facts'));
};

/** Null for bytes that are no answer. */
export const decodeGroupAnswer = (verb: GroupVerb, bytes: Uint8Array): GroupResult | null => {
  const reader = JsonReader.parse(bytes);
  const result: GroupResult = reader.boolean('ok')
    ? { ok: true, value: readValue(verb, reader) }
    : { ok: false, problem: readProblem(reader.object('problem')) };
  return reader.isBroken ? null : result;
};
