// Batches whose checksum fits and whose place does not: nothing that a disk does, and still no offset may be passed over
// without a word.

import { readBaseOffset, readBatchBytes, sealBatch } from '@sluice/protocol/record';
import { expect, test } from 'vitest';
import { offset } from '@sluice/protocol/ids';
import { LogWorld, PARTITION } from './log-world.ts';

const LAST_OFFSET_DELTA_AT = 23;
const RECORD_COUNT_AT = 57;
const FIRST_LOG = `${PARTITION}/00000000000000000000.log`;

/** Six batches of two records, three to a segment; in the one numbered `batch` the last offset is another. */
const worldWith = async (batch: number, lastOffsetDelta: number): Promise<LogWorld> => {
  const world = await LogWorld.start({ seed: 'false', settings: { segmentBytes: 300, indexIntervalBytes: 50 } });
  for (let name = 0; name < 6; name++) await world.appendDurably({ count: 2, name: `b${name}` });
  await world.close();
  const bytes = Uint8Array.from(world.disk.contents(FIRST_LOG));
  let at = 0;
  for (let before = 0; before < batch; before++) at += readBatchBytes(bytes, at);
  const view = new DataView(bytes.buffer);
  view.setInt32(at + LAST_OFFSET_DELTA_AT, lastOffsetDelta);
  view.setInt32(at + RECORD_COUNT_AT, Math.min(2, lastOffsetDelta + 1));
  sealBatch(bytes.subarray(at, at + readBatchBytes(bytes, at)));
  world.disk.erase(FIRST_LOG);
  world.disk.plant(FIRST_LOG, bytes);
  await world.open();
  return world;
};

/** What each offset answers: D for damaged, else the first offset of the batch. */
const answersOf = async (world: LogWorld): Promise<string> => {
  const answers: (string | number)[] = [];
  for (let at = 0; at < world.log.endOffset; at++) {
    const outcome = await world.drive(world.log.read(offset(at), { endMax: world.log.endOffset, bytesMax: 1 }));
    if (outcome.kind === 'damaged') answers.push('D');
    else if (outcome.kind === 'batches' && outcome.batches.length > 0)
      answers.push(readBaseOffset(outcome.batches[0]!, 0));
    else answers.push(outcome.kind);
  }
  return answers.join(' ');
};

test('a segment holds three of the batches', async () => {
  const world = await worldWith(0, 1);
  expect(world.files('.log')).toHaveLength(2);
  expect(await answersOf(world)).toBe('0 0 2 2 4 4 6 6 8 8 10 10');
});

test.each([
  ['reaches beyond the end of the log', 1, 1_000, '0 0 D D 4 4 6 6 8 8 10 10'],
  ['reaches into the next segment', 2, 3, '0 0 2 2 D D 6 6 8 8 10 10'],
  ['ends before the next batch begins', 1, 0, '0 0 2 D D D 6 6 8 8 10 10'],
  ['ends before the next segment begins', 2, 0, '0 0 2 2 4 D 6 6 8 8 10 10'],
])('a batch that %s is no reason to pass over an offset', async (_, batch, lastOffsetDelta, answers) => {
  expect(await answersOf(await worldWith(batch, lastOffsetDelta))).toBe(answers);
});
