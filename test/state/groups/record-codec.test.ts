// Records of groups as bytes: there and back, one key for one thing, and what is told of bytes that are none.

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { create, GroupHoldingSchema, GroupTargetSchema, toBinary } from '@sluice/protocol/groups';
import { offset, topicIdBytes } from '@sluice/protocol/ids';
import type { GroupRecord } from '../../../server/state/groups/record.ts';
import { decodeGroupRecord, encodeGroupRecord } from '../../../server/state/groups/record-codec.ts';
import { topicIdOf } from '../cluster/cluster-world.ts';
import { anyGroupRecord } from './any-record.ts';

const hex = (bytes: Uint8Array | null): string | null => (bytes === null ? null : Buffer.from(bytes).toString('hex'));
const bytesOf = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(/\s/g, ''), 'hex'));
const id = hex(topicIdBytes(topicIdOf(7)));

/** How each kind is written. These bytes are in the logs of clusters: they only ever grow. */
const golden: readonly (readonly [GroupRecord, string, string | null])[] = [
  [
    { kind: 'head', groupId: 'g', value: { epoch: 3, assignor: 'range', emptySinceMs: 300 } },
    '01 01 67',
    '1003 1a0572616e6765 20ac02',
  ],
  [
    {
      kind: 'topics',
      groupId: 'g',
      value: { metadataVersion: 9, topics: [{ topicId: topicIdOf(7), partitionCount: 5 }] },
    },
    '02 01 67',
    `1009 1a14 0a10${id} 1005`,
  ],
  [
    {
      kind: 'member',
      groupId: 'g',
      memberId: 'm1',
      value: {
        instanceId: 'i',
        clientId: 'c',
        clientHost: 'h',
        rack: 'r',
        topics: ['t'],
        topicPattern: null,
        from: 'latest',
        sessionTimeoutMs: 300,
        rebalanceTimeoutMs: 301,
        assignor: 'uniform',
        replacedMemberId: 'm0',
      },
    },
    '03 01 67 6d31',
    '120169 1a0163 220168 2a0172 320174 4001 48ac02 50ad02 5a07756e69666f726d 62026d30',
  ],
  [
    { kind: 'target', groupId: 'g', memberId: 'm1', value: new Map([[topicIdOf(7), [1, 300]]]) },
    '04 01 67 6d31',
    `1217 0a10${id} 1203 01ac02`,
  ],
  [
    {
      kind: 'holding',
      groupId: 'g',
      memberId: 'm1',
      value: {
        memberEpoch: 5,
        previousEpoch: 4,
        assigned: new Map([[topicIdOf(7), new Map([[2, 3]])]]),
        revoking: new Map([[topicIdOf(7), new Map([[1, 5]])]]),
      },
    },
    '05 01 67 6d31',
    `1005 1804 2218 0a10${id} 120102 1a0103 2a18 0a10${id} 120101 1a0105`,
  ],
  [
    {
      kind: 'offset',
      groupId: 'g',
      topicId: topicIdOf(7),
      partition: 258,
      value: {
        offset: offset(300),
        leaderEpoch: 0,
        metadata: 'x',
        committedAtMs: 5,
        memberId: 'm1',
        memberEpoch: 2,
      },
    },
    `06 01 67 ${id} 00000102`,
    '10ac02 1800 220178 2805 32026d31 3802',
  ],
  [
    { kind: 'offset', groupId: 'gg', topicId: topicIdOf(7), partition: 0, value: null },
    `06 02 6767 ${id} 00000000`,
    null,
  ],
];

describe('a record', () => {
  test.each(golden)('of kind $kind has its bytes', (record, key, value) => {
    const encoded = encodeGroupRecord(record);
    expect(hex(encoded.key)).toBe(hex(bytesOf(key)));
    expect(hex(encoded.value)).toBe(value === null ? null : hex(bytesOf(value)));
    expect(decodeGroupRecord(bytesOf(key), value === null ? null : bytesOf(value))).toEqual({
      ok: true,
      value: record,
    });
  });

  test('comes back as it was, and its key says what it is about and nothing else', () => {
    fc.assert(
      fc.property(anyGroupRecord, record => {
        const { key, value } = encodeGroupRecord(record);
        expect(decodeGroupRecord(key, value)).toEqual({ ok: true, value: record });
        const none = decodeGroupRecord(key, null);
        expect(none).toEqual({ ok: true, value: { ...record, value: null } });
        if (none.ok) expect(hex(encodeGroupRecord(none.value).key)).toBe(hex(key));
      }),
    );
  });

  test('of ten thousand partitions is small beside a batch', () => {
    const partitions = Array.from({ length: 10_000 }, (_, partition) => partition);
    const record: GroupRecord = {
      kind: 'target',
      groupId: 'g',
      memberId: 'm',
      value: new Map([[topicIdOf(1), partitions]]),
    };
    expect(encodeGroupRecord(record).value?.length).toBeLessThan(25_000);
  });
});

const told = (key: string, value: string | null) =>
  decodeGroupRecord(bytesOf(key), value === null ? null : bytesOf(value));

describe('what a newer release wrote', () => {
  test.each([
    ['a kind of key', '07 01 67', '1001', 'of kind 7'],
    ['a format level', '01 01 67', '0801', 'of format level 1'],
    ['an assignor', '01 01 67', '1a0178', 'the assignor "x"'],
    ['a pattern', '03 01 67 6d', '3a0128', 'a topic pattern'],
  ])('is told by %s that is not known', (_, key, value, detail) => {
    expect(told(key, value)).toEqual({ ok: false, kind: 'newer', detail: expect.stringContaining(detail) });
  });

  test('is passed over where it is one more field', () => {
    expect(told('01 01 67', '1003 1a0572616e6765 a00601')).toMatchObject({ ok: true, value: { value: { epoch: 3 } } });
  });
});

describe('what is damaged', () => {
  const held = (part: object) => ({
    topicId: topicIdBytes(topicIdOf(7)),
    partitions: [1, 2],
    givenEpochs: [1, 1],
    ...part,
  });
  const target = (...partitions: object[]): string =>
    hex(toBinary(GroupTargetSchema, create(GroupTargetSchema, { partitions })))!;
  const holding = (part: object): string =>
    hex(toBinary(GroupHoldingSchema, create(GroupHoldingSchema, { memberEpoch: 2, previousEpoch: 1, ...part })))!;

  test.each<[string, string, string | null]>([
    ['no key', '', null],
    ['a key of kind 0', '00 01 67', null],
    ['a key that is cut off', '01 05 67', null],
    ['a group without a name', '01 00', null],
    ['a member without a name', '03 01 67', null],
    ['a name that is no UTF-8', '01 01 ff', null],
    ['a head with more behind it', '01 01 67 67', null],
    ['an offset without a partition', `06 01 67 ${id}`, null],
    ['a value that is no message', '01 01 67', 'ff'],
    ['an offset below 0', `06 01 67 ${id} 00000000`, '10ffffffffffffffffff01'],
    ['a topic id that is none', '04 01 67 6d', target(held({ topicId: Uint8Array.of(1) }))],
    ['a topic without a partition', '04 01 67 6d', target(held({ partitions: [] }))],
    ['partitions in no order', '04 01 67 6d', target(held({ partitions: [2, 1] }))],
    ['a topic twice', '04 01 67 6d', target(held({}), held({}))],
    ['a partition without an epoch', '05 01 67 6d', holding({ assigned: [held({ givenEpochs: [1] })] })],
    ['a member epoch that is none', '05 01 67 6d', holding({ memberEpoch: 0, previousEpoch: 0 })],
    ['a previous epoch that is none', '05 01 67 6d', holding({ previousEpoch: 2 })],
  ])('%s', (_, key, value) => {
    expect(told(key, value)).toEqual({ ok: false, kind: 'damaged', detail: expect.any(String) });
  });

  test('the messages of these tests are right but for what they name', () => {
    expect(told('04 01 67 6d', target(held({})))).toMatchObject({ ok: true });
    expect(told('05 01 67 6d', holding({ assigned: [held({})] }))).toMatchObject({ ok: true });
  });

  test('any bytes are a record, a newer one or damaged, and never an exception', () => {
    const seen = new Set<string>();
    fc.assert(
      fc.property(
        anyGroupRecord,
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        fc.boolean(),
        (record, at, flip, inKey) => {
          const { key, value } = encodeGroupRecord(record);
          const bytes = inKey || value === null ? key : value;
          if (bytes.length > 0) bytes[at % bytes.length]! ^= flip;
          const decoded = decodeGroupRecord(key, value);
          seen.add(decoded.ok ? 'record' : decoded.kind);
          if (!decoded.ok) return;
          const again = encodeGroupRecord(decoded.value);
          expect(decodeGroupRecord(again.key, again.value)).toEqual(decoded);
        },
      ),
      { numRuns: 2_000 },
    );
    expect(seen).toEqual(new Set(['record', 'newer', 'damaged']));
  });
});
