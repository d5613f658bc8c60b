// Requests of one record each that come in the same turn, gathered into one batch a partition: a batch has a fixed cost in
// bytes, checks, writes and answers, and for small records it is most of what they cost.
//
//   request 1 ─ record ─┐
//   request 2 ─ record ─┼─▶ one batch ─▶ one produce ─▶ base offset + 0, + 1, + 2
//   request 3 ─ record ─┘
//
// A request shares its batch only with others that would have been answered alike: the same topic, acks, timeout and codec, a
// timestamp that the gateway gives, and a batch that certainly has room. So nothing that a request says can refuse another one.
// Requests without an answer (acks=none) are not gathered: theirs is given before their batch is. Nor are those that are exact.
//
// Guarantees: the batches of one partition leave in the order in which their requests came; within one the offsets are in that
// order too.

import type { PlacementPlan } from './record-placement.ts';
import { partitionFor, partitionFault } from './record-placement.ts';
import { fitsOneBatch, PartitionBatches } from './partition-batches.ts';
import type { WrittenRecord } from './record-json.ts';
import { ABSENT } from './record-json.ts';

/** Requests that share a batch; the record of `requests[i]` is its i-th. */
export interface GatheredBatch<Request> {
  readonly plan: PlacementPlan;
  readonly of: PartitionBatches;
  readonly requests: Request[];
}

interface OpenBatch<Request> extends GatheredBatch<Request> {
  /** Of all its records. */
  readonly timestamp: number;
  bodyBytes: number;
}

export interface GatheringParts<Request> {
  /** Calls back when the turn is over. */
  readonly atEnd: (leave: () => void) => void;
  readonly leave: (batch: GatheredBatch<Request>) => void;
}

export class RecordGathering<Request> {
  readonly #parts: GatheringParts<Request>;
  /** By partition. Invariant: all have the topic, acks, timeout and codec of `#plan`. */
  readonly #open = new Map<number, OpenBatch<Request>>();
  #plan: PlacementPlan | null = null;
  #isAwaited = false;

  constructor(parts: GatheringParts<Request>) {
    this.#parts = parts;
  }

  /** False when the request must go alone; whoever keeps an order lets the others leave before it. */
  add(
    request: Request,
    record: WrittenRecord,
    { plan, bodyBytes }: { plan: PlacementPlan; bodyBytes: number },
  ): boolean {
    if (record.timestamp !== ABSENT || plan.acks === 'none' || plan.exact !== null) return false;
    // Refused, and alone.
    if (plan.topic.isCompacted && record.key === null) return false;
    if (!fitsOneBatch(bodyBytes, 1, plan.topic.batchBytesMax)) return false;
    if (record.partition !== ABSENT && partitionFault(record.partition, plan, null) !== null) return false;
    if (this.#plan !== null && !isAlike(this.#plan, plan)) this.leave();
    this.#plan = plan;
    const partition = partitionFor(record, plan);
    let batch = this.#open.get(partition);
    if (batch === undefined || !hasRoom(batch, bodyBytes)) {
      if (batch !== undefined) this.#parts.leave(batch);
      batch = openBatch(plan, partition);
      this.#open.set(partition, batch);
    }
    record.timestamp = batch.timestamp;
    batch.of.addFitting(record);
    batch.requests.push(request);
    batch.bodyBytes += bodyBytes;
    if (!this.#isAwaited) {
      this.#isAwaited = true;
      this.#parts.atEnd(() => {
        this.#isAwaited = false;
        this.leave();
      });
    }
    return true;
  }

  /** Lets go of what was gathered so far. */
  leave(): void {
    if (this.#plan === null) return;
    this.#plan = null;
    const batches = [...this.#open.values()];
    this.#open.clear();
    for (const batch of batches) this.#parts.leave(batch);
  }
}

const isAlike = (one: PlacementPlan, other: PlacementPlan): boolean =>
  one.topic === other.topic &&
  one.acks === other.acks &&
  one.timeoutMs === other.timeoutMs &&
  one.codec === other.codec;

const hasRoom = <Request>({ plan, requests, bodyBytes }: OpenBatch<Request>, more: number): boolean =>
  fitsOneBatch(bodyBytes + more, requests.length + 1, plan.topic.batchBytesMax);

const openBatch = <Request>(plan: PlacementPlan, partition: number): OpenBatch<Request> => {
  const { pool, codec, topic, clock } = plan;
  const of = new PartitionBatches(partition, { pool, codec, batchBytesMax: topic.batchBytesMax });
  return { plan, of, requests: [], timestamp: clock.wallMs(), bodyBytes: 0 };
};
