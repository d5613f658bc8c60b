// The shape of a log: what it holds, where the last position before another one is, and what a notice of durability says.

import { offset } from '@sluice/protocol/ids';
import { describe, expect, test } from 'vitest';
import { AssertionFailure } from '../../server/base/assert.ts';
import { ORIGIN } from '../../server/base/position.ts';
import { LogShape } from '../../server/raft/log-shape.ts';
import { at } from './names.ts';

const start = (epoch: number, place: number) => ({ epoch: at(epoch, 0).epoch, startOffset: offset(place) });

/** Epoch 1 to 10, epoch 2 without data, epoch 4 from 10 to 25. */
const shape = () =>
  new LogShape({
    base: ORIGIN,
    starts: [start(1, 0), start(2, 10), start(4, 10)],
    endOffset: offset(25),
    logStart: offset(0),
    generation: 7,
  });

describe('what a log holds', () => {
  test.each([
    [0, 0, true, 'the beginning'],
    [1, 0, true, 'an epoch start'],
    [1, 10, true, 'the end of an epoch'],
    [2, 10, true, 'an epoch without data'],
    [4, 10, true, 'the start that stands at the same offset'],
    [4, 25, true, 'the end'],
    [1, 11, false, 'beyond the end of the epoch'],
    [2, 11, false, 'the same of one without data'],
    [3, 10, false, 'an epoch that is not there'],
    [4, 9, false, 'before the start of the epoch'],
    [4, 26, false, 'beyond the end'],
    [5, 25, false, 'an epoch to come'],
  ])('(%d, %d): %s, %s', (epoch, place, isHeld) => {
    expect(shape().holds(at(epoch, place))).toBe(isHeld);
  });

  test.each([
    [at(1, 12), at(1, 10)],
    [at(3, 99), at(2, 10)],
    [at(4, 9), at(2, 10)],
    [at(4, 40), at(4, 25)],
    [at(9, 0), at(4, 25)],
  ])('the last position not after %o is %o', (asked, floor) => {
    expect(shape().floor(asked)).toEqual(floor);
  });

  test('nothing is known below the base', () => {
    const moved = shape();
    moved.moveLogStart(offset(10));
    moved.moveBase(at(2, 10));
    expect(moved.floor(at(1, 10))).toBeNull();
    expect(moved.holds(at(2, 10))).toBe(true);
    expect(moved.starts).toEqual([start(4, 10)]);
  });
});

describe('a cut', () => {
  test('takes the starts after it, also those at the same offset', () => {
    const cut = shape();
    cut.cut(at(1, 10));
    expect([cut.end, cut.starts]).toEqual([at(1, 10), [start(1, 0)]]);
  });

  test('lowers what is durable', () => {
    const cut = shape();
    cut.cut(at(4, 12));
    expect(cut.durable).toEqual(at(4, 12));
  });

  test('to a place that is not in the log is a fault', () => {
    expect(() => shape().cut(at(3, 10))).toThrow(AssertionFailure);
    expect(() => shape().cut(at(4, 25))).toThrow(AssertionFailure);
  });
});

describe('a notice of durability', () => {
  test('counts in its own generation alone', () => {
    const log = shape();
    log.cut(at(4, 12));
    log.grow(at(4, 20));
    expect(log.noteDurable({ generation: 7, position: at(4, 20) })).toBe(false);
    expect(log.durable).toEqual(at(4, 12));
    expect(log.noteDurable({ generation: 8, position: at(4, 20) })).toBe(true);
  });

  test('never takes anything back', () => {
    const log = shape();
    expect(log.noteDurable({ generation: 7, position: at(1, 3) })).toBe(false);
    expect(log.durable).toEqual(at(4, 25));
  });

  test('of a snapshot that took the place of the log is one of the new generation', () => {
    const log = shape();
    log.install(at(6, 100));
    expect([log.end, log.durable]).toEqual([at(6, 100), at(4, 25)]);
    log.noteDurable({ generation: 8, position: at(6, 100) });
    expect(log.durable).toEqual(at(6, 100));
  });
});

test('a log grows within its epoch, and by starts of later ones', () => {
  const log = shape();
  log.grow(at(4, 30));
  log.growByStart(start(6, 30));
  expect(log.end).toEqual(at(6, 30));
  expect(() => log.grow(at(4, 31))).toThrow(AssertionFailure);
  expect(() => log.grow(at(6, 30))).toThrow(AssertionFailure);
  expect(() => log.growByStart(start(6, 30))).toThrow(AssertionFailure);
});
