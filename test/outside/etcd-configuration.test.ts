// From one membership to the next, judged by the cases of etcd-io/raft. A file is one life: each case begins where the one
// before ended. `next` in their progress lines is the number of the case in which a replica became a member, which shows
// whether a change kept what the leader knew of it.

import { describe, expect, test } from 'vitest';
import { type ChangeRefusal, type ChangeStep, changed } from '../../server/raft/configuration-change.ts';
import { type Configuration, configurationOf, isJoint, membersOf } from '../../server/raft/configuration.ts';
import type { ReplicaId } from '../../server/raft/replica-id.ts';
import { numberOf, replica } from '../raft/names.ts';
import { casesOf, etcdDataMissing, type EtcdCase, valuesOf } from './etcd-cases.ts';
import { skipLoudly } from './tool.ts';

const missing = etcdDataMissing();
if (missing !== null) skipLoudly('etcd-raft, membership', missing);
const cases = missing === null ? casesOf('confchange') : [];

const CASES = 58;

const refusals = {
  'already-joint': {
    simple: "can't apply simple config change in joint config",
    'enter-joint': 'config is already joint',
  },
  'not-joint': { 'leave-joint': "can't leave a non-joint config" },
  'no-voters-before': { 'enter-joint': "can't make a zero-voter config joint" },
  'no-voters-left': { simple: 'removed all voters', 'enter-joint': 'removed all voters' },
  'several-voters': { simple: 'more than one voter changed without entering joint config' },
} as const satisfies Record<ChangeRefusal, Record<string, string>>;

const kinds: Readonly<Record<string, ChangeStep['kind']>> = { v: 'add-voter', l: 'add-learner', r: 'remove' };

/** `u` announces news that is none of the core's, and nobody is replica 0; etcd ignores both, and here neither can be said. */
const stepsOf = (one: EtcdCase): ChangeStep[] =>
  one.input
    .flatMap(line => line.split(/\s+/))
    .filter(word => kinds[word[0] ?? ''] !== undefined && Number(word.slice(1)) > 0)
    .map(word => ({ kind: kinds[word[0] ?? '']!, replica: replica(Number(word.slice(1))) }));

interface Life {
  configuration: Configuration;
  /** Since which case each member is one. */
  since: Map<ReplicaId, number>;
}

function carryOut(life: Life, one: EtcdCase, step: number): string {
  const change =
    one.command === 'leave-joint'
      ? ({ kind: 'leave-joint' } as const)
      : one.command === 'simple'
        ? ({ kind: 'simple', steps: stepsOf(one) } as const)
        : ({
            kind: 'enter-joint',
            steps: stepsOf(one),
            autoLeave: valuesOf(one, 'autoleave')?.[0] === 'true',
          } as const);
  const next = changed(life.configuration, change);
  if (!next.ok) {
    const texts: Readonly<Record<string, string>> = refusals[next.refusal];
    return texts[change.kind] ?? next.refusal;
  }
  const members = membersOf(next.configuration);
  life.since = new Map([...members].map(id => [id, life.since.get(id) ?? step]));
  life.configuration = next.configuration;
  return told(life);
}

const listed = (ids: ReadonlySet<ReplicaId>): string => `(${inOrder(ids).map(numberOf).join(' ')})`;
const inOrder = (ids: Iterable<ReplicaId>): ReplicaId[] => [...ids].sort((a, b) => numberOf(a) - numberOf(b));

function told({ configuration, since }: Life): string {
  const head = [
    `voters=${listed(configuration.voters)}${isJoint(configuration) ? `&&${listed(configuration.outgoing)}` : ''}`,
    ...(configuration.learners.size > 0 ? [`learners=${listed(configuration.learners)}`] : []),
    ...(configuration.learnersNext.size > 0 ? [`learners_next=${listed(configuration.learnersNext)}`] : []),
    ...(configuration.autoLeave ? ['autoleave'] : []),
  ].join(' ');
  const lines = inOrder(since.keys()).map(id => {
    const isLearner = configuration.learners.has(id);
    // Theirs starts at one below the number of the case, and never at nothing.
    const next = Math.max(since.get(id) ?? 0, 1);
    return `${numberOf(id)}: StateProbe match=0 next=${next}${isLearner ? ' learner' : ''}`;
  });
  return [head, ...lines].join('\n');
}

describe.skipIf(missing !== null)('membership changes of etcd-raft', () => {
  test('are all there', () => {
    expect(cases).toHaveLength(CASES);
  });

  const files = Map.groupBy(cases, one => one.file);
  test.each([...files.keys()])('%s', file => {
    const life: Life = { configuration: configurationOf([]), since: new Map() };
    for (const [step, one] of (files.get(file) ?? []).entries()) {
      expect(carryOut(life, one, step), `${file}:${one.line}`).toBe(one.expected);
    }
  });
});
