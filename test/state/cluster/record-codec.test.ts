// Records as bytes: there and back, as they are on disk, and what is told of bytes that are none.

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  BrokerRegisteredSchema,
  BrokerRole,
  ClusterRecordSchema,
  create,
  fromBinary,
  toBinary,
  TopicCreatedSchema,
} from '@sluice/protocol/cluster';
import { nodeId } from '@sluice/protocol/ids';
import type { ClusterRecord } from '../../../server/state/cluster/record.ts';
import { decodeClusterRecord, encodeClusterRecord } from '../../../server/state/cluster/record-codec.ts';
import { anyRecord } from './any-record.ts';
import { directoryOf, registrationOf, replicaOf, topicIdOf } from './cluster-world.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
const bytesOf = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(/\s/g, ''), 'hex'));
const text = (string: string): string => Buffer.from(string).toString('hex');

const uuidBytes = (id: string): string => `24${text(id)}`;

/** How each kind is written. These bytes are in the logs of clusters: they only ever grow. */
const golden: readonly (readonly [ClusterRecord, string])[] = [
  [{ kind: 'founded', clusterId: 'c', voters: [replicaOf(1)] }, `122d 0a0163 1228 0801 12${uuidBytes(directoryOf(1))}`],
  [
    {
      kind: 'broker-registered',
      registration: {
        ...registrationOf(2),
        rack: 'r',
        roles: ['broker', 'gateway'],
        httpAddress: 'h',
        grpcAddress: 'g',
        peerAddress: 'p',
        registeredAtMs: 300,
      },
    },
    `1a3e 0802 12${uuidBytes(directoryOf(2))} 18c801 220172 2a020103 320168 3a0167 420170 48ac02`,
  ],
  [{ kind: 'broker-state-changed', nodeId: nodeId(300), fenced: true, draining: true }, '2207 08ac02 1001 1801'],
  [{ kind: 'broker-state-changed', nodeId: nodeId(3), fenced: false, draining: false }, '2202 0803'],
  [{ kind: 'broker-removed', nodeId: nodeId(3) }, '2a02 0803'],
  [
    {
      kind: 'topic-created',
      topicId: topicIdOf(7),
      name: 't',
      internal: true,
      replicationFactor: 2,
      config: { 'retention.ms': '5' },
      partitions: [{ replicas: [replicaOf(1), replicaOf(2)] }, { replicas: [replicaOf(2), replicaOf(1)] }],
    },
    `32a001 0a${uuidBytes(topicIdOf(7))} 120174 1801 2002 2a11 0a0c${text('retention.ms')} 120135
     3228 0801 12${uuidBytes(directoryOf(1))} 3228 0802 12${uuidBytes(directoryOf(2))} 3a04 0a020001 3a04 0a020100`,
  ],
  [
    {
      kind: 'partitions-added',
      topicId: topicIdOf(7),
      firstPartition: 2,
      partitions: [{ replicas: [replicaOf(1)] }],
    },
    `3a57 0a${uuidBytes(topicIdOf(7))} 1002 1a28 0801 12${uuidBytes(directoryOf(1))} 2203 0a0100`,
  ],
  [
    { kind: 'topic-config-changed', topicId: topicIdOf(7), config: { 'flush.ms': '7' } },
    `4235 0a${uuidBytes(topicIdOf(7))} 120d 0a08${text('flush.ms')} 120137`,
  ],
  [{ kind: 'topic-deleted', topicId: topicIdOf(7) }, `4a26 0a${uuidBytes(topicIdOf(7))}`],
  [
    { kind: 'removal-acknowledged', nodeId: nodeId(1), topicIds: [topicIdOf(7)] },
    `5228 0801 12${uuidBytes(topicIdOf(7))}`,
  ],
  [{ kind: 'producer-ids-allocated', nodeId: nodeId(1), first: 2_000, count: 1_000 }, '5a08 0801 10d00f 18e807'],
];

describe('a record', () => {
  test.each(golden)('of kind $kind has its bytes', (record, bytes) => {
    expect(hex(encodeClusterRecord(record))).toBe(hex(bytesOf(bytes)));
    expect(decodeClusterRecord(bytesOf(bytes))).toEqual({ ok: true, value: record });
  });

  test('comes back as it was', () => {
    fc.assert(
      fc.property(anyRecord, record => {
        expect(decodeClusterRecord(encodeClusterRecord(record))).toEqual({ ok: true, value: record });
      }),
    );
  });

  test('of ten thousand partitions is small beside a frame', () => {
    const replicas = Array.from({ length: 15 }, (_, index) => replicaOf(index + 1));
    const partitions = Array.from({ length: 10_000 }, () => ({ replicas }));
    const record: ClusterRecord = { kind: 'partitions-added', topicId: topicIdOf(1), firstPartition: 1, partitions };
    expect(encodeClusterRecord(record).length).toBeLessThan(200_000);
  });
});

describe('what a newer release wrote', () => {
  const newer = (detail: string) => ({ ok: false, kind: 'newer', detail: expect.stringContaining(detail) });

  test('is told by a kind of record that is not known', () => {
    expect(decodeClusterRecord(bytesOf('a20602 0801'))).toEqual(
      newer('a record of a kind that this release does not know (100)'),
    );
  });

  test('is told by its format level, even where the kind is known', () => {
    expect(decodeClusterRecord(bytesOf('0801 2a02 0803'))).toEqual(newer('it is of format level 1'));
  });

  test('is told by a role that is not known', () => {
    const [, registered] = golden[1]!;
    expect(decodeClusterRecord(bytesOf(registered.replace('2a020103', '2a020109')))).toEqual(newer('the role 9'));
  });

  test('is passed over where it is one more field of a known kind', () => {
    expect(decodeClusterRecord(bytesOf('2a05 0803 a00601'))).toEqual({
      ok: true,
      value: { kind: 'broker-removed', nodeId: 3 },
    });
  });

  test('keeps topic settings that this release does not know', () => {
    const record = { kind: 'topic-config-changed', topicId: topicIdOf(7), config: { 'from.tomorrow': 'x' } } as const;
    expect(decodeClusterRecord(encodeClusterRecord(record as unknown as ClusterRecord))).toEqual({
      ok: true,
      value: record,
    });
  });
});

describe('what is damaged', () => {
  const damaged = { ok: false, kind: 'damaged', detail: expect.any(String) };

  type Init = NonNullable<NonNullable<Parameters<typeof create<typeof ClusterRecordSchema>>[1]>['record']>;
  const topicPart = {
    topicId: topicIdOf(1),
    name: 't',
    replicationFactor: 1,
    replicaTable: [replicaOf(1), { nodeId: 1, directoryId: directoryOf(9) }],
    partitions: [{ replicas: [0] }],
  };
  const registered = {
    nodeId: 1,
    directoryId: directoryOf(1),
    incarnation: 1n,
    roles: [BrokerRole.BROKER],
    registeredAtMs: 1n,
  };
  const topic = (part: object): Init => ({
    case: 'topicCreated',
    value: create(TopicCreatedSchema, { ...topicPart, ...part }),
  });
  const broker = (part: object): Init => ({
    case: 'brokerRegistered',
    value: create(BrokerRegisteredSchema, { ...registered, ...part }),
  });

  test.each<[string, Init]>([
    ['a node id beyond 31 bits', { case: 'brokerRemoved', value: { nodeId: 0x80000000 } }],
    ['a topic id that is none', { case: 'topicDeleted', value: { topicId: 'x' } }],
    ['a topic name that is none', topic({ name: '../x' })],
    ['a topic without a partition', topic({ partitions: [] })],
    ['a topic without a replication factor', topic({ replicationFactor: 0 })],
    ['a partition without a replica', topic({ partitions: [{ replicas: [] }] })],
    ['a replica beyond the table', topic({ partitions: [{ replicas: [2] }] })],
    ['two replicas at one node', topic({ partitions: [{ replicas: [0, 1] }] })],
    ['a directory that is none', topic({ replicaTable: [{ nodeId: 1, directoryId: '' }] })],
    ['an incarnation that is none', broker({ incarnation: 0n })],
    ['a node without a role', broker({ roles: [] })],
    ['a time before 1970', broker({ registeredAtMs: -1n })],
    ['a number beyond 2^53', { case: 'producerIdsAllocated', value: { nodeId: 1, first: 1n << 53n, count: 1 } }],
    ['a founding without voters', { case: 'founded', value: { clusterId: 'c', voters: [] } }],
    ['a founding of nothing', { case: 'founded', value: { clusterId: '', voters: [replicaOf(1)] } }],
    ['nothing', { case: undefined }],
  ])('%s', (_, record) => {
    const bytes = toBinary(ClusterRecordSchema, create(ClusterRecordSchema, { record }));
    expect(decodeClusterRecord(bytes)).toEqual(damaged);
  });

  test('the messages of these tests are right but for what they name', () => {
    for (const record of [topic({}), broker({})]) {
      const bytes = toBinary(ClusterRecordSchema, create(ClusterRecordSchema, { record }));
      expect(decodeClusterRecord(bytes)).toMatchObject({ ok: true });
    }
  });

  test('any bytes are a record, a newer one or damaged, and never an exception', () => {
    const changed = fc
      .tuple(anyRecord, fc.nat(), fc.integer({ min: 1, max: 255 }), fc.boolean())
      .map(([record, at, flip, cut]) => {
        const bytes = encodeClusterRecord(record);
        const index = at % bytes.length;
        bytes[index]! ^= flip;
        return cut ? bytes.subarray(0, index) : bytes;
      });
    const seen = new Set<string>();
    fc.assert(
      fc.property(fc.oneof(changed, fc.uint8Array({ maxLength: 40 })), bytes => {
        const decoded = decodeClusterRecord(bytes);
        seen.add(decoded.ok ? 'record' : decoded.kind);
        // Whatever was taken can be written again, and is the same then.
        if (decoded.ok) expect(decodeClusterRecord(encodeClusterRecord(decoded.value))).toEqual(decoded);
        else if (decoded.kind === 'newer') expect(() => fromBinary(ClusterRecordSchema, bytes)).not.toThrow();
      }),
      { numRuns: 2_000 },
    );
    expect(seen).toEqual(new Set(['record', 'newer', 'damaged']));
  });
});
