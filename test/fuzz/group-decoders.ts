// What the coordinator of groups keeps and what it is told.

import { offset } from '@sluice/protocol/ids';
import type { GroupCommand, GroupVerb } from '../../server/coordinator/groups/group-command.ts';
import type { GroupResult } from '../../server/coordinator/groups/group-coordinator.ts';
import {
  decodeGroupAnswer,
  decodeGroupCommand,
  encodeGroupAnswer,
  encodeGroupCommand,
} from '../../server/coordinator/groups/group-message.ts';
import type { GroupRecord } from '../../server/state/groups/record.ts';
import { decodeGroupRecord, encodeGroupRecord } from '../../server/state/groups/record-codec.ts';
import { topicPattern } from '../../server/state/groups/topic-pattern.ts';
import { topicIdOf } from '../state/cluster/cluster-world.ts';
import type { Decoder } from './decoder-run.ts';

const given = new Map([[topicIdOf(7), new Map([[1, 2]])]]);

const records: readonly GroupRecord[] = [
  { kind: 'head', groupId: 'group', value: { epoch: 3, assignor: 'range', emptySinceMs: 300 } },
  {
    kind: 'topics',
    groupId: 'group',
    value: { metadataVersion: 9, topics: [{ topicId: topicIdOf(7), partitionCount: 5 }] },
  },
  {
    kind: 'member',
    groupId: 'group',
    memberId: 'member',
    value: {
      instanceId: 'i',
      clientId: 'c',
      clientHost: 'h',
      rack: 'r',
      topics: ['t'],
      topicPattern: 'a|b',
      from: 'latest',
      sessionTimeoutMs: 300,
      rebalanceTimeoutMs: 301,
      assignor: 'uniform',
      replacedMemberId: 'm0',
    },
  },
  { kind: 'target', groupId: 'group', memberId: 'member', value: new Map([[topicIdOf(7), [1, 300]]]) },
  {
    kind: 'holding',
    groupId: 'group',
    memberId: 'member',
    value: { memberEpoch: 5, previousEpoch: 4, assigned: given, revoking: given },
  },
  {
    kind: 'offset',
    groupId: 'group',
    topicId: topicIdOf(7),
    partition: 258,
    value: { offset: offset(9), leaderEpoch: 0, metadata: 'x', committedAtMs: 5, memberId: 'm', memberEpoch: 2 },
  },
];

const set = new Map([[topicIdOf(7), [1, 300]]]);
const member = { groupId: 'group', memberId: 'member' };
const place = { topicId: topicIdOf(7), partition: 3 };

export const groupCommands: readonly GroupCommand[] = [
  { verb: 'join', request: { ...member, topics: ['t'], metadataVersion: 5 } },
  {
    verb: 'join',
    request: {
      ...member,
      topicPattern: 'a|b',
      instanceId: 'i',
      clientId: 'c',
      clientHost: 'h',
      rack: 'r',
      from: 'latest',
      sessionTimeoutMs: 5,
      rebalanceTimeoutMs: 6,
      assignor: 'range',
      metadataVersion: 5,
    },
  },
  { verb: 'heartbeat', request: { ...member, memberEpoch: 3, waitMs: 100, owned: set } },
  { verb: 'heartbeat', request: { ...member, memberEpoch: 3, waitMs: 0, owned: null } },
  { verb: 'leave', request: member },
  {
    verb: 'commit',
    request: {
      groupId: 'group',
      member: { memberId: 'member', memberEpoch: 3 },
      offsets: [{ ...place, offset: offset(5), leaderEpoch: 2, metadata: 'x' }],
      metadataVersion: 5,
    },
  },
  { verb: 'commit', request: { groupId: 'group', offsets: [{ ...place, offset: offset(5) }], metadataVersion: 5 } },
  { verb: 'fetchOffsets', request: { groupId: 'group', places: [place] } },
  { verb: 'fetchOffsets', request: { groupId: 'group' } },
  {
    verb: 'reset',
    request: { groupId: 'group', offsets: [{ ...place, offset: offset(5) }], isDryRun: true, metadataVersion: 5 },
  },
  { verb: 'delete', request: { groupId: 'group' } },
  { verb: 'describe', request: { groupId: 'group' } },
  { verb: 'list', request: { prefix: 'g', after: 'a', limit: 10 } },
  { verb: 'list', request: { prefix: '', after: null, limit: 10 } },
];

const subscription = {
  instanceId: null,
  clientId: 'c',
  clientHost: 'h',
  rack: '',
  topics: ['t'],
  topicPattern: null,
  from: 'earliest',
  sessionTimeoutMs: 5,
  rebalanceTimeoutMs: 6,
  assignor: 'uniform',
  replacedMemberId: null,
} as const;
const fetched = { ...place, offset: offset(5), leaderEpoch: null, metadata: '', committedAtMs: 9 };
const told = {
  memberId: 'member',
  memberEpoch: 3,
  heartbeatIntervalMs: 1,
  sessionTimeoutMs: 2,
  rebalanceTimeoutMs: 3,
  from: 'latest',
  assigned: set,
  revoking: new Map(),
} as const;

export const groupAnswers: readonly { readonly verb: GroupVerb; readonly result: GroupResult }[] = [
  { verb: 'join', result: { ok: true, value: told } },
  { verb: 'heartbeat', result: { ok: true, value: told } },
  { verb: 'leave', result: { ok: true, value: null } },
  { verb: 'commit', result: { ok: true, value: null } },
  { verb: 'fetchOffsets', result: { ok: true, value: [fetched, { ...fetched, leaderEpoch: 2 }] } },
  {
    verb: 'reset',
    result: {
      ok: true,
      value: [
        { ...place, before: null, after: offset(3) },
        { ...place, before: offset(0), after: offset(3) },
      ],
    },
  },
  { verb: 'delete', result: { ok: true, value: { isDone: true } } },
  {
    verb: 'describe',
    result: {
      ok: true,
      value: {
        groupId: 'group',
        state: 'reconciling',
        memberCount: 1,
        epoch: 4,
        assignor: 'range',
        members: [{ memberId: 'member', memberEpoch: 3, subscription, assigned: set, revoking: set, target: set }],
        offsets: [fetched],
      },
    },
  },
  { verb: 'list', result: { ok: true, value: [{ groupId: 'group', state: 'empty', memberCount: 0 }] } },
  {
    verb: 'commit',
    result: { ok: false, problem: { code: 'FENCED_MEMBER_EPOCH', detail: 'no', facts: { member_epoch: 3 } } },
  },
];

/** Key and value behind each other, with the length of the key in front. */
const joined = (record: GroupRecord): Uint8Array => {
  const { key, value } = encodeGroupRecord(record);
  return Buffer.concat([Uint8Array.of(key.length), key, value ?? new Uint8Array(0)]);
};

export const groupDecoders: readonly Decoder[] = [
  {
    name: 'record of a group',
    sound: records.map(joined),
    decode: bytes => {
      const end = 1 + (bytes[0] ?? 0);
      return decodeGroupRecord(bytes.subarray(1, end), bytes.subarray(end));
    },
  },
  {
    name: 'request about a group',
    sound: groupCommands.map(command => encodeGroupCommand({ partition: 3, command })),
    decode: decodeGroupCommand,
  },
  {
    name: 'answer about a group',
    sound: groupAnswers.map(({ result }) => encodeGroupAnswer(result)),
    decode: bytes => groupAnswers.map(({ verb }) => decodeGroupAnswer(verb, bytes)),
  },
  {
    name: 'topic pattern',
    sound: ['orders-.*', '(a|b)+[^c-e]?\\.\\d', '(?:(a*)*)*'].map(text => Buffer.from(text)),
    decode: bytes => {
      const read = topicPattern(Buffer.from(bytes).toString('latin1'));
      return read.ok && read.value.matches('orders-eu.1');
    },
  },
];
