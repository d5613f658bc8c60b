// One read of a fetch call: from its opening to the one message that ends it.
//
//   open ──refused──────────────────────────────→ error
//     └→ opened ─→ batches | records … ─┬─ refused ─→ error
//                                       ├─ end of an until_end read, or closed by the client ─→ end
//                                       ├─ the broker stops ─→ draining, end
//                                       └─ the call is gone ─→ nothing
//
// Far behind the end of the log, reads of a call take turns (so that few pieces from disk are in memory at once); at
// the end each waits for itself. The position moves only when the piece before it was handed to the transport, so that
// `end` and `draining` name exactly where to go on.

import { create } from '@bufbuild/protobuf';
import type { Problem, Result } from '@sluice/protocol/errors';
import { accepted, problem, refused } from '@sluice/protocol/errors';
import type { Offset } from '@sluice/protocol/ids';
import { offset } from '@sluice/protocol/ids';
import type { DecodeFault } from '@sluice/protocol/record';
import {
  BatchView,
  RecordCursor,
  readBaseOffset,
  readLastOffset,
  readRecordCount,
  recordHeaders,
  recordKey,
  recordValue,
} from '@sluice/protocol/record';
import type { FetchResponse, GrantCredit, Record as RecordMessage } from '@sluice/protocol/services';
import { FetchResponseSchema, HeaderSchema, RecordSchema } from '@sluice/protocol/services';
import { assert } from '../../base/assert.ts';
import { READ_WAIT_MS_MAX } from '../../base/limits.ts';
import type { VerbMetrics } from '../../base/metrics.ts';
import type { FetchedPartition, OffsetQuery, PartitionOffsets } from '../../broker/broker.ts';
import { offsetRangeFacts } from '../../broker/broker.ts';
import type { GatewayContext } from '../gateway.ts';
import type { BodyBudget } from '../body-budget.ts';
import { FetchedBatches } from './fetched-batches.ts';
import type { Outbox } from './outbox.ts';
import { problemMessage } from './problem-status.ts';
import type { ReadFrom, ReadRequest } from './read-request.ts';
import type { Encoded } from './service-definition.ts';
import type { Turns } from './turns.ts';
import { unexpected } from './unexpected.ts';

export type FetchAnswer = FetchResponse | Encoded;

/** What a message weighs beside its payload, roughly. */
const ANSWER_BYTES = 64;

/** A client that is told to go elsewhere should not wait longer than this before it does. */
const RESUME_WITHIN_MS = 1_000n;

/** What all reads of a call share. */
export interface ReadShare {
  readonly context: GatewayContext;
  readonly outbox: Outbox<FetchAnswer>;
  readonly turns: Turns;
  readonly held: BodyBudget;
  readonly metrics: VerbMetrics;
}

type Stop = 'closed' | 'draining' | 'gone';

interface Opening {
  readonly at: Offset;
  readonly offsets: PartitionOffsets;
  readonly topicId: string;
}

export class Read {
  readonly #share: ReadShare;
  readonly #request: ReadRequest;
  readonly #abort = new AbortController();
  /** The offset of the next record to hand out. */
  #position: Offset = offset(0);
  /** Where an until_end read ends. */
  #endOffset: Offset = offset(0);
  /** True while the last look found nothing more: the next fetch waits. */
  #isAtTail = false;
  #topicId = '';
  #stop: Stop | null = null;
  #resume: (() => void) | null = null;

  constructor(share: ReadShare, request: ReadRequest) {
    this.#share = share;
    this.#request = request;
  }

  /** Resolves when the read is over and its last message is on the way. */
  async run(): Promise<void> {
    let failure: Problem | null;
    try {
      failure = await this.#read();
    } catch (error) {
      failure = unexpected(this.#share.context, error, 'fetch');
    }
    if (this.#stop === 'gone') return;
    if (failure !== null && this.#stop === null) {
      this.#put({ case: 'error', value: problemMessage(failure) });
      return;
    }
    if (this.#stop === 'draining') this.#put({ case: 'draining', value: { resumeWithinMs: RESUME_WITHIN_MS } });
    this.#put({ case: 'end', value: { offset: BigInt(this.#position) } });
  }

  /** Null when granted, else why not. */
  grant(message: GrantCredit): string | null {
    const fault = this.#request.credit.grant(message.credit);
    if (fault === null) this.#wake();
    return fault;
  }

  close(): void {
    this.#stopFor('closed');
  }

  drain(): void {
    this.#stopFor('draining');
  }

  /** The call is gone, or something was said in this read's place. */
  abandon(): void {
    this.#stopFor('gone');
  }

  #stopFor(stop: Stop): void {
    if (this.#stop !== null && stop !== 'gone') return;
    this.#stop = stop;
    this.#abort.abort();
    this.#wake();
  }

  #wake(): void {
    const resume = this.#resume;
    this.#resume = null;
    resume?.();
  }

  async #read(): Promise<Problem | null> {
    const { context, metrics } = this.#share;
    const startedMs = context.clock.monotonicMs();
    const opening = await this.#open();
    const seconds = (context.clock.monotonicMs() - startedMs) / 1_000;
    metrics.finished(opening.ok ? 'ok' : opening.problem.code, seconds);
    if (!opening.ok) return opening.problem;
    const { at, offsets, topicId } = opening.value;
    this.#position = at;
    this.#endOffset = this.#end(offsets);
    this.#isAtTail = at >= this.#endOffset;
    this.#topicId = topicId;
    if (this.#stop !== null) return null;
    this.#put(
      { case: 'opened', value: { offset: BigInt(at), earliestOffset: BigInt(offsets.earliestOffset) } },
      offsets,
    );
    while (this.#stop === null && !this.#share.outbox.isClosed && !this.#hasReachedEnd) {
      if (!this.#request.credit.isLeft) {
        await this.#creditOrStop();
        continue;
      }
      const failure = await this.#next();
      if (failure === null) continue;
      if (this.#stop === null) metrics.finished(failure.code, 0);
      return failure;
    }
    return null;
  }

  get #hasReachedEnd(): boolean {
    return this.#request.untilEnd && this.#position >= this.#endOffset;
  }

  #end(offsets: { readonly highWatermark: Offset; readonly lastStableOffset: Offset }): Offset {
    return this.#request.isolation === 'read_committed' ? offsets.lastStableOffset : offsets.highWatermark;
  }

  async #open(): Promise<Result<Opening>> {
    const { broker } = this.#share.context;
    const { topic, partition, from } = this.#request;
    const view = broker.findTopic(topic);
    if (view === null) return refused('TOPIC_NOT_FOUND', `there is no topic "${topic}"`, { topic });
    const listed = await broker.listOffsets({ topic, partitions: [partition], query: offsetQuery(from) });
    if (!listed.ok) return listed;
    const offsets = listed.value[0];
    assert(offsets !== undefined && offsets.partition === partition, 'the offsets of the partition asked for');
    const at = this.#begin(offsets);
    const { earliestOffset, highWatermark } = offsets;
    if (at < earliestOffset || at > highWatermark) {
      return refused(
        'OFFSET_OUT_OF_RANGE',
        `offset ${at} is outside the log, which has ${earliestOffset} to ${highWatermark}`,
        { partition, ...offsetRangeFacts(earliestOffset, highWatermark) },
      );
    }
    return accepted({ at, offsets, topicId: view.id });
  }

  #begin(offsets: PartitionOffsets): Offset {
    const { from } = this.#request;
    switch (from.kind) {
      case 'earliest':
        return offsets.earliestOffset;
      case 'latest':
        return this.#end(offsets);
      case 'offset':
        return from.offset;
      case 'timestamp':
      case 'tail':
      default:
        // Where no record matches, the next one to come does.
        return offsets.found?.offset ?? this.#end(offsets);
    }
  }

  async #creditOrStop(): Promise<void> {
    if (this.#stop !== null) return;
    await new Promise<void>(resolve => {
      this.#resume = resolve;
    });
  }

  /** Fetches one piece and hands it to the transport. */
  async #next(): Promise<Problem | null> {
    const mayWait = this.#isAtTail;
    const giveBack = mayWait ? null : await this.#share.turns.take();
    try {
      // Nothing is fetched that could not go out: a client that does not read would keep it in memory.
      if (!mayWait) await this.#share.outbox.ready();
      if (this.#stop !== null) return null;
      const fetched = await this.#fetch(mayWait);
      if (this.#stop !== null) return null;
      if (!fetched.ok) return fetched.problem;
      const piece = fetched.value;
      if (piece.batches.length === 0) {
        this.#isAtTail = true;
        // Nothing is left up to the end: what stood there was compacted away.
        if (this.#end(piece) >= this.#endOffset) this.#position = offset(Math.max(this.#position, this.#endOffset));
        return null;
      }
      if (!this.#share.outbox.hasRoom) {
        // Another read of the call was quicker. The piece is fetched again when there is room for it.
        this.#isAtTail = false;
        return null;
      }
      this.#isAtTail = piece.nextOffset >= this.#end(piece);
      if (this.#request.form === 'records') return await this.#sendRecords(piece, giveBack);
      await this.#sendBatches(piece);
      return null;
    } finally {
      giveBack?.();
    }
  }

  async #fetch(mayWait: boolean): Promise<Result<FetchedPartition>> {
    const { broker } = this.#share.context;
    const { topic, partition, isolation, bytesMax, credit } = this.#request;
    const result = await broker.fetch({
      topic,
      positions: [{ partition, offset: this.#position }],
      bytesMax: Math.min(bytesMax, credit.bytes),
      isolation,
      waitMs: mayWait ? READ_WAIT_MS_MAX : 0,
      signal: this.#abort.signal,
    });
    if (!result.ok) return result;
    // A new topic may have taken the name; its offsets mean something else.
    if (broker.findTopic(topic)?.id !== this.#topicId) {
      return refused('TOPIC_NOT_FOUND', `topic "${topic}" was deleted`, { topic });
    }
    const piece = result.value[0];
    assert(piece !== undefined && piece.partition === partition, 'the partition asked for');
    return accepted(piece);
  }

  async #sendBatches(piece: FetchedPartition): Promise<void> {
    const { credit, untilEnd, stream } = this.#request;
    await this.#share.outbox.send(() => {
      if (this.#stop !== null) return null;
      const batches: Uint8Array[] = [];
      let next: number = piece.nextOffset;
      for (const batch of piece.batches) {
        const isBeyondEnd = untilEnd && readBaseOffset(batch, 0) >= this.#endOffset;
        if (isBeyondEnd || !credit.isLeft) {
          next = isBeyondEnd ? this.#endOffset : readBaseOffset(batch, 0);
          this.#isAtTail = false;
          break;
        }
        batches.push(batch);
        credit.spend(readRecordCount(batch, 0), batch.byteLength);
      }
      this.#position = offset(Math.max(next, this.#position));
      if (batches.length === 0) return null;
      const { highWatermark, lastStableOffset } = piece;
      const message = new FetchedBatches({ stream, batches, highWatermark, lastStableOffset });
      this.#share.metrics.sent(message.byteLength);
      return { message, bytes: message.byteLength };
    });
  }

  /** Pieces may be given back half used: when credit ends and the memory to wait with is short. */
  async #sendRecords(piece: FetchedPartition, giveBack: (() => void) | null): Promise<Problem | null> {
    const list = new RecordPiece(this.#position);
    const flush = async (): Promise<void> => {
      if (list.next === this.#position) return;
      await this.#share.outbox.send(() => {
        if (this.#stop !== null) return null;
        this.#position = list.next;
        const { records, bytes } = list.take();
        if (records.length === 0) return null;
        this.#share.metrics.sent(bytes);
        const message = this.#response({ case: 'records', value: { records } }, piece);
        return { message, bytes };
      });
    };
    for (const batch of piece.batches) {
      if (readLastOffset(batch, 0) < list.next) continue;
      if (this.#isBeyondEnd(readBaseOffset(batch, 0))) break;
      const failure = new BatchView(batch).isControl
        ? null
        : await this.#sendBatchRecords({ batch, list, flush, giveBack });
      if (failure === 'give-up') {
        this.#isAtTail = false;
        return null;
      }
      if (failure !== null) {
        await flush();
        return failure;
      }
      if (this.#stop !== null) return null;
      list.next = offset(readLastOffset(batch, 0) + 1);
    }
    if (this.#request.untilEnd && list.next > this.#endOffset) list.next = this.#endOffset;
    await flush();
    return null;
  }

  async #sendBatchRecords(work: {
    readonly batch: Uint8Array;
    readonly list: RecordPiece;
    readonly flush: () => Promise<void>;
    readonly giveBack: (() => void) | null;
  }): Promise<Problem | 'give-up' | null> {
    const { list } = work;
    const { credit, bytesMax } = this.#request;
    const opened = await RecordCursor.openOffLoop(work.batch);
    if (!opened.ok) return this.#corrupt(list.next, opened.fault);
    const { cursor } = opened;
    while (cursor.next()) {
      if (cursor.offset < list.next) continue;
      if (this.#isBeyondEnd(cursor.offset)) return null;
      if (!credit.isLeft) {
        await work.flush();
        work.giveBack?.();
        if (!(await this.#holdForCredit(cursor.bytes.byteLength))) return 'give-up';
      }
      const bytes = list.add(cursor);
      credit.spend(1, bytes);
      if (list.bytes >= bytesMax) await work.flush();
      if (this.#stop !== null) return null;
    }
    return cursor.fault === null ? null : this.#corrupt(list.next, cursor.fault);
  }

  #isBeyondEnd(at: number): boolean {
    return this.#request.untilEnd && at >= this.#endOffset;
  }

  /** True when credit came and what was decoded was kept meanwhile. */
  async #holdForCredit(bytes: number): Promise<boolean> {
    const { held } = this.#share;
    if (!held.reserve(bytes)) return false;
    try {
      while (this.#stop === null && !this.#request.credit.isLeft) await this.#creditOrStop();
    } finally {
      held.release(bytes);
    }
    return this.#stop === null;
  }

  #corrupt(at: Offset, fault: DecodeFault): Problem {
    const { partition } = this.#request;
    if (fault.kind === 'unsupported-codec') {
      return problem('UNSUPPORTED_COMPRESSION', `the batch at offset ${at} cannot be decoded here: ${fault.detail}`, {
        partition,
        offset: at,
      });
    }
    const detail = 'detail' in fault ? fault.detail : fault.kind;
    return problem('CORRUPT_BATCH', `the batch at offset ${at} cannot be decoded: ${detail}`, {
      partition,
      offset: at,
    });
  }

  #put(payload: FetchPayload, offsets?: Watermarks): void {
    this.#share.outbox.put(this.#response(payload, offsets), ANSWER_BYTES);
  }

  #response(payload: FetchPayload, offsets?: Watermarks): FetchResponse {
    return create(FetchResponseSchema, {
      stream: this.#request.stream,
      payload,
      highWatermark: BigInt(offsets?.highWatermark ?? 0),
      lastStableOffset: BigInt(offsets?.lastStableOffset ?? 0),
    });
  }
}

interface Watermarks {
  readonly highWatermark: Offset;
  readonly lastStableOffset: Offset;
}

type FetchPayload = NonNullable<Parameters<typeof create<typeof FetchResponseSchema>>[1]>['payload'] & object;

const offsetQuery = (from: ReadFrom): OffsetQuery => {
  if (from.kind === 'timestamp') return { kind: 'timestamp', timestampMs: from.timestampMs };
  if (from.kind === 'tail') return { kind: 'tail', count: from.count };
  return { kind: 'none' };
};

/** Records collected for the next message, and the position once they are sent. */
class RecordPiece {
  next: Offset;
  #records: RecordMessage[] = [];
  #bytes = 0;

  constructor(next: Offset) {
    this.next = next;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Answers the record's stored bytes: key, value and headers. */
  add(cursor: RecordCursor): number {
    const headers = recordHeaders(cursor);
    const record = create(RecordSchema, {
      headers: headers.map(({ key, value }) => create(HeaderSchema, value === null ? { key } : { key, value })),
      timestampMs: BigInt(cursor.timestamp),
      offset: BigInt(cursor.offset),
    });
    const key = recordKey(cursor);
    const value = recordValue(cursor);
    if (key !== null) record.key = key;
    if (value !== null) record.value = value;
    let bytes = (key?.byteLength ?? 0) + (value?.byteLength ?? 0);
    for (const header of headers) bytes += Buffer.byteLength(header.key) + (header.value?.byteLength ?? 0);
    this.#records.push(record);
    this.#bytes += bytes + ANSWER_BYTES;
    this.next = offset(cursor.offset + 1);
    return bytes;
  }

  take(): { readonly records: RecordMessage[]; readonly bytes: number } {
    const taken = { records: this.#records, bytes: this.#bytes };
    this.#records = [];
    this.#bytes = 0;
    return taken;
  }
}
