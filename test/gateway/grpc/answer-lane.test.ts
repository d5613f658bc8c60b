// Order of submission and of answers within one partition, whatever settles first.

import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { AnswerLane } from '../../../server/gateway/grpc/answer-lane.ts';

test('answers leave in the order of requests, whatever the order in which they settle', () => {
  fc.assert(
    fc.property(fc.shuffledSubarray([0, 1, 2, 3, 4, 5, 6, 7], { minLength: 8 }), order => {
      const sent: number[] = [];
      const lane = new AnswerLane<number>(answer => sent.push(answer));
      const settle = Array.from({ length: 8 }, () => lane.enter());
      for (const index of order) settle[index]?.(index);
      expect(sent).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
      expect(lane.isEmpty).toBe(true);
    }),
  );
});

test('an answer leaves as soon as nothing before it is open', () => {
  const sent: string[] = [];
  const lane = new AnswerLane<string>(answer => sent.push(answer));
  const first = lane.enter();
  const second = lane.enter();
  second('second');
  expect(sent).toEqual([]);
  first('first');
  expect(sent).toEqual(['first', 'second']);
});

test('a request without an answer holds its place and then says nothing', () => {
  const sent: string[] = [];
  const lane = new AnswerLane<string>(answer => sent.push(answer));
  const silent = lane.enter();
  const next = lane.enter();
  next('next');
  expect(sent).toEqual([]);
  silent(null);
  expect(sent).toEqual(['next']);
});

test('what is being prepared is submitted before what came after it', async () => {
  const submitted: string[] = [];
  const lane = new AnswerLane<string>(() => {});
  const prepared = Promise.withResolvers<void>();
  lane.inOrder(() => prepared.promise.then(() => void submitted.push('slow')));
  lane.inOrder(() => void submitted.push('quick'));
  const last = new Promise<void>(resolve => {
    lane.inOrder(() => {
      submitted.push('last');
      resolve();
      return undefined;
    });
  });
  expect(submitted).toEqual([]);
  prepared.resolve();
  await last;
  expect(submitted).toEqual(['slow', 'quick', 'last']);
});

test('nothing waits when nothing is being prepared', () => {
  const submitted: string[] = [];
  const lane = new AnswerLane<string>(() => {});
  lane.inOrder(() => void submitted.push('at once'));
  expect(submitted).toEqual(['at once']);
});

test('a request cannot be answered twice', () => {
  const lane = new AnswerLane<string>(() => {});
  const settle = lane.enter();
  lane.enter();
  settle('once');
  expect(() => settle('twice')).toThrow('a request is answered once');
});
