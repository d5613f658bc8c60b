// Majorities. The cases of etcd-io/raft judge the same where they are at hand (test/outside); these stand alone.

import { describe, expect, test } from 'vitest';
import { jointPosition, jointVote, majorityPosition, majorityVote } from '../../server/raft/quorum.ts';
import { at, replica } from './names.ts';

const set = (...ids: number[]) => new Set(ids.map(replica));
const votes = (yes: number[], no: number[] = []) =>
  new Map([...yes.map(id => [replica(id), true] as const), ...no.map(id => [replica(id), false] as const)]);
const known = (positions: Record<number, number>) => (id: ReturnType<typeof replica>) => {
  const offset = positions[Number(id.slice(0, id.indexOf('/')))];
  return offset === undefined ? null : at(1, offset);
};

describe('a vote', () => {
  test('is won with more than half, and not with half', () => {
    expect(majorityVote(set(1, 2, 3), votes([1, 2]))).toBe('won');
    expect(majorityVote(set(1, 2, 3, 4), votes([1, 2]))).toBe('pending');
    expect(majorityVote(set(1, 2, 3, 4), votes([1, 2], [3, 4]))).toBe('lost');
  });

  test('is lost as soon as it cannot be won', () => {
    expect(majorityVote(set(1, 2, 3), votes([], [1]))).toBe('pending');
    expect(majorityVote(set(1, 2, 3), votes([], [1, 2]))).toBe('lost');
  });

  test('counts nobody who is no voter', () => {
    expect(majorityVote(set(1, 2, 3), votes([1, 4, 5]))).toBe('pending');
  });

  test('needs both sets while a change is under way', () => {
    const sets = { voters: set(1, 2, 3), outgoing: set(3, 4, 5) };
    expect(jointVote(sets, votes([1, 2, 3]))).toBe('pending');
    expect(jointVote(sets, votes([1, 2, 3, 4]))).toBe('won');
    expect(jointVote(sets, votes([1, 2, 3], [4, 5]))).toBe('lost');
  });
});

describe('a position', () => {
  test('is agreed when more than half are at or beyond it', () => {
    expect(majorityPosition(set(1, 2, 3), known({ 1: 9, 2: 7, 3: 5 }))).toEqual(at(1, 7));
    expect(majorityPosition(set(1, 2, 3, 4), known({ 1: 9, 2: 7, 3: 5, 4: 3 }))).toEqual(at(1, 5));
  });

  test('is not agreed while a majority is silent', () => {
    expect(majorityPosition(set(1, 2, 3), known({ 1: 9 }))).toBeNull();
  });

  test('is the earlier of both sets while a change is under way', () => {
    const sets = { voters: set(1, 2, 3), outgoing: set(3, 4, 5) };
    expect(jointPosition(sets, known({ 1: 9, 2: 9, 3: 9, 4: 2, 5: 1 }))).toEqual(at(1, 2));
    expect(jointPosition(sets, known({ 1: 9, 2: 9, 3: 9 }))).toBeNull();
  });
});
