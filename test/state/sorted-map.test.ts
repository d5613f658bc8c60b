// The map that is never changed, against a plain Map that is.

import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { SortedMap } from '../../server/state/sorted-map.ts';

type Step = { readonly key: number; readonly value: number | null };

const steps = (keyMax: number): fc.Arbitrary<Step[]> =>
  fc.array(fc.record({ key: fc.nat(keyMax), value: fc.option(fc.nat(3), { freq: 2 }) }), {
    maxLength: 600,
    size: 'max',
  });

const taken = (map: SortedMap<number, number>, list: readonly Step[]): SortedMap<number, number> => {
  let next = map;
  for (const { key, value } of list) next = value === null ? next.without(key) : next.with(key, value);
  return next;
};

const modelOf = (list: readonly Step[]): Map<number, number> => {
  const model = new Map<number, number>();
  for (const { key, value } of list) {
    if (value === null) model.delete(key);
    else model.set(key, value);
  }
  return model;
};

const sorted = (model: ReadonlyMap<number, number>): [number, number][] => [...model].sort(([a], [b]) => a - b);

test('holds what a Map holds, in the order of keys', () => {
  fc.assert(
    fc.property(steps(300), fc.nat(300), (list, from) => {
      const map = taken(SortedMap.empty(), list);
      const model = modelOf(list);
      expect([...map.entries()]).toEqual(sorted(model));
      expect([...map.keys()]).toEqual(sorted(model).map(([key]) => key));
      expect([...map.values()]).toEqual(sorted(model).map(([, value]) => value));
      expect([...map.entriesFrom(from)]).toEqual(sorted(model).filter(([key]) => key >= from));
      expect(map.size).toBe(model.size);
      const all = Array.from({ length: 301 }, (_, key) => key);
      expect(all.map(key => map.get(key))).toEqual(all.map(key => model.get(key)));
      expect(all.map(key => map.has(key))).toEqual(all.map(key => model.has(key)));
    }),
    { numRuns: 50 },
  );
});

test('is emptied in any order, and filled again', () => {
  const keys = Array.from({ length: 300 }, (_, key) => key);
  fc.assert(
    fc.property(fc.oneof(fc.constant(keys), fc.shuffledSubarray(keys, { minLength: 250 })), removed => {
      let map = SortedMap.empty<number, number>();
      for (const key of keys) map = map.with(key, key);
      for (const key of removed) map = map.without(key);
      const left = keys.filter(key => !removed.includes(key)).map(key => [key, key]);
      expect([...map.entries()]).toEqual(left);
      expect([...map.differences(SortedMap.empty())].map(({ key }) => key)).toEqual(left.map(([key]) => key));
      for (const key of removed) map = map.with(key, key);
      expect([...map.keys()]).toEqual(keys);
    }),
    { numRuns: 30 },
  );
});

test('an older version stays as it was', () => {
  fc.assert(
    fc.property(steps(300), steps(300), (first, second) => {
      const map = taken(SortedMap.empty(), first);
      const before = [...map.entries()];
      taken(map, second);
      expect([...map.entries()]).toEqual(before);
    }),
    { numRuns: 50 },
  );
});

test('differences are what a comparison of everything finds', () => {
  fc.assert(
    fc.property(steps(300), steps(300), (first, second) => {
      const before = taken(SortedMap.empty(), first);
      const after = taken(before, second);
      const expected = [];
      for (let key = 0; key <= 300; key++) {
        if (before.get(key) !== after.get(key)) expected.push({ key, before: before.get(key), after: after.get(key) });
      }
      expect([...before.differences(after)]).toEqual(expected);
    }),
    { numRuns: 100 },
  );
});

test('what two versions share is not looked at', () => {
  // NaN is unequal to itself: an entry that is compared is reported, although nothing changed.
  let map = SortedMap.empty<number, number>();
  for (let key = 0; key < 20_000; key++) map = map.with(key, Number.NaN);
  const changes = [...map.differences(map.with(777, 1).without(12_345))];
  expect(changes.map(change => change.key)).toEqual(expect.arrayContaining([777, 12_345]));
  expect(changes.length).toBeLessThanOrEqual(2 * 64);
});

test('names are in the order in which sort() puts them', () => {
  const names = ['b', 'a', 'B', 'a-b', 'a.b', 'a_b', 'aa', '__x', '0', '10', '9'];
  let map = SortedMap.empty<string, null>();
  for (const name of names) map = map.with(name, null);
  expect([...map.keys()]).toEqual(names.toSorted());
});
