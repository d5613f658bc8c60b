// The catalogue's file, where it is not as a broker writes it: a start is refused, with the reason.

import { expect, test } from 'vitest';
import { StartRefusal } from '../../server/base/start-refusal.ts';
import { readFormerCatalogue } from '../../server/broker/former-catalogue.ts';
import { StillDisk } from '../storage/still-disk.ts';

const topic = {
  name: 't',
  id: '00000000-0000-4000-8000-000000000001',
  partition_count: 1,
  internal: false,
  config: {},
};

const refusalOf = async (document: unknown): Promise<StartRefusal> => {
  const disk = new StillDisk();
  const file = await disk.open('/data/topics.json', 'create');
  await file.write([Buffer.from(JSON.stringify(document))], 0);
  const refusal: unknown = await readFormerCatalogue(disk, '/data').catch((error: unknown) => error);
  if (!(refusal instanceof StartRefusal)) throw new Error(`not refused: ${String(refusal)}`);
  return refusal;
};

// Without a checksum, as an earlier release wrote it: all of it is believed that can be.
test.each([
  ['an entry that is no object', { version: 1, topics: [null], deleted: [] }],
  ['a deleted topic that is no object', { version: 1, topics: [], deleted: [null] }],
  ['no partitions', { version: 1, topics: [{ ...topic, partition_count: 0 }], deleted: [] }],
  ['half a partition', { version: 1, topics: [{ ...topic, partition_count: 1.5 }], deleted: [] }],
  [
    'more partitions than any start could open',
    { version: 1, topics: [{ ...topic, partition_count: 1e9 }], deleted: [] },
  ],
])('%s refuses the start', async (_, document) => {
  const refusal = await refusalOf(document);
  expect(refusal.reason).toBe('data-directory-damaged');
  expect(refusal.message).toBe('/data/topics.json holds an entry that is no topic. Restore it from a backup.');
});
