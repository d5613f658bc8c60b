// The proof that bit-flips.test.ts looks: with the checksum of batches left out it finds what it looks for.

import type * as recordModule from '@sluice/protocol/record';
import { expect, test, vi } from 'vitest';
import { flipMany, targetsOf } from './bit-flips.ts';

vi.mock('@sluice/protocol/record', async original => {
  const record = await original<typeof recordModule>();
  return {
    ...record,
    inspectBatch: (bytes: Uint8Array, at: number, options: { readonly bytesMax: number }) =>
      record.inspectBatch(bytes, at, { ...options, verifyCrc: false }),
  };
});

test('without checksums a wrong byte is served, and noticed', async () => {
  const [logs] = await targetsOf();
  await expect(flipMany(logs!, 500)).rejects.toMatchObject({
    message: expect.stringContaining('.log'),
    cause: { message: expect.stringContaining('a wrong byte at offset') },
  });
});
