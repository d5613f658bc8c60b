// What a follower does with an append: match, cut, append, acknowledge. Each case is one log against one request.

import { leaderEpoch, offset } from '@sluice/protocol/ids';
import { describe, expect, test } from 'vitest';
import { AssertionFailure } from '../../server/base/assert.ts';
import { ORIGIN, type Position } from '../../server/base/position.ts';
import { isWellFormed, judgeAppend } from '../../server/raft/append-request.ts';
import { LogShape } from '../../server/raft/log-shape.ts';
import type { Batch } from '../../server/raft/message.ts';
import { data, epochStart } from './lone.ts';
import { at, replica } from './names.ts';

/** Epochs with their starts, and the end of the last one. */
const log = (starts: readonly (readonly [number, number])[], end: number) =>
  new LogShape({
    base: ORIGIN,
    starts: starts.map(([epoch, place]) => ({ epoch: leaderEpoch(epoch), startOffset: offset(place) })),
    endOffset: offset(end),
    logStart: offset(0),
    generation: 1,
  });

const judge = (shape: LogShape, request: { prev: Position; batches: Batch[]; commit?: Position }) =>
  judgeAppend(request, shape, request.commit ?? ORIGIN);

describe('matching', () => {
  test('the request that starts at the very first offset matches an empty log', () => {
    const batches = [epochStart(1, 0), data(1, 0, 5)];
    const judged = judge(log([], 0), { prev: ORIGIN, batches });
    expect(judged).toEqual({ kind: 'matched', cutTo: null, batches, matched: at(1, 5) });
  });

  test('a position that the log does not hold is answered with the last own one before it', () => {
    const shape = log(
      [
        [1, 0],
        [3, 10],
      ],
      20,
    );
    expect(judge(shape, { prev: at(3, 30), batches: [] })).toEqual({ kind: 'rejected', hint: at(3, 20) });
    expect(judge(shape, { prev: at(2, 15), batches: [] })).toEqual({ kind: 'rejected', hint: at(1, 10) });
  });

  test('what is known to be committed matches without being looked for', () => {
    const shape = log(
      [
        [1, 0],
        [3, 10],
      ],
      20,
    );
    const judged = judge(shape, { prev: at(2, 10), batches: [], commit: at(3, 15) });
    expect(judged).toEqual({ kind: 'matched', cutTo: null, batches: [], matched: at(3, 15) });
  });

  test('a position inside a gap matches under the same epoch', () => {
    expect(judge(log([[1, 0]], 20), { prev: at(1, 13), batches: [] })).toMatchObject({ matched: at(1, 13) });
  });
});

describe('a gap that holds nothing', () => {
  const gap = (epoch: number, base: number, end: number): Batch => ({ ...data(epoch, base, end), kind: 'gap' });

  test('is taken from where the log ends, which may be within it', () => {
    const batches = [gap(1, 5, 30), data(1, 30, 32)];
    const judged = judge(log([[1, 0]], 20), { prev: at(1, 5), batches });
    expect(judged).toEqual({ kind: 'matched', cutTo: null, batches: [gap(1, 20, 30), batches[1]], matched: at(1, 32) });
  });

  test('that the log has in another form is skipped', () => {
    const judged = judge(log([[1, 0]], 40), { prev: at(1, 5), batches: [gap(1, 5, 30)] });
    expect(judged).toEqual({ kind: 'matched', cutTo: null, batches: [], matched: at(1, 30) });
  });

  test('is the only batch that the end of a log may lie in', () => {
    expect(() => judge(log([[1, 0]], 20), { prev: at(1, 5), batches: [data(1, 5, 30)] })).toThrow(AssertionFailure);
  });
});

describe('cutting', () => {
  test('a repeat cuts nothing, however far the log goes on', () => {
    const shape = log(
      [
        [1, 0],
        [2, 8],
      ],
      20,
    );
    const judged = judge(shape, { prev: at(1, 3), batches: [data(1, 3, 6)] });
    expect(judged).toEqual({ kind: 'matched', cutTo: null, batches: [], matched: at(1, 6) });
  });

  test('where the epochs part, at the smaller of both starts', () => {
    const own = log(
      [
        [1, 0],
        [2, 5],
      ],
      20,
    );
    const batches = [data(1, 5, 8), epochStart(3, 8), data(3, 8, 9)];
    expect(judge(own, { prev: at(1, 3), batches: [data(1, 3, 5), ...batches] })).toMatchObject({
      cutTo: at(1, 5),
      batches,
    });
    const longer = log([[1, 0]], 20);
    expect(judge(longer, { prev: at(1, 8), batches: batches.slice(1) })).toMatchObject({
      cutTo: at(1, 8),
      batches: batches.slice(1),
    });
  });

  test('an own epoch start at the very end of the log is a difference', () => {
    const batches = [data(1, 5, 8)];
    const judged = judge(
      log(
        [
          [1, 0],
          [2, 5],
        ],
        5,
      ),
      { prev: at(1, 5), batches },
    );
    expect(judged).toEqual({ kind: 'matched', cutTo: at(1, 5), batches, matched: at(1, 8) });
  });

  test('an own epoch start at the end of the request is none: what the leader has after it was not told', () => {
    const judged = judge(
      log(
        [
          [1, 0],
          [2, 5],
        ],
        9,
      ),
      { prev: at(1, 2), batches: [data(1, 2, 5)] },
    );
    expect(judged).toEqual({ kind: 'matched', cutTo: null, batches: [], matched: at(1, 5) });
  });

  test('of two starts at one offset the other one goes', () => {
    const batches = [epochStart(3, 5)];
    const judged = judge(
      log(
        [
          [1, 0],
          [2, 5],
        ],
        5,
      ),
      { prev: at(1, 5), batches },
    );
    expect(judged).toEqual({ kind: 'matched', cutTo: at(1, 5), batches, matched: at(3, 5) });
  });

  test('starts that both have are passed, also several at one offset', () => {
    const batches = [epochStart(2, 5), epochStart(3, 5), data(3, 5, 9)];
    const judged = judge(
      log(
        [
          [1, 0],
          [2, 5],
          [3, 5],
        ],
        7,
      ),
      { prev: at(1, 5), batches: [...batches.slice(0, 2), data(3, 7, 9)] },
    );
    expect(judged).toEqual({ kind: 'matched', cutTo: null, batches: [data(3, 7, 9)], matched: at(3, 9) });
  });

  test('a point inside a gap of the request counts', () => {
    // The leader compacted 3 to 9; epoch 2 begins here at 6, where it has nothing but epoch 1.
    const batches = [data(1, 9, 12)];
    const judged = judge(
      log(
        [
          [1, 0],
          [2, 6],
        ],
        8,
      ),
      { prev: at(1, 3), batches },
    );
    expect(judged).toEqual({ kind: 'matched', cutTo: at(1, 6), batches, matched: at(1, 12) });
  });

  test('what lies in a gap of the request under the same epoch stays', () => {
    const judged = judge(log([[1, 0]], 7), { prev: at(1, 3), batches: [data(1, 9, 12)] });
    expect(judged).toEqual({ kind: 'matched', cutTo: null, batches: [data(1, 9, 12)], matched: at(1, 12) });
  });

  test('what is settled is not compared: a compacted leader below the commit point cuts nothing', () => {
    const shape = log(
      [
        [1, 0],
        [2, 6],
        [3, 8],
      ],
      8,
    );
    const judged = judge(shape, {
      prev: at(1, 3),
      batches: [epochStart(2, 6), epochStart(3, 8), data(3, 8, 9)],
      commit: at(3, 8),
    });
    expect(judged).toEqual({ kind: 'matched', cutTo: null, batches: [data(3, 8, 9)], matched: at(3, 9) });
  });
});

describe('appending', () => {
  test('what is held under the same epoch is skipped', () => {
    const judged = judge(log([[1, 0]], 5), { prev: at(1, 0), batches: [data(1, 0, 3), data(1, 3, 5), data(1, 5, 6)] });
    expect(judged).toMatchObject({ batches: [data(1, 5, 6)], matched: at(1, 6) });
  });

  test('a log that ends inside a batch of the leader is a fault', () => {
    expect(() => judge(log([[1, 0]], 5), { prev: at(1, 0), batches: [data(1, 3, 8)] })).toThrow(AssertionFailure);
  });
});

describe('a request that cannot be a part of a log', () => {
  const request = (prev: Position, ...batches: Batch[]) => ({
    kind: 'append' as const,
    from: replica(2),
    to: replica(1),
    term: leaderEpoch(4),
    recovery: 0,
    prev,
    batches,
    commit: ORIGIN,
    logStart: offset(0),
  });

  test.each([
    ['an epoch without its start', request(at(1, 3), data(2, 3, 4))],
    ['a start of an epoch that is there', request(at(1, 3), epochStart(1, 3))],
    ['an epoch above the term', request(at(1, 3), epochStart(5, 3))],
    ['a batch below the one before', request(at(1, 3), data(1, 2, 4))],
    ['a batch without offsets', request(at(1, 3), data(1, 3, 3))],
    ['a start that spans offsets', request(at(1, 3), { ...epochStart(2, 3), endOffset: offset(4) })],
  ])('%s', (_, one) => {
    expect(isWellFormed(one)).toBe(false);
  });

  test('and one that can', () => {
    expect(isWellFormed(request(at(1, 3), data(1, 5, 6), epochStart(2, 6), epochStart(4, 6), data(4, 6, 9)))).toBe(
      true,
    );
  });
});
