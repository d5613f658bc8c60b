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
        const encoded = Buffer.concat(new FetchedBatches(parts).pieces());
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

const inOneBuffer = (lengths: readonly number[], bufferBytes: number): Uint8Array[] => {
  const buffer = new ArrayBuffer(bufferBytes);
  let at = 0;
  return lengths.map(length => new Uint8Array(buffer, (at += length) - length, length));
};

const batchPieces = (batches: readonly Uint8Array[]): readonly Uint8Array[] =>
  new FetchedBatches({ stream: 1, batches, highWatermark: offset(9), lastStableOffset: offset(9) })
    .pieces()
    .slice(1, -1);

test('batches are sent as they lie where they are most of their memory', () => {
  const batches = [...inOneBuffer([300, 300], 1_000), ...inOneBuffer([500], 500)];
  expect(batchPieces(batches)).toStrictEqual(batches);
  for (const [index, piece] of batchPieces(batches).entries()) expect(piece.buffer).toBe(batches[index]?.buffer);
});

test('batches that would keep much more memory than their own are copied', () => {
  const batches = inOneBuffer([30, 30], 65_536);
  const [copy, ...rest] = batchPieces(batches);
  expect(rest).toEqual([]);
  expect(copy?.length).toBe(60);
  expect(copy?.buffer).not.toBe(batches[0]?.buffer);
});
