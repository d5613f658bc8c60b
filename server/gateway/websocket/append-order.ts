// The produce requests of one connection in the order in which they came, partition by partition: they reach the log in
// that order whatever compressing takes, and are answered in that order whatever the other partitions of a request take.
//
//   request 1 on {0, 1}   appended ───────────────── answered
//   request 2 on {0}               appended ─ done ─ waits ─ answered
//   request 3 on {2}               appended ─ answered            nothing in common with 1 and 2
//
// Guarantees: no request waits for one that came after it, so none waits for ever.

import type { PartitionBatches } from '../partition-batches.ts';
import type { AppendOutcome, Placed, PlacementPlan } from '../record-placement.ts';

interface Stage {
  readonly done: Promise<void>;
  finish(): void;
}

const newStage = (): Stage => {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { done: promise, finish: resolve };
};

/** One request in the order. */
export class OrderedAppend {
  readonly #keys: ReadonlyMap<number, string>;
  /** By partition: the requests before this one. */
  readonly #before: ReadonlyMap<number, OrderedAppend>;
  readonly #appended: Stage = newStage();
  readonly #answered: Stage = newStage();
  readonly #onLeave: (keys: Iterable<string>, self: OrderedAppend) => void;
  #unappended: number;

  constructor(
    keys: ReadonlyMap<number, string>,
    before: ReadonlyMap<number, OrderedAppend>,
    onLeave: (keys: Iterable<string>, self: OrderedAppend) => void,
  ) {
    this.#keys = keys;
    this.#before = before;
    this.#unappended = keys.size;
    this.#onLeave = onLeave;
  }

  readonly produce = async (plan: PlacementPlan, of: PartitionBatches): Promise<AppendOutcome> => {
    const { broker, topic, acks, timeoutMs } = plan;
    try {
      const batches = await of.take();
      const before = this.#before.get(of.partition);
      if (before !== undefined && before.#unappended > 0) await before.#appended.done;
      const outcome = broker.produce({ topic: topic.name, partition: of.partition, batches, acks, timeoutMs });
      this.#isAppended();
      return await outcome;
    } catch (cause) {
      this.#appended.finish();
      throw cause;
    }
  };

  /** Resolves when every request before this one that shares a partition with it has been answered. */
  async turn(): Promise<void> {
    for (const before of this.#before.values()) await before.#answered.done;
  }

  /** The answer was given. */
  leave(): void {
    this.#appended.finish();
    this.#answered.finish();
    this.#onLeave(this.#keys.values(), this);
  }

  #isAppended(): void {
    if (--this.#unappended === 0) this.#appended.finish();
  }
}

export class AppendOrder {
  /** The latest request of each partition, while it is not answered. */
  readonly #latest = new Map<string, OrderedAppend>();

  enter(plan: PlacementPlan, { batches }: Placed): OrderedAppend {
    const keys = new Map<number, string>();
    const before = new Map<number, OrderedAppend>();
    for (const { partition } of batches) {
      const key = `${plan.topic.id}/${partition}`;
      keys.set(partition, key);
      const latest = this.#latest.get(key);
      if (latest !== undefined) before.set(partition, latest);
    }
    const append = new OrderedAppend(keys, before, (left, self) => {
      for (const key of left) if (this.#latest.get(key) === self) this.#latest.delete(key);
    });
    for (const key of keys.values()) this.#latest.set(key, append);
    return append;
  }
}
