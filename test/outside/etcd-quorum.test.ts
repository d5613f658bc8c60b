// What a majority decides, judged by the cases of etcd-io/raft: votes and committed positions, of one set and of two.

import { describe, expect, test } from 'vitest';
import { isSame, type Position } from '../../server/base/position.ts';
import { jointPosition, jointVote, majorityPosition, majorityVote } from '../../server/raft/quorum.ts';
import type { ReplicaId } from '../../server/raft/replica-id.ts';
import { at, replica } from '../raft/names.ts';
import { casesOf, etcdDataMissing, type EtcdCase, valuesOf } from './etcd-cases.ts';
import { skipLoudly } from './tool.ts';

const missing = etcdDataMissing();
if (missing !== null) skipLoudly('etcd-raft, quorums', missing);
const cases = missing === null ? casesOf('quorum') : [];

const CASES = 127;

const replicasOf = (names: readonly string[] | null): ReplicaId[] =>
  (names ?? []).filter(name => name !== 'zero').map(name => replica(Number(name)));

/** The i-th value belongs to the i-th replica of both sets, each named once, in the order of the case. */
function valuesByReplica<T>(one: EtcdCase, name: string, valueOf: (text: string) => T | null): Map<ReplicaId, T> {
  const order = [...new Set([...replicasOf(valuesOf(one, 'cfg')), ...replicasOf(valuesOf(one, 'cfgj'))])];
  const found = new Map<ReplicaId, T>();
  for (const [index, text] of (valuesOf(one, name) ?? []).entries()) {
    const value = valueOf(text);
    const id = order[index];
    if (value !== null && id !== undefined) found.set(id, value);
  }
  return found;
}

const answerTo = (one: EtcdCase): string => {
  const voters = new Set(replicasOf(valuesOf(one, 'cfg')));
  const outgoing = new Set(replicasOf(valuesOf(one, 'cfgj')));
  const hasHalves = valuesOf(one, 'cfgj') !== null;
  if (one.command === 'vote') {
    const votes = valuesByReplica(one, 'votes', text => (text === '_' ? null : text === 'y'));
    const result = hasHalves ? jointVote({ voters, outgoing }, votes) : majorityVote(voters, votes);
    // Either way must say the same when one half is empty, and the order of the halves is none of its business.
    if (!hasHalves) expect(jointVote({ voters, outgoing }, votes)).toBe(result);
    expect(jointVote({ voters: outgoing, outgoing: voters }, votes)).toBe(result);
    return { won: 'VoteWon', lost: 'VoteLost', pending: 'VotePending' }[result];
  }
  const known = valuesByReplica(one, 'idx', text => (text === '_' ? null : at(1, Number(text))));
  const acknowledged = (voter: ReplicaId): Position | null => known.get(voter) ?? null;
  const result = hasHalves ? jointPosition({ voters, outgoing }, acknowledged) : majorityPosition(voters, acknowledged);
  const swapped = jointPosition({ voters: outgoing, outgoing: voters }, acknowledged);
  if (result === null || result === 'everything') expect(swapped).toBe(result);
  else expect(swapped !== null && swapped !== 'everything' && isSame(swapped, result)).toBe(true);
  if (result === 'everything') return '∞';
  return String(result?.offset ?? 0);
};

describe.skipIf(missing !== null)('quorums of etcd-raft', () => {
  test('are all there', () => {
    expect(cases).toHaveLength(CASES);
  });

  test.each(cases.map(one => [`${one.file}:${one.line}`, one] as const))('%s', (_, one) => {
    // A drawing may precede the verdict, and the verdict of the empty set follows its name without a break.
    const verdict = /(?:Vote\w+|∞|\d+)$/.exec(one.expected)?.[0];
    expect(answerTo(one)).toBe(verdict);
  });
});
