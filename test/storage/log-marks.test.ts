// Marks that no broker writes: the store's checksum fits, and what it says cannot be.

import { offset } from '@sluice/protocol/ids';
import { expect, test } from 'vitest';
import { StartRefusal } from '../../server/base/start-refusal.ts';
import { MarksView } from '../../server/storage/log-marks.ts';
import type { StoreValue } from '../../server/storage/node-store.ts';

const point = {
  generation: 1,
  leaderEpoch: 0,
  endOffset: 5,
  segment: 0,
  position: 100,
  crc: 7,
  latestTimestamp: 9,
  latestOffset: 4,
  firstTimestamp: 1,
  epochsCrc: 3,
  epochsBehind: [{ epoch: 0, startOffset: 4 }],
  producersFrom: 3,
};

const marksOf = (values: Readonly<Record<string, StoreValue>>): MarksView =>
  new MarksView({ get: key => values[key] ?? null }, 'k');

test('a sync point is read as it was written', () => {
  expect(marksOf({ 'sync/k': point }).syncPoint()).toEqual(point);
});

test('a sync point of a build that knew no producers says that there are none below it', () => {
  const { producersFrom, ...former } = point;
  expect(marksOf({ 'sync/k': former }).syncPoint()).toEqual({ ...point, producersFrom: 5 });
  expect(producersFrom).toBe(3);
});

test.each([
  ['position', -1],
  ['position', 0.5],
  ['endOffset', 1e300],
  ['crc', 'x'],
  ['generation', undefined],
])('%s of %s in a sync point refuses the start', (field, value) => {
  const marks = marksOf({ 'sync/k': { ...point, [field]: value } });
  expect(() => marks.syncPoint()).toThrow(StartRefusal);
  expect(() => marks.syncPoint()).toThrow(`holds an entry with a wrong "${field}"`);
});

test('so does a log start that is no offset, and the length of a sealed segment', () => {
  expect(() => marksOf({ 'start/k': { offset: -1 } }).logStart()).toThrow(StartRefusal);
  const sealed = { endOffset: 5, byteLength: -1, crc: 1, latestTimestamp: 1, latestOffset: 1 };
  expect(() => marksOf({ 'sealed/k/0': sealed }).sealed(offset(0))).toThrow(StartRefusal);
});
