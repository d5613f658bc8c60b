// The hand-written encoding of fetched batches against the generated one.

import { create, toBinary } from '@bufbuild/protobuf';
import { offset } from '@sluice/protocol/ids';
import { FetchResponseSchema } from '@sluice/protocol/services';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { FetchedBatches } from '../../../server/gateway/grpc/fetched-batches.ts';

const anOffset = fc.oneof(fc.constant(0), fc.maxSafeNat(), fc.integer({ min: 0, max: 300 })).map(offset);

test('it writes exactly what the generated encoder writes', () => {
  fc.assert(
    fc.property(
      fc.record({
        stream: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 0xffff_ffff })),
        batches: fc.array(fc.uint8Array({ maxLength: 300 }), { minLength: 1, maxLength: 5 }),
        highWatermark: anOffset,
        lastStableOffset: anOffset,
      }),
      parts => {
        const encoded = new FetchedBatches(parts).encode();
        const generated = toBinary(
          FetchResponseSchema,
          create(FetchResponseSchema, {
            stream: parts.stream,
            payload: { case: 'batches', value: Buffer.concat(parts.batches) },
            highWatermark: BigInt(parts.highWatermark),
            lastStableOffset: BigInt(parts.lastStableOffset),
          }),
        );
        expect(encoded).toEqual(Buffer.from(generated));
      },
    ),
  );
});
