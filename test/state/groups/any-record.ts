// Records of groups with any values that their form allows, whether or not a group could come to them.

import * as fc from 'fast-check';
import { offset, type TopicId, topicId } from '@sluice/protocol/ids';
import type { GivenPartitions, PartitionSet } from '../../../server/state/groups/partition-set.ts';
import { assignorNames, type GroupRecord } from '../../../server/state/groups/record.ts';

const anyName = fc.stringMatching(/^[!-~]{1,40}$/);
const anyTopicId = fc.uuid().map(topicId);
const anyCount = fc.integer({ min: 0, max: 0xffffffff });
const anyNumber = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const anyPartitions = fc
  .uniqueArray(anyCount, { minLength: 1, maxLength: 8 })
  .map(partitions => partitions.sort((a, b) => a - b));

const byTopic = <V>(value: fc.Arbitrary<V>): fc.Arbitrary<ReadonlyMap<TopicId, V>> =>
  fc.uniqueArray(fc.tuple(anyTopicId, value), { maxLength: 4, selector: ([id]) => id }).map(pairs => new Map(pairs));

const anySet: fc.Arbitrary<PartitionSet> = byTopic(anyPartitions);
const anyGiven: fc.Arbitrary<GivenPartitions> = byTopic(
  anyPartitions.chain(partitions =>
    fc
      .array(anyCount, { minLength: partitions.length, maxLength: partitions.length })
      .map(epochs => new Map(partitions.map((partition, index) => [partition, epochs[index]!] as const))),
  ),
);

const orNone = <V>(value: fc.Arbitrary<V>) => fc.option(value, { freq: 4 });
const ofGroup = { groupId: anyName };
const ofMember = { groupId: anyName, memberId: anyName };
const anyAssignor = fc.constantFrom(...assignorNames);

export const anyGroupRecord: fc.Arbitrary<GroupRecord> = fc.oneof(
  fc.record({
    kind: fc.constant('head' as const),
    ...ofGroup,
    value: orNone(fc.record({ epoch: anyCount, assignor: anyAssignor, emptySinceMs: fc.option(anyNumber) })),
  }),
  fc.record({
    kind: fc.constant('topics' as const),
    ...ofGroup,
    value: orNone(
      fc.record({
        metadataVersion: anyNumber,
        topics: fc.array(fc.record({ topicId: anyTopicId, partitionCount: anyCount }), { maxLength: 5 }),
      }),
    ),
  }),
  fc.record({
    kind: fc.constant('member' as const),
    ...ofMember,
    value: orNone(
      fc.record({
        instanceId: fc.option(anyName),
        clientId: fc.string(),
        clientHost: fc.string(),
        rack: fc.string(),
        topics: fc.array(anyName, { maxLength: 4 }),
        topicPattern: fc.option(fc.constantFrom('.*', 'a|b')),
        from: fc.constantFrom('earliest' as const, 'latest' as const),
        sessionTimeoutMs: anyCount,
        rebalanceTimeoutMs: anyCount,
        assignor: fc.option(anyAssignor),
        replacedMemberId: fc.option(anyName),
      }),
    ),
  }),
  fc.record({ kind: fc.constant('target' as const), ...ofMember, value: orNone(anySet) }),
  fc.record({
    kind: fc.constant('holding' as const),
    ...ofMember,
    value: orNone(
      fc.record({
        memberEpoch: fc.integer({ min: 2, max: 0xffffffff }),
        previousEpoch: fc.constantFrom(0, 1),
        assigned: anyGiven,
        revoking: anyGiven,
      }),
    ),
  }),
  fc.record({
    kind: fc.constant('offset' as const),
    ...ofGroup,
    topicId: anyTopicId,
    partition: anyCount,
    value: orNone(
      fc.record({
        offset: anyNumber.map(offset),
        leaderEpoch: fc.option(anyCount),
        metadata: fc.string(),
        committedAtMs: anyNumber,
        memberId: fc.option(anyName),
        memberEpoch: anyCount,
      }),
    ),
  }),
);
