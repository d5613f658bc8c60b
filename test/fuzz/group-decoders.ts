// What the coordinator of groups keeps and what it is told.

import { offset } from '@sluice/protocol/ids';
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
    name: 'topic pattern',
    sound: ['orders-.*', '(a|b)+[^c-e]?\\.\\d', '(?:(a*)*)*'].map(text => Buffer.from(text)),
    decode: bytes => {
      const read = topicPattern(Buffer.from(bytes).toString('latin1'));
      return read.ok && read.value.matches('orders-eu.1');
    },
  },
];
