// Records of some partitions of a topic, walked for a door that renders them: fetching, merging, skipping what lies
// below the position, and keeping the positions.
//
// Each step fetches once and hands every record to `visit` while the cursor stands on it; nothing is made an object.
// The partition that stands first changes with every step, so that none is starved by a busy neighbour.
//
// Guarantees: positions move past a batch only when its records were visited to its end; a batch that turns out to be
// garbage half way is taken back (`undo`) and reported with its offset, whatever was visited before it stays. Control
// batches are passed over. A topic that took the name of the one that is read is not read: that one is gone, TOPIC_NOT_FOUND.

import type { Problem, Result } from '@sluice/protocol/errors';
import { accepted, problem, refused } from '@sluice/protocol/errors';
import type { Offset } from '@sluice/protocol/ids';
import { isOffset, offset } from '@sluice/protocol/ids';
import type { DecodeFault } from '@sluice/protocol/record';
import { BatchView, RecordCursor } from '@sluice/protocol/record';
import { assert } from '../base/assert.ts';
import type { Broker, FetchedPartition, FetchPosition, Isolation, TopicView } from '../broker/broker.ts';

export interface RecordVisitor {
  /** The cursor stands on a record of this partition. False ends the step behind this record. */
  visit(partition: number, cursor: RecordCursor): boolean;
  /** A batch begins: what is visited from here on may be taken back. */
  mark(): void;
  /** Takes back everything since the mark. */
  undo(): void;
}

export interface ReadStep {
  readonly bytesMax: number;
  readonly waitMs: number;
  readonly signal: AbortSignal | undefined;
}

export interface StepOutcome {
  /** Stored bytes of the batches walked through. */
  readonly bytes: number;
  /** False when no partition had anything at its position. */
  readonly hasMoved: boolean;
}

export class RecordReader {
  readonly #broker: Broker;
  readonly #topic: TopicView;
  readonly #isolation: Isolation;
  readonly #positions: { partition: number; offset: Offset }[];
  readonly #highWatermarks = new Map<number, Offset>();
  #turn: number;

  constructor(
    source: { readonly broker: Broker; readonly topic: TopicView; readonly isolation: Isolation },
    positions: readonly FetchPosition[],
    turn: number,
  ) {
    assert(positions.length > 0, 'a read has a position');
    this.#broker = source.broker;
    this.#topic = source.topic;
    this.#isolation = source.isolation;
    this.#positions = positions.map(position => ({ ...position }));
    this.#turn = turn % positions.length;
  }

  get positions(): readonly FetchPosition[] {
    return this.#positions;
  }

  /** As of the latest step; undefined before the first. */
  highWatermark(partition: number): Offset | undefined {
    return this.#highWatermarks.get(partition);
  }

  /** True when every position is at the high watermark that the latest step saw. */
  get isAtEnd(): boolean {
    return this.#positions.every(
      at => at.offset >= (this.#highWatermarks.get(at.partition) ?? Number.MAX_SAFE_INTEGER),
    );
  }

  async step(step: ReadStep, visitor: RecordVisitor): Promise<Result<StepOutcome>> {
    // Before it waits for records of another topic, and after it may have.
    if (!this.#isThere) return this.#gone();
    const order = this.#positions.length === 1 ? this.#positions : this.#rotated();
    const fetched = await this.#broker.fetch({
      topic: this.#topic.name,
      positions: order.map(at => ({ partition: at.partition, offset: at.offset })),
      bytesMax: step.bytesMax,
      isolation: this.#isolation,
      waitMs: step.waitMs,
      signal: step.signal,
    });
    if (!this.#isThere) return this.#gone();
    if (!fetched.ok) return fetched;
    let bytes = 0;
    let hasMoved = false;
    let isOpen = true;
    for (const [index, part] of fetched.value.entries()) {
      const position = order[index];
      assert(position?.partition === part.partition, 'a fetch answers its positions in order');
      this.#highWatermarks.set(part.partition, part.highWatermark);
      if (part.batches.length === 0 || !isOpen) continue;
      const before = position.offset;
      const walked = await walk(part, position, visitor);
      bytes += walked.bytes;
      hasMoved ||= position.offset > before;
      if (walked.problem !== null) {
        // After sound batches the damage is the next step's answer: what was walked through is this one's.
        return hasMoved ? accepted({ bytes, hasMoved }) : { ok: false, problem: walked.problem };
      }
      isOpen = walked.isOpen;
    }
    return accepted({ bytes, hasMoved });
  }

  get #isThere(): boolean {
    return this.#broker.findTopic(this.#topic.name)?.id === this.#topic.id;
  }

  #gone(): Result<never> {
    const { name } = this.#topic;
    return refused('TOPIC_NOT_FOUND', `the topic ${name} was deleted`, { topic: name });
  }

  #rotated(): { partition: number; offset: Offset }[] {
    const from = this.#turn;
    this.#turn = (from + 1) % this.#positions.length;
    return [...this.#positions.slice(from), ...this.#positions.slice(0, from)];
  }
}

interface Walked {
  readonly bytes: number;
  readonly isOpen: boolean;
  readonly problem: Problem | null;
}

const walk = async (part: FetchedPartition, position: { offset: Offset }, visitor: RecordVisitor): Promise<Walked> => {
  let bytes = 0;
  for (const batch of part.batches) {
    const view = new BatchView(batch);
    const behind = offset(Math.max(view.nextOffset, position.offset));
    if (!view.isControl && view.recordCount > 0 && view.lastOffset >= position.offset) {
      const opened = view.codec === 'none' ? RecordCursor.open(batch) : await RecordCursor.openOffLoop(batch);
      if (!opened.ok) return { bytes, isOpen: false, problem: decodeProblem(opened.fault, part.partition, view) };
      const { cursor } = opened;
      visitor.mark();
      while (cursor.next()) {
        if (cursor.offset < position.offset) continue;
        if (visitor.visit(part.partition, cursor)) continue;
        position.offset = offset(cursor.offset + 1);
        return { bytes: bytes + batch.length, isOpen: false, problem: null };
      }
      if (cursor.fault !== null) {
        visitor.undo();
        return { bytes, isOpen: false, problem: decodeProblem(cursor.fault, part.partition, view) };
      }
    }
    position.offset = behind;
    bytes += batch.length;
  }
  if (isOffset(part.nextOffset) && part.nextOffset > position.offset) position.offset = part.nextOffset;
  return { bytes, isOpen: true, problem: null };
};

/** The records of a stored batch cannot be read here: what was stored is at fault, or its codec means nothing. */
export const decodeProblem = (fault: DecodeFault, partition: number, batch: BatchView): Problem => {
  const facts = { partition, offset: batch.baseOffset };
  const where = `the batch at offset ${batch.baseOffset} of partition ${partition}`;
  if (fault.kind === 'unsupported-codec') {
    return problem('UNSUPPORTED_COMPRESSION', `${where} cannot be shown: ${fault.detail}`, facts);
  }
  const detail = 'detail' in fault ? fault.detail : 'it is cut off';
  return problem('CORRUPT_BATCH', `${where} cannot be read: ${detail}`, facts);
};
