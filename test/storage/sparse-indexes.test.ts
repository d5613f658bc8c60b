// The two indexes of a segment and the epoch map: lookups against a naive search, cuts, and files that hold anything.

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { offset } from '@sluice/protocol/ids';
import { ORIGIN, positionAt } from '../../server/base/position.ts';
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
  const mapOf = (entries: readonly (readonly [number, number])[], base = ORIGIN): EpochMap => {
    const map = new EpochMap(base);
    for (const [epoch, start] of entries) map.start(epoch, start);
    return map;
  };
  const dense = mapOf([
    [3, 10],
    [4, 20],
    [5, 20],
    [7, 30],
  ]);

  test('knows the epoch of every offset; batches before the first start belong to the base', () => {
    expect([0, 9, 10, 19, 20, 29, 30, 1_000].map(at => dense.epochAt(at))).toEqual([0, 0, 3, 3, 5, 5, 7, 7]);
    expect(mapOf([[9, 60]], positionAt(7, 50)).epochAt(55)).toBe(7);
  });

  test.each<[number, number, boolean]>([
    [0, 0, true],
    [0, 10, true],
    [0, 11, false],
    [3, 9, false],
    [3, 10, true],
    [3, 20, true],
    [4, 20, true],
    [4, 21, false],
    [5, 20, true],
    [6, 25, false],
    [7, 40, true],
    [7, 41, false],
  ])('in a log that ends at 40, entry %i/%i is held: %s', (epoch, at, held) => {
    expect(dense.holds(positionAt(epoch, at), offset(40))).toBe(held);
  });

  test.each<[number, number, string, number, number]>([
    [0, 5, 'a batch', 0, 5],
    [0, 10, 'the start', 3, 10],
    [3, 10, 'a batch', 3, 10],
    [3, 20, 'the start', 4, 20],
    [4, 20, 'the start', 5, 20],
    [5, 20, 'a batch', 5, 20],
    [7, 35, 'a batch', 7, 35],
  ])('behind %i/%i comes %s of epoch %i at %i', (epoch, at, what, nextEpoch, baseOffset) => {
    const next = { epoch: nextEpoch, baseOffset, isStart: what === 'the start' };
    expect(dense.after(positionAt(epoch, at))).toEqual(next);
  });

  test('takes no start that does not rise', () => {
    for (const [epoch, at] of [
      [7, 40],
      [6, 40],
      [8, 29],
    ] as const) {
      expect(dense.canStart(epoch, at)).toBe(false);
      expect(() => mapOf([[7, 30]]).start(epoch, at)).toThrow('cannot begin');
    }
    expect(dense.canStart(8, 30)).toBe(true);
  });

  test.each<[number, number, readonly number[]]>([
    [5, 25, [3, 4, 5]],
    [5, 20, [3, 4, 5]],
    [4, 20, [3, 4]],
    [3, 20, [3]],
    [3, 15, [3]],
    [0, 10, []],
  ])('a cut to %i/%i leaves the starts %j', (epoch, at, left) => {
    const map = mapOf(dense.starts.map(start => [start.epoch, start.startOffset] as const));
    expect(map.cut(positionAt(epoch, at))).toBe(true);
    expect(map.starts.map(start => start.epoch)).toEqual(left);
    expect(map.latest).toBe(left.at(-1) ?? 0);
  });

  test('a base that moves up takes along what lies below, and keeps the starts at its own offset behind it', () => {
    const map = mapOf(dense.starts.map(start => [start.epoch, start.startOffset] as const));
    map.moveBase(positionAt(4, 20));
    expect(map.starts.map(start => start.epoch)).toEqual([5, 7]);
    expect(map.format()).toBe('0\n3\n4 20\n5 20\n7 30\n');
    expect(() => map.moveBase(positionAt(3, 20))).toThrow('does not go back');
  });

  test('writes Kafka’s checkpoint and reads it back, up to an epoch and from a base on', () => {
    expect(dense.format()).toBe('0\n4\n3 10\n4 20\n5 20\n7 30\n');
    expect(dense.format(4)).toBe('0\n2\n3 10\n4 20\n');
    expect(EpochMap.parse(dense.format())?.starts).toEqual(dense.starts);
    const later = EpochMap.parse(dense.format(), positionAt(5, 25));
    expect([later?.base, later?.starts.map(start => start.epoch)]).toEqual([positionAt(5, 25), [7]]);
    expect(EpochMap.parse(dense.format(), positionAt(4, 25))).toBeNull();
    expect(EpochMap.parse(dense.format(), positionAt(4, 20))?.starts.map(start => start.epoch)).toEqual([5, 7]);
    expect(EpochMap.parse(new EpochMap().format())?.starts).toEqual([]);
  });

  test.each([
    '',
    '0',
    '0\n1\n',
    '1\n0\n',
    '0\n1\n3 10',
    '0\n2\n3 10\n',
    '0\n2\n3 10\n3 20\n',
    '0\n2\n3 10\n4 9\n',
    '0\n1\nx 10\n',
    '0\n1\n3 -1\n',
  ])('is not read from %j', text => {
    expect(EpochMap.parse(text)).toBeNull();
  });
});
