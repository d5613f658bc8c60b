// The produce requests of one connection in the order in which they came, partition by partition: they reach the log in
// that order whatever compressing takes, and are answered in that order whatever the other partitions of a request take.
//
//   request 1 on {0, 1}   appended ───────────────── answered
//   request 2 on {0}               appended ─ done ─ waits ─ answered
//   request 3 on {2}               appended ─ answered            nothing in common with 1 and 2
//
// Guarantees: no request waits for one that came after it, so none waits for ever.

import type { PartitionBatches } from '../partition-batches.ts';
import { type AppendOutcome, type PlacementPlan, produceTaken } from '../record-placement.ts';

/** Something that happens once; most often it has happened before anybody waits for it. */
class Stage {
  isDone = false;
  #waiting: PromiseWithResolvers<void> | null = null;

  finish(): void {
    this.isDone = true;
    this.#waiting?.resolve();
  }

  done(): Promise<void> {
    this.#waiting ??= Promise.withResolvers<void>();
    if (this.isDone) this.#waiting.resolve();
    return this.#waiting.promise;
  }
}

const NONE: ReadonlyMap<number, OrderedAppend> = new Map();

/** One request in the order. */
export class OrderedAppend {
  readonly keys: readonly string[];
  /** By partition: the requests before this one. Dropped at the end: each would keep all before it alive. */
  #before: ReadonlyMap<number, OrderedAppend>;
  readonly #order: AppendOrder;
  readonly #appended = new Stage();
  readonly #answered = new Stage();
  #unappended: number;

  constructor(order: AppendOrder, keys: readonly string[], before: ReadonlyMap<number, OrderedAppend>) {
    this.#order = order;
    this.keys = keys;
    this.#before = before;
    this.#unappended = keys.length;
  }

  readonly produce = async (plan: PlacementPlan, of: PartitionBatches): Promise<AppendOutcome> => {
    const batches = await of.take();
    const before = this.#before.get(of.partition);
    if (before !== undefined && !before.#appended.isDone) await before.#appended.done();
    const outcome = produceTaken(plan, of.partition, batches);
    if (--this.#unappended === 0) this.#appended.finish();
    return outcome;
  };

  /** Null when every request before this one that shares a partition with it has been answered, else resolves then. */
  turn(): Promise<void> | null {
    for (const before of this.#before.values()) if (!before.#answered.isDone) return this.#wait();
    return null;
  }

  /** The answer was given, or never will be. */
  leave(): void {
    this.#before = NONE;
    this.#appended.finish();
    this.#answered.finish();
    this.#order.left(this);
  }

  async #wait(): Promise<void> {
    for (const before of this.#before.values()) if (!before.#answered.isDone) await before.#answered.done();
  }
}

export class AppendOrder {
  /** The latest request of each partition, while it is not answered. */
  readonly #latest = new Map<string, OrderedAppend>();

  enter(plan: PlacementPlan, batches: readonly PartitionBatches[]): OrderedAppend {
    const keys: string[] = [];
    let before: Map<number, OrderedAppend> | null = null;
    for (const { partition } of batches) {
      const key = `${plan.topic.id}/${partition}`;
      keys.push(key);
      const latest = this.#latest.get(key);
      if (latest !== undefined) (before ??= new Map<number, OrderedAppend>()).set(partition, latest);
    }
    const append = new OrderedAppend(this, keys, before ?? NONE);
    for (const key of keys) this.#latest.set(key, append);
    return append;
  }

  left(append: OrderedAppend): void {
    for (const key of append.keys) if (this.#latest.get(key) === append) this.#latest.delete(key);
  }
}
