// Only the newest state goes out, over a stream whose reader takes messages when told to.

import { Writable } from 'node:stream';
import { create } from '@bufbuild/protobuf';
import type { ServerWritableStream } from '@grpc/grpc-js';
import { accepted, refused } from '@sluice/protocol/errors';
import { type Metadata, MetadataSchema } from '@sluice/protocol/services';
import { expect, test } from 'vitest';
import { createMetrics } from '../../../server/base/metrics.ts';
import type { GatewayContext } from '../../../server/gateway/gateway.ts';
import { OpenCalls } from '../../../server/gateway/grpc/open-calls.ts';
import { StateWatch } from '../../../server/gateway/grpc/state-watch.ts';

const settled = async (): Promise<void> => {
  for (let turn = 0; turn < 5; turn++) {
    await new Promise(resolve => {
      setImmediate(resolve);
    });
  }
};

const watched = () => {
  const taken: string[] = [];
  const errors: unknown[] = [];
  const pending: (() => void)[] = [];
  const transport = new Writable({
    objectMode: true,
    write(message: Metadata, _encoding, callback) {
      pending.push(() => {
        taken.push(message.version);
        callback();
      });
    },
  });
  transport.on('error', error => errors.push(error));
  const world = { version: 'v0', ends: 0, isRefused: false };
  const calls = new OpenCalls({ metrics: createMetrics() } as GatewayContext);
  const watch = new StateWatch(transport as unknown as ServerWritableStream<unknown, Metadata>, calls, {
    schema: MetadataSchema,
    take: async () =>
      world.isRefused ? refused('INTERNAL', 'no') : accepted(create(MetadataSchema, { version: world.version })),
    onEnd: () => world.ends++,
  });
  return { watch, calls, world, taken, errors, transport, takeOne: () => pending.shift()?.() };
};

test('changes while a state is on its way become one message: the newest', async () => {
  const { watch, world, taken, takeOne } = watched();
  watch.start();
  await settled();
  for (let change = 1; change <= 100; change++) {
    world.version = `v${change}`;
    watch.poke();
    await settled();
  }
  for (let turn = 0; turn < 3; turn++) {
    takeOne();
    await settled();
  }
  expect(taken).toEqual(['v0', 'v100']);
});

test('a state equal to the last one is not sent', async () => {
  const { watch, world, taken, takeOne } = watched();
  watch.start();
  await settled();
  takeOne();
  await settled();
  watch.poke();
  await settled();
  world.version = 'other';
  watch.poke();
  await settled();
  takeOne();
  await settled();
  expect(taken).toEqual(['v0', 'other']);
});

test('a stopping broker sends the last state and then ends the call', async () => {
  const { watch, calls, world, taken, errors, takeOne } = watched();
  watch.start();
  await settled();
  takeOne();
  await settled();
  world.version = 'last';
  calls.drain();
  await settled();
  expect(errors).toEqual([]);
  takeOne();
  await settled();
  expect(taken).toEqual(['v0', 'last']);
  expect(errors).toMatchObject([{ code: 14 }]);
  expect(world.ends).toBe(1);
});

test('a state that cannot be taken ends the call', async () => {
  const { watch, world, errors } = watched();
  world.isRefused = true;
  watch.start();
  await settled();
  expect(errors).toMatchObject([{ code: 13 }]);
  expect(world.ends).toBe(1);
});

test('a call that is gone ends once, in the middle of a write too', async () => {
  const { watch, world, transport, taken } = watched();
  watch.start();
  await settled();
  transport.destroy();
  await settled();
  watch.poke();
  watch.drain();
  await settled();
  expect(world.ends).toBe(1);
  expect(taken).toEqual([]);
});
