// What a replica of a group keeps in the node's store.

import { describe, expect, test } from 'vitest';
import { leaderEpoch } from '@sluice/protocol/ids';
import { positionAt } from '../../server/base/position.ts';
import { StartRefusal } from '../../server/base/start-refusal.ts';
import { parseRaftRecord, raftKeys, RaftMarks, type RaftRecord } from '../../server/storage/raft-marks.ts';
import { LogWorld } from './log-world.ts';

const configuration = { voters: ['1/a', '2/b'], outgoing: [], learners: [], learnersNext: [], autoLeave: false };
const joint = { ...configuration, outgoing: ['1/a', '3/c'], autoLeave: true };
const RECORD: RaftRecord = {
  term: leaderEpoch(7),
  vote: '2/b',
  recovery: 1,
  configurations: [
    { position: positionAt(0, 0), configuration },
    { position: positionAt(6, 40), configuration: joint },
  ],
};

describe('the record of a group', () => {
  test('is there after any crash once it was flushed, and gone when it was removed', async () => {
    const world = await LogWorld.start({ seed: 'raft' });
    const marks = new RaftMarks(world.context.store, 't/0');
    expect(marks.record()).toBeNull();
    marks.set(RECORD);
    await world.drive(marks.flush());
    marks.set({ ...RECORD, term: leaderEpoch(8), vote: null });
    world.crash(0);
    await world.open();
    const again = new RaftMarks(world.context.store, 't/0');
    expect([again.record(), again.isSuspect, raftKeys(world.context.store)]).toEqual([RECORD, false, ['t/0']]);
    again.remove();
    await world.reopen();
    expect(raftKeys(world.context.store)).toEqual([]);
  });

  test('that the store cannot vouch for makes the replica suspect until it is readmitted', async () => {
    const world = await LogWorld.start({ seed: 'suspect' });
    const marks = new RaftMarks(world.context.store, 't/0');
    for (const term of [7, 8]) {
      marks.set({ ...RECORD, term: leaderEpoch(term) });
      await world.drive(marks.flush());
    }
    new RaftMarks(world.context.store, 'other/0').set(RECORD);
    await world.drive(marks.flush());
    const at = Buffer.from(world.disk.contents('/data/store-0')).lastIndexOf('"term":8');
    for (const copy of ['store-0', 'store-1']) world.disk.rot(`/data/${copy}`, at, byte => byte ^ 1);
    world.crash(0);
    const log = await world.open();
    const again = new RaftMarks(world.context.store, 't/0');
    expect([again.record()?.term, again.isSuspect, log.condition]).toEqual([7, true, { kind: 'suspect' }]);
    expect(new RaftMarks(world.context.store, 'other/0').isSuspect).toBe(false);
    again.clearSuspect();
    for (const key of world.context.store.suspects) world.context.store.clearSuspect(key);
    expect((await world.reopen()).condition).toEqual({ kind: 'sound' });
  });

  test.each([
    ['term', { ...RECORD, term: -1 }],
    ['term', { ...RECORD, term: 2 ** 31 }],
    ['vote', { ...RECORD, vote: 3 }],
    ['recovery number', { ...RECORD, recovery: 0.5 }],
    ['configurations', { ...RECORD, configurations: [] }],
    ['configurations in order', { ...RECORD, configurations: [...RECORD.configurations].reverse() }],
    [
      'voters',
      { ...RECORD, configurations: [{ position: positionAt(0, 0), configuration: { ...joint, voters: [1] } }] },
    ],
    ['configuration', { ...RECORD, configurations: [{ position: positionAt(0, 0) }] }],
    ['position', { ...RECORD, configurations: [{ configuration }] }],
  ])('with a wrong %s refuses the start', (field, value) => {
    expect(() => parseRaftRecord(value as never)).toThrow(StartRefusal);
    expect(() => parseRaftRecord(value as never)).toThrow(`"${field}"`);
  });
});
