// Protocol buffers messages as values to generate, from their descriptors: whatever a message gets one day is filled too.
//
// Names of topics are taken from a few, so that they are met again and so that there are never many; counts of partitions are small
// or not valid, since a topic of ten thousand is no fault and takes its time. All else is of any value.

import { create, type DescField, type DescMessage, ScalarType, toBinary } from '@bufbuild/protobuf';
import { encodeBatch } from '@sluice/protocol/record';
import * as fc from 'fast-check';

const DEPTH_MAX = 4;

const text = fc.string({ unit: 'grapheme', maxLength: 10 });
const someBytes = fc.uint8Array({ maxLength: 100 });
const anInt32 = fc.oneof(fc.integer({ min: -2, max: 3 }), fc.integer());
const anUint32 = fc.oneof(fc.integer({ min: 0, max: 3 }), fc.nat());
const anInt64 = fc.oneof(
  fc.bigInt({ min: -2n, max: 10n }),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  fc.constantFrom(2n ** 53n - 1n, 2n ** 53n),
);
const anUint64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });

const aTopic = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('t', 't', 't', 'x1', 'x2', 'x3') },
  // A blank makes it no name, and what is no name cannot become a topic.
  { weight: 2, arbitrary: text.map(letters => `${letters} `) },
  { weight: 1, arbitrary: fc.constantFrom('', '.', '..', 'x'.repeat(250)) },
);
const aFreeTopic = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom('x1', 'x2', 'x3') },
  { weight: 1, arbitrary: text.map(letters => `${letters} `) },
);
const aSetting = fc.constantFrom(
  'retention.ms',
  'segment.bytes',
  'flush.mode',
  'max.message.bytes',
  'nope',
  '__proto__',
);
const aCount = fc.constantFrom(0, 1, 2, 4, -1, 10_001, 2 ** 31 - 1);

export const soundBatch = encodeBatch([{ key: 'k', value: 'v', timestamp: 1 }]);
const aBatch = fc.oneof(
  fc.constant(soundBatch),
  fc.constant(new Uint8Array()),
  someBytes,
  fc.tuple(fc.nat(soundBatch.length - 1), fc.nat(255)).map(([at, byte]) => {
    const damaged = Uint8Array.from(soundBatch);
    damaged[at] = byte;
    return damaged;
  }),
);

const byName: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  'sluice.v1.CreateTopicRequest.name': aFreeTopic,
  'sluice.v1.DeleteTopicRequest.name': aFreeTopic,
  'sluice.v1.AlterTopicRequest.name': aTopic,
  'sluice.v1.DescribeTopicRequest.name': aTopic,
  'sluice.v1.GetMetadataRequest.topics': aTopic,
  'sluice.v1.CreateTopicRequest.partition_count': aCount,
  'sluice.v1.AlterTopicRequest.partition_count': aCount,
  'sluice.v1.ProduceRequest.batches': aBatch,
  // Shorter ones than a disk takes would rightly not be met.
  'sluice.v1.ProduceRequest.timeout_ms': fc.constantFrom(0, 60_000, 300_000, 400_000),
  'sluice.v1.OpenRead.stream': fc.integer({ min: 0, max: 3 }),
  'sluice.v1.GrantCredit.stream': fc.integer({ min: 0, max: 3 }),
  'sluice.v1.CloseRead.stream': fc.integer({ min: 0, max: 3 }),
};

const scalars: Readonly<Partial<Record<ScalarType, fc.Arbitrary<unknown>>>> = {
  [ScalarType.STRING]: text,
  [ScalarType.BYTES]: someBytes,
  [ScalarType.BOOL]: fc.boolean(),
  [ScalarType.INT32]: anInt32,
  [ScalarType.UINT32]: anUint32,
  [ScalarType.INT64]: anInt64,
  [ScalarType.UINT64]: anUint64,
};

const scalar = (type: ScalarType): fc.Arbitrary<unknown> => {
  const arbitrary = scalars[type];
  if (arbitrary === undefined) throw new Error(`no values for fields of type ${ScalarType[type]}`);
  return arbitrary;
};

const single = (field: DescField, depth: number): fc.Arbitrary<unknown> => {
  const named = byName[`${field.parent.typeName}.${field.name}`];
  if (named !== undefined) return named;
  if (field.name === 'topic') return aTopic;
  if (field.enum !== undefined)
    return fc.oneof(fc.constantFrom(...field.enum.values.map(({ number }) => number)), anInt32);
  if (field.message !== undefined) return fieldsOf(field.message, depth + 1);
  return scalar(field.scalar);
};

const fieldValue = (field: DescField, depth: number): fc.Arbitrary<unknown> => {
  if (field.fieldKind === 'list') return fc.array(single(field, depth), { maxLength: 3 });
  if (field.fieldKind !== 'map') return single(field, depth);
  const key = field.mapKey === ScalarType.STRING ? aSetting : scalar(field.mapKey).map(String);
  return fc.dictionary(key, single(field, depth), { maxKeys: 3 });
};

/** Each member present or not; of a oneof one or none. */
const fieldsOf = (message: DescMessage, depth: number): fc.Arbitrary<unknown> => {
  if (depth > DEPTH_MAX) return fc.constant({});
  const members: Record<string, fc.Arbitrary<unknown>> = {};
  for (const member of message.members) {
    members[member.localName] =
      member.kind === 'oneof'
        ? fc.oneof(
            fc.constant({ case: undefined }),
            ...member.fields.map(field => fieldValue(field, depth).map(value => ({ case: field.localName, value }))),
          )
        : fieldValue(member, depth);
  }
  return fc.record(members, { requiredKeys: [] });
};

/** The bytes of a message of this type, which a decoder takes. */
export const anyMessage = (message: DescMessage): fc.Arbitrary<Uint8Array> =>
  fieldsOf(message, 0).map(fields => toBinary(message, create(message, fields as never)));
