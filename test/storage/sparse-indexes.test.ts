// The two indexes of a segment and the epoch map: lookups against a naive search, cuts, and files that hold anything.

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { leaderEpoch, offset } from '@sluice/protocol/ids';
import { EpochMap } from '../../server/storage/epoch-map.ts';
import { OffsetIndex } from '../../server/storage/offset-index.ts';
import { TimeIndex } from '../../server/storage/time-index.ts';

/** Strictly rising pairs. */
const rising = fc
  .array(fc.tuple(fc.integer({ min: 1, max: 50 }), fc.integer({ min: 1, max: 5_000 })), { maxLength: 200 })
  .map(steps => {
    let first = -1;
    let second = 0;
    return steps.map(([stepFirst, stepSecond]) => {
      first += stepFirst;
      second += stepSecond;
      return [first, second] as const;
    });
  });

const offsetIndexOf = (entries: readonly (readonly [number, number])[]): OffsetIndex => {
  const index = new OffsetIndex();
  for (const [relativeOffset, position] of entries) index.append(relativeOffset, position);
  return index;
};

const pairsOf = (index: OffsetIndex): (readonly [number, number])[] =>
  Array.from({ length: index.count }, (_, entry) => [index.relativeOffset(entry), index.position(entry)] as const);

const fileOf = (index: OffsetIndex | TimeIndex): Uint8Array => index.bytes.slice(0, index.byteLength);

describe('the offset index', () => {
  test('writes Kafka’s bytes: relative offset and position, big-endian', () => {
    const index = offsetIndexOf([
      [5, 4_200],
      [0x01020304, 0x7fffffff],
    ]);
    expect(Buffer.from(fileOf(index)).toString('hex')).toBe('0000000500001068010203047fffffff');
  });

  test('finds the last entry at or below a target', () => {
    fc.assert(
      fc.property(rising, fc.integer({ min: -1, max: 10_000 }), (entries, target) => {
        const index = offsetIndexOf(entries);
        expect(index.floor(target)).toBe(entries.findLastIndex(([relativeOffset]) => relativeOffset <= target));
        expect(index.floorByPosition(target)).toBe(entries.findLastIndex(([, position]) => position <= target));
      }),
    );
  });

  test('a cut drops what is at or above the offset', () => {
    fc.assert(
      fc.property(rising, fc.integer({ min: 0, max: 10_000 }), (entries, target) => {
        const index = offsetIndexOf(entries);
        index.writtenCount = index.count;
        index.cut(target);
        expect(pairsOf(index)).toEqual(entries.filter(([relativeOffset]) => relativeOffset < target));
        expect(index.writtenCount).toBe(index.count);
      }),
    );
  });

  test('a good file is taken whole', () => {
    fc.assert(
      fc.property(rising, entries => {
        const index = new OffsetIndex();
        expect(index.loadTrusted(fileOf(offsetIndexOf(entries)), 0x7fffffff)).toBe(true);
        expect(pairsOf(index)).toEqual(entries);
        expect(index.unwritten()).toEqual({ position: index.byteLength, bytes: new Uint8Array(0), count: index.count });
      }),
    );
  });

  test('of any other file only the entries that rise and lie in the log are taken', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(1_000_000), (file, positionMax) => {
        const index = new OffsetIndex();
        const isGood = index.loadTrusted(file, positionMax);
        const taken = pairsOf(index);
        expect(Buffer.from(fileOf(index))).toEqual(Buffer.from(file.subarray(0, index.byteLength)));
        for (const [at, [relativeOffset = 0, position = 0]] of taken.entries()) {
          expect(relativeOffset).toBeGreaterThan(taken[at - 1]?.[0] ?? -1);
          expect(position).toBeGreaterThan(taken[at - 1]?.[1] ?? 0);
          expect(position).toBeLessThan(positionMax);
        }
        expect(!isGood || index.byteLength === file.length).toBe(true);
      }),
    );
  });

  test.each([
    [
      'not rising in its offsets',
      [
        [5, 100],
        [5, 200],
      ],
      1,
    ],
    [
      'not rising in its positions',
      [
        [5, 100],
        [6, 100],
      ],
      1,
    ],
    [
      'pointing behind the log',
      [
        [5, 100],
        [6, 1_000],
      ],
      1,
    ],
    ['of zeros', [[0, 0]], 0],
  ])('a file %s is not good', (_, entries, trusted) => {
    const index = new OffsetIndex();
    expect(index.loadTrusted(fileOf(offsetIndexOf(entries as [number, number][])), 1_000)).toBe(false);
    expect(index.count).toBe(trusted);
  });
});

describe('the time index', () => {
  const timeIndexOf = (entries: readonly (readonly [number, number])[]): TimeIndex => {
    const index = new TimeIndex();
    for (const [relativeOffset, timestamp] of entries) index.maybeAppend(timestamp, relativeOffset);
    return index;
  };

  test('writes Kafka’s bytes: timestamp and relative offset, big-endian', () => {
    expect(Buffer.from(fileOf(timeIndexOf([[7, 1_767_225_600_000]]))).toString('hex')).toBe('0000019b76daa80000000007');
  });

  test('takes an entry only where both its time and its offset rise', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(100), fc.integer({ min: -50, max: 100 }))), entries => {
        const index = timeIndexOf(entries);
        for (let entry = 1; entry < index.count; entry++) {
          expect(index.timestamp(entry)).toBeGreaterThan(index.timestamp(entry - 1));
          expect(index.relativeOffset(entry)).toBeGreaterThan(index.relativeOffset(entry - 1));
        }
        const loaded = new TimeIndex();
        expect(loaded.loadTrusted(fileOf(index), 101)).toBe(true);
        expect(fileOf(loaded)).toEqual(fileOf(index));
      }),
    );
  });

  test('finds the last entry older than a target', () => {
    fc.assert(
      fc.property(rising, fc.integer({ min: -10, max: 200_000 }), (entries, target) => {
        expect(timeIndexOf(entries).below(target)).toBe(entries.findLastIndex(([, timestamp]) => timestamp < target));
      }),
    );
  });

  test('a cut drops what is at or above the offset', () => {
    fc.assert(
      fc.property(rising, fc.integer({ min: 0, max: 10_000 }), (entries, target) => {
        const index = timeIndexOf(entries);
        index.cut(target);
        expect(index.count).toBe(entries.filter(([relativeOffset]) => relativeOffset < target).length);
      }),
    );
  });

  test.each([
    ['of an entry outside of the segment', [[10, 5]], 10],
    [
      'of times that fall',
      [
        [1, 5],
        [2, 4],
      ],
      100,
    ],
    [
      'of offsets that fall',
      [
        [2, 4],
        [1, 5],
      ],
      100,
    ],
  ])('a file %s is not good', (_, entries, offsetMax) => {
    const file = Buffer.concat(
      (entries as [number, number][]).map(([relativeOffset, timestamp]) =>
        fileOf(timeIndexOf([[relativeOffset, timestamp]])),
      ),
    );
    expect(new TimeIndex().loadTrusted(file, offsetMax)).toBe(false);
  });
});

describe('the epoch map', () => {
  const mapOf = (entries: readonly (readonly [number, number])[]): EpochMap => {
    const map = new EpochMap();
    for (const [epoch, start] of entries) map.note(leaderEpoch(epoch), offset(start));
    return map;
  };

  test('knows the epoch of every offset; batches before the first entry belong to epoch 0', () => {
    const map = mapOf([
      [3, 10],
      [5, 20],
    ]);
    expect([0, 9, 10, 19, 20, 1_000].map(at => map.epochAt(offset(at)))).toEqual([0, 0, 3, 3, 5, 5]);
  });

  test('takes note of an epoch once', () => {
    const map = new EpochMap();
    expect(map.note(leaderEpoch(2), offset(4))).toBe(true);
    expect(map.note(leaderEpoch(2), offset(9))).toBe(false);
    expect(map.entries).toEqual([{ epoch: 2, startOffset: 4 }]);
  });

  test('a cut drops the epochs that begin at or above the offset', () => {
    const map = mapOf([
      [3, 10],
      [5, 20],
    ]);
    map.cut(offset(20));
    expect(map.latest).toBe(3);
    expect(map.note(leaderEpoch(4), offset(20))).toBe(true);
  });

  test('writes Kafka’s checkpoint and reads it back', () => {
    const map = mapOf([
      [0, 0],
      [3, 10],
    ]);
    expect(map.format()).toBe('0\n2\n0 0\n3 10\n');
    expect(EpochMap.parse(map.format())?.entries).toEqual(map.entries);
    expect(EpochMap.parse(new EpochMap().format())?.entries).toEqual([]);
  });

  test.each([
    '',
    '0',
    '0\n1\n',
    '1\n0\n',
    '0\n1\n3 10',
    '0\n2\n3 10\n',
    '0\n2\n3 10\n3 20\n',
    '0\n1\nx 10\n',
    '0\n1\n3 -1\n',
  ])('is not read from %j', text => {
    expect(EpochMap.parse(text)).toBeNull();
  });
});
