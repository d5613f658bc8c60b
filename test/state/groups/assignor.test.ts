// Targets: everybody gets something sensible, and keeps what it has.

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { TopicId } from '@sluice/protocol/ids';
import {
  type Assignment,
  type Assignor,
  type AssignorRequest,
  rangeAssignor,
  roundRobinAssignor,
} from '../../../server/state/groups/assignor.ts';
import { countOf, pairsOf, type PartitionSet } from '../../../server/state/groups/partition-set.ts';
import { uniformAssignor } from '../../../server/state/groups/uniform-assignor.ts';
import { topicIdOf } from '../cluster/cluster-world.ts';

const assignors: Record<string, Assignor> = {
  range: rangeAssignor,
  'round-robin': roundRobinAssignor,
  uniform: uniformAssignor,
};

interface Shape {
  readonly counts: readonly number[];
  /** For each member, which topics (by index). */
  readonly subscriptions: readonly (readonly number[])[];
}

const anyShape = (maxMembers = 12): fc.Arbitrary<Shape> =>
  fc
    .array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 6 })
    .chain(counts =>
      fc
        .array(fc.subarray(Array.from(counts.keys())), { minLength: 1, maxLength: maxMembers })
        .map(subscriptions => ({ counts, subscriptions })),
    );

const equalShape = fc
  .tuple(fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 6 }), fc.integer({ min: 1, max: 20 }))
  .map(
    ([counts, members]): Shape => ({
      counts,
      subscriptions: Array.from({ length: members }, () => Array.from(counts.keys())),
    }),
  );

const requestOf = ({ counts, subscriptions }: Shape, previous?: Assignment): AssignorRequest => {
  const wanted = new Set(subscriptions.flat());
  return {
    // Topics that nobody wants are not in a request.
    topics: counts
      .map((partitionCount, index) => ({ index, topicId: topicIdOf(index + 1), partitionCount }))
      .filter(({ index }) => wanted.has(index)),
    members: subscriptions.map((topics, index) => ({
      memberId: `m${index}`,
      topics: new Set(topics.map(topic => topicIdOf(topic + 1))),
      previous: previous?.get(`m${index}`) ?? new Map(),
    })),
  };
};

const expectWhole = (request: AssignorRequest, assignment: Assignment): void => {
  const seen = new Set<string>();
  for (const member of request.members) {
    const set = assignment.get(member.memberId);
    expect(set).toBeDefined();
    for (const [topicId, partitions] of set!) {
      expect(member.topics.has(topicId)).toBe(true);
      expect(partitions).toEqual([...partitions].sort((a, b) => a - b));
      for (const partition of partitions) {
        expect(seen.has(`${topicId}/${partition}`)).toBe(false);
        seen.add(`${topicId}/${partition}`);
      }
    }
  }
  let total = 0;
  for (const { topicId, partitionCount } of request.topics) {
    if (request.members.some(member => member.topics.has(topicId))) total += partitionCount;
  }
  expect(seen.size).toBe(total);
};

const spread = (sizes: readonly number[]): number => Math.max(...sizes) - Math.min(...sizes);

const movesBetween = (before: Assignment, after: Assignment): number => {
  const owner = new Map<string, string>();
  for (const [memberId, set] of before)
    for (const [topicId, partition] of pairsOf(set)) owner.set(`${topicId}/${partition}`, memberId);
  let moves = 0;
  for (const [memberId, set] of after) {
    for (const [topicId, partition] of pairsOf(set)) if (owner.get(`${topicId}/${partition}`) !== memberId) moves++;
  }
  return moves;
};

const key = (topics: ReadonlySet<TopicId>): string => Array.from(topics).sort().join();

describe.each(Object.entries(assignors))('%s', (_, assign) => {
  test('gives every partition to one member that wants it, and the same each time', () => {
    fc.assert(
      fc.property(anyShape(), shape => {
        const request = requestOf(shape);
        const assignment = assign(request);
        expectWhole(request, assignment);
        expect(assign(requestOf(shape))).toEqual(assignment);
      }),
    );
  });

  test('of no members gives nothing', () => {
    expect(assign({ members: [], topics: [] })).toEqual(new Map());
  });
});

test('range gives runs, topic by topic, the first members one more', () => {
  const assignment = rangeAssignor(
    requestOf({
      counts: [5, 3],
      subscriptions: [
        [0, 1],
        [0, 1],
      ],
    }),
  );
  expect(assignment.get('m0')).toEqual(
    new Map([
      [topicIdOf(1), [0, 1, 2]],
      [topicIdOf(2), [0, 1]],
    ]),
  );
  expect(assignment.get('m1')).toEqual(
    new Map([
      [topicIdOf(1), [3, 4]],
      [topicIdOf(2), [2]],
    ]),
  );
});

test('round-robin goes on with the next member at the next topic', () => {
  const assignment = roundRobinAssignor(
    requestOf({
      counts: [3, 3],
      subscriptions: [
        [0, 1],
        [0, 1],
      ],
    }),
  );
  expect(assignment.get('m0')).toEqual(
    new Map([
      [topicIdOf(1), [0, 2]],
      [topicIdOf(2), [1]],
    ]),
  );
});

describe('range and round-robin are even', () => {
  test('range in every topic', () => {
    fc.assert(
      fc.property(equalShape, shape => {
        const assignment = rangeAssignor(requestOf(shape));
        for (const index of shape.counts.keys()) {
          const sizes = Array.from(assignment.values(), set => set.get(topicIdOf(index + 1))?.length ?? 0);
          expect(spread(sizes)).toBeLessThanOrEqual(1);
        }
      }),
    );
  });

  test('round-robin over all topics, where subscriptions are equal', () => {
    fc.assert(
      fc.property(equalShape, shape => {
        expect(spread(Array.from(roundRobinAssignor(requestOf(shape)).values(), countOf))).toBeLessThanOrEqual(1);
      }),
    );
  });
});

describe('uniform', () => {
  const sizesOf = (assignment: Assignment): readonly number[] => Array.from(assignment.values(), countOf);

  /** The fewest that have to move so that sizes differ by at most one, given how many each has that still counts. */
  const fewestMoves = (held: readonly number[], total: number): number => {
    const share = Math.floor(total / held.length);
    const extras = total % held.length;
    const sorted = [...held].sort((a, b) => b - a);
    const kept = sorted.reduce((sum, count, index) => sum + Math.min(count, share + (index < extras ? 1 : 0)), 0);
    return total - kept;
  };

  test('differs by at most one where subscriptions are equal, whatever was before', () => {
    fc.assert(
      fc.property(anyShape(), anyShape(), (before, shape) => {
        const request = requestOf(shape, uniformAssignor(requestOf(before)));
        const assignment = uniformAssignor(request);
        expectWhole(request, assignment);
        const classes = new Map<string, number[]>();
        for (const { memberId, topics } of request.members) {
          const sizes = classes.get(key(topics)) ?? [];
          sizes.push(countOf(assignment.get(memberId)!));
          classes.set(key(topics), sizes);
        }
        for (const sizes of classes.values()) expect(spread(sizes)).toBeLessThanOrEqual(1);
      }),
    );
  });

  test('leaves no member with two more than another that could have one of them', () => {
    fc.assert(
      fc.property(anyShape(), shape => {
        const request = requestOf(shape);
        const assignment = uniformAssignor(request);
        for (const from of request.members) {
          for (const topicId of assignment.get(from.memberId)!.keys()) {
            for (const to of request.members) {
              if (!to.topics.has(topicId)) continue;
              const [more, less] = [countOf(assignment.get(from.memberId)!), countOf(assignment.get(to.memberId)!)];
              expect(more - less).toBeLessThanOrEqual(1);
            }
          }
        }
      }),
    );
  });

  test('moves nothing when nothing changed', () => {
    fc.assert(
      fc.property(anyShape(), shape => {
        const assignment = uniformAssignor(requestOf(shape));
        expect(uniformAssignor(requestOf(shape, assignment))).toEqual(assignment);
      }),
    );
  });

  test('moves as few as can be where subscriptions are equal: members come and go, topics grow', () => {
    fc.assert(
      fc.property(equalShape, equalShape, (before, after) => {
        const former = uniformAssignor(requestOf(before));
        const request = requestOf(after, former);
        const assignment = uniformAssignor(request);
        expect(spread(sizesOf(assignment))).toBeLessThanOrEqual(1);
        const total = after.counts.reduce((sum, count) => sum + count, 0);
        const isThere = (set: PartitionSet): number =>
          Array.from(pairsOf(set)).filter(([topicId, partition]) =>
            request.topics.some(topic => topic.topicId === topicId && partition < topic.partitionCount),
          ).length;
        const held = request.members.map(member => isThere(member.previous));
        expect(movesBetween(former, assignment)).toBe(fewestMoves(held, total));
      }),
    );
  });
});
