// Where replicas go: spread over racks, evenly over brokers, the same every time.

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { nodeId } from '@sluice/protocol/ids';
import { placePartitions } from '../../../server/state/cluster/placement.ts';
import { drainBroker } from '../../../server/state/cluster/registration.ts';
import { ClusterWorld } from './cluster-world.ts';

const place = (world: ClusterWorld, partitionCount: number, replicationFactor: number): number[][] => {
  const placed = placePartitions(world.image, { partitionCount, replicationFactor });
  if (!placed.ok) expect.fail(placed.problem.detail);
  return placed.value.map(partition => partition.replicas.map(replica => replica.nodeId));
};

const racked = (racks: readonly string[]): ClusterWorld =>
  ClusterWorld.of(racks.map((rack, index) => ({ node: index + 1, rack })));

const counts = (nodes: readonly number[], among: number): number[] =>
  Array.from({ length: among }, (_, index) => nodes.filter(node => node === index + 1).length);

const spread = (list: readonly number[]): number => Math.max(...list) - Math.min(...list);

/** Racks of equal size, the brokers of one not next to each other. */
const equalRacks = fc
  .record({ racks: fc.integer({ min: 1, max: 5 }), size: fc.integer({ min: 1, max: 4 }) })
  .map(({ racks, size }) => Array.from({ length: racks * size }, (_, index) => `rack-${index % racks}`));

const anyRacks = fc.array(fc.constantFrom('', 'a', 'b', 'c'), { minLength: 1, maxLength: 9 });

describe('placement', () => {
  test('is written out for a small cluster', () => {
    expect(place(racked(['a', 'b', 'a', 'b']), 4, 2)).toEqual([
      [1, 2],
      [3, 4],
      [2, 1],
      [4, 3],
    ]);
    expect(place(ClusterWorld.ofCount(3), 4, 2)).toEqual([
      [1, 2],
      [2, 3],
      [3, 1],
      [1, 2],
    ]);
  });

  test('never puts two replicas of a partition on one broker, and uses as many racks as there can be', () => {
    fc.assert(
      fc.property(anyRacks, fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 30 }), (racks, asked, count) => {
        const factor = Math.min(asked, racks.length);
        for (const replicas of place(racked(racks), count, factor)) {
          expect(new Set(replicas).size).toBe(factor);
          const used = new Set(replicas.map(node => racks[node - 1]));
          expect(used.size).toBe(Math.min(factor, new Set(racks).size));
        }
      }),
    );
  });

  test('loads brokers of equal racks evenly, in replicas and in preferred leaders', () => {
    fc.assert(
      fc.property(
        equalRacks,
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 1, max: 60 }),
        (racks, asked, count) => {
          const rackCount = new Set(racks).size;
          const factor = Math.min(asked, rackCount === 1 ? racks.length : rackCount);
          const placed = place(racked(racks), count, factor);
          expect(spread(counts(placed.flat(), racks.length))).toBeLessThanOrEqual(1);
          expect(
            spread(
              counts(
                placed.map(([first]) => first!),
                racks.length,
              ),
            ),
          ).toBeLessThanOrEqual(2);
        },
      ),
    );
  });

  test('evens preferred leaders at the end, where choosing them one by one leaves some with four more than others', () => {
    const racks = Array.from({ length: 20 }, (_, index) => `rack-${(index + 1) % 5}`);
    const placed = place(racked(racks), 60, 2);
    expect(
      spread(
        counts(
          placed.map(([first]) => first!),
          racks.length,
        ),
      ),
    ).toBeLessThanOrEqual(2);
  });

  test('stays even over many topics, made one after another', () => {
    fc.assert(
      fc.property(equalRacks, fc.array(fc.integer({ min: 1, max: 7 }), { maxLength: 20 }), (racks, topics) => {
        const world = racked(racks);
        for (const [index, partitions] of topics.entries()) world.topic(`t${index}`, { partitions });
        const loads = [...world.image.loads.values()];
        expect(spread(loads.map(load => load.replicas))).toBeLessThanOrEqual(1);
        expect(spread(loads.map(load => load.preferred))).toBeLessThanOrEqual(1);
      }),
    );
  });

  test('fills a broker that came later first', () => {
    const world = ClusterWorld.ofCount(2);
    world.topic('t', { partitions: 4, factor: 2 });
    world.join(3);
    expect(place(world, 4, 1)).toEqual([[3], [3], [3], [3]]);
    expect(place(world, 1, 2)).toEqual([[3, 1]]);
  });

  test('is the same for the same metadata, whatever happened in between', () => {
    fc.assert(
      fc.property(anyRacks, fc.integer({ min: 1, max: 30 }), (racks, count) => {
        const world = racked(racks);
        const first = place(world, count, 1);
        place(world, 7, 1);
        expect(place(world, count, 1)).toEqual(first);
        expect(place(racked(racks), count, 1)).toEqual(first);
      }),
    );
  });

  test('takes running brokers before another rack, and nothing that drains or holds no partitions', () => {
    const world = racked(['a', 'a', 'b', 'b', 'c']);
    world.join(6, { rack: 'd', roles: ['gateway', 'controller'] });
    world.do(drainBroker, { nodeId: nodeId(5), draining: true });
    world.beat(3, 0, 'not-ready');
    world.beat(4, 0, 'not-ready');
    expect(new Set(place(world, 10, 2).flat())).toEqual(new Set([1, 2]));
    const three = place(world, 10, 3);
    expect(three.every(replicas => replicas.includes(1) && replicas.includes(2))).toBe(true);
    expect(new Set(three.map(([first]) => first))).toEqual(new Set([1, 2]));
  });
});
