// The order of produce requests on one connection, with a broker that is scripted.

import { describe, expect, it } from 'vitest';
import type { Broker } from '../../../server/broker/broker.ts';
import type { PartitionBatches } from '../../../server/gateway/partition-batches.ts';
import type { PlacementPlan } from '../../../server/gateway/record-placement.ts';
import { AppendOrder } from '../../../server/gateway/websocket/append-order.ts';

const world = () => {
  const appended: string[] = [];
  const plan = {
    topic: { id: 'topic', name: 'topic' },
    broker: {
      produce: ({ batches, partition }) => {
        appended.push(`${Buffer.from(batches).toString()}@${partition}`);
        return Promise.resolve({ ok: true, value: { baseOffset: 0, count: 1, timestampMs: 0 } });
      },
    } as Partial<Broker> as Broker,
  } as PlacementPlan;
  return { appended, plan, order: new AppendOrder() };
};

/** A batch that is compressed when it is told to be. */
const batch = (name: string, partition: number) => {
  const { promise, resolve } = Promise.withResolvers<Uint8Array>();
  const of = { partition, take: () => promise } as unknown as PartitionBatches;
  return { of, compressed: () => resolve(Buffer.from(name)) };
};

const placed = (...batches: readonly { readonly of: PartitionBatches }[]): readonly PartitionBatches[] =>
  batches.map(({ of }) => of);

describe('produce requests of one connection', () => {
  it('are appended in their order, whichever is compressed first', async () => {
    const { appended, plan, order } = world();
    const [a, b, other] = [batch('a', 0), batch('b', 0), batch('c', 1)];
    const first = order.enter(plan, placed(a));
    const second = order.enter(plan, placed(b));
    const third = order.enter(plan, placed(other));
    const done = [first.produce(plan, a.of), second.produce(plan, b.of), third.produce(plan, other.of)];
    b.compressed();
    other.compressed();
    await done[2];
    expect(appended).toEqual(['c@1']);
    a.compressed();
    await Promise.all(done);
    expect(appended).toEqual(['c@1', 'a@0', 'b@0']);
  });

  it('have their turn to be answered behind those before them on any of their partitions, and not behind others', async () => {
    const { plan, order } = world();
    const both = order.enter(plan, placed(batch('a', 0), batch('b', 1)));
    const shared = order.enter(plan, placed(batch('c', 1)));
    const apart = order.enter(plan, placed(batch('d', 2)));
    expect(apart.turn()).toBeNull();
    expect(both.turn()).toBeNull();
    const turn = shared.turn();
    expect(turn).not.toBeNull();
    both.leave();
    await turn;
    expect(shared.turn()).toBeNull();
  });

  it('do not wait for one that never reached the log', async () => {
    const { appended, plan, order } = world();
    const [a, b] = [batch('a', 0), batch('b', 0)];
    const first = order.enter(plan, placed(a));
    const second = order.enter(plan, placed(b));
    b.compressed();
    const done = second.produce(plan, b.of);
    first.leave();
    await done;
    expect(appended).toEqual(['b@0']);
    expect(second.turn()).toBeNull();
  });

  it('leave nothing behind', () => {
    const { plan, order } = world();
    const first = order.enter(plan, placed(batch('a', 0)));
    first.leave();
    expect(order.enter(plan, placed(batch('b', 0))).turn()).toBeNull();
  });
});
