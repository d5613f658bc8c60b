// What of one batch stays when its log is cleaned, as bytes in, bytes out.
//
// A record stays when no later one of its key is known, unless it says that the key is gone and that was said for long enough. What stays
// keeps its offset, its timestamp and its bytes; the batch keeps base offset, last offset, epoch, producer fields, base timestamp, attributes
// and codec. Batches are never joined and never split.
//
// Batches of the broker itself and those of transactions stay as they are, and so does a batch whose records cannot be decoded: its checksum
// is good, so it is what was sent, and readers say so.

import {
  BATCH_HEADER_BYTES,
  BATCH_LENGTH_PREFIX,
  type Codec,
  CODEC_MASK,
  codecOfId,
  COMPRESS_OFF_LOOP_BYTES,
  compress,
  compressSync,
  CONTROL_BIT,
  type DecodeFault,
  LENGTH_AT,
  LOG_APPEND_TIME_BIT,
  MAX_TIMESTAMP_AT,
  readAttributes,
  readRecordCount,
  RECORD_COUNT_AT,
  RecordCursor,
  sealBatch,
  TRANSACTIONAL_BIT,
  writeInt32,
  writeInt64,
} from '@sluice/protocol/record';
import { assert } from '../../base/assert.ts';
import type { KeyMap } from './key-map.ts';

/** Awaited after so many records: a batch may hold tens of thousands. */
export type Pace = () => Promise<void>;
const RECORDS_A_PIECE = 512;

export interface CleaningRules {
  /** Of the part of the log that is being cleaned for the first time. */
  readonly keys: KeyMap;
  /** Records without a value stay at or above it. */
  readonly tombstonesFrom: number;
  readonly pace: Pace;
}

export type CleanedBatch =
  /** As it is. */
  | { readonly kind: 'whole' }
  | { readonly kind: 'rewritten'; readonly bytes: Uint8Array }
  /** No record stays. */
  | { readonly kind: 'nothing' }
  | { readonly kind: 'unreadable'; readonly detail: string };

const WHOLE: CleanedBatch = { kind: 'whole' };
const NOTHING: CleanedBatch = { kind: 'nothing' };

/** Whether its records are nobody's keys. */
export const isUncleanable = (batch: Uint8Array): boolean =>
  (readAttributes(batch, 0) & (CONTROL_BIT | TRANSACTIONAL_BIT)) !== 0;

const isCompressed = (batch: Uint8Array): boolean =>
  (readAttributes(batch, 0) & CODEC_MASK) !== 0 && batch.length > BATCH_HEADER_BYTES;

const textOf = (fault: DecodeFault): string => ('detail' in fault ? fault.detail : fault.kind);

/** The records of a batch; what is compressed is inflated off the loop, or a piece at a time. */
const openRecords = async (
  batch: Uint8Array,
): Promise<{ readonly cursor: RecordCursor } | { readonly detail: string }> => {
  const opened = isCompressed(batch) ? await RecordCursor.openOffLoop(batch) : RecordCursor.open(batch);
  return opened.ok ? { cursor: opened.cursor } : { detail: textOf(opened.fault) };
};

export type NotedKeys = 'noted' | 'full' | 'unreadable';

/**
 * Takes the keys of a batch into the map; all or none of a batch that cannot be decoded to its end, or older values would go for one that
 * nobody can read. Where the map is full the batch may be there in part, which is no harm: it comes again.
 */
export const noteKeys = async (
  batch: Uint8Array,
  { keys, pace }: Omit<CleaningRules, 'tombstonesFrom'>,
): Promise<NotedKeys> => {
  if (readRecordCount(batch, 0) === 0 || isUncleanable(batch)) return 'noted';
  const opened = await openRecords(batch);
  if ('detail' in opened) return 'unreadable';
  const { cursor } = opened;
  const found: number[] = [];
  for (let count = 1; cursor.next(); count++) {
    if (count % RECORDS_A_PIECE === 0) await pace();
    if (cursor.keyStart >= 0) found.push(cursor.keyStart, cursor.keyEnd, cursor.offset);
  }
  if (cursor.fault !== null) return 'unreadable';
  for (let index = 0; index < found.length; index += 3) {
    if (!keys.put(cursor.bytes, found[index]!, found[index + 1]!, found[index + 2]!)) return 'full';
  }
  return 'noted';
};

/** `batch` is one whole batch of the log whose checksum is good. */
export const cleanBatch = async (batch: Uint8Array, rules: CleaningRules): Promise<CleanedBatch> => {
  const count = readRecordCount(batch, 0);
  if (isUncleanable(batch)) return WHOLE;
  if (count === 0) return NOTHING;
  const opened = await openRecords(batch);
  if ('detail' in opened) return { kind: 'unreadable', detail: opened.detail };
  const { cursor } = opened;
  const kept = await keptRecords(cursor, rules);
  if (cursor.fault !== null) return { kind: 'unreadable', detail: textOf(cursor.fault) };
  if (kept.count === count) return WHOLE;
  if (kept.count === 0) return NOTHING;
  return { kind: 'rewritten', bytes: await rewrite(batch, cursor.bytes, kept) };
};

interface KeptRecords {
  /** Pairs of start and end in the cursor's bytes, those that touch joined. */
  readonly spans: number[];
  readonly bytes: number;
  readonly count: number;
  readonly maxTimestamp: number;
}

const keptRecords = async (
  cursor: RecordCursor,
  { keys, tombstonesFrom, pace }: CleaningRules,
): Promise<KeptRecords> => {
  const spans: number[] = [];
  let bytes = 0;
  let count = 0;
  let maxTimestamp = Number.NEGATIVE_INFINITY;
  let start = cursor.position;
  for (let passed = 1; cursor.next(); passed++) {
    if (passed % RECORDS_A_PIECE === 0) await pace();
    const end = cursor.position;
    if (isKept(cursor, keys, tombstonesFrom)) {
      if (spans.length > 0 && spans.at(-1) === start) spans[spans.length - 1] = end;
      else spans.push(start, end);
      bytes += end - start;
      count++;
      if (cursor.timestamp > maxTimestamp) maxTimestamp = cursor.timestamp;
    }
    start = end;
  }
  return { spans, bytes, count, maxTimestamp };
};

const isKept = (cursor: RecordCursor, keys: KeyMap, tombstonesFrom: number): boolean => {
  // From before the topic was compacted: nothing ever takes its place.
  if (cursor.keyStart < 0) return false;
  const last = keys.lastOffset(cursor.bytes, cursor.keyStart, cursor.keyEnd);
  if (last > cursor.offset) return false;
  return cursor.valueStart >= 0 || cursor.offset >= tombstonesFrom;
};

const rewrite = async (batch: Uint8Array, source: Uint8Array, kept: KeptRecords): Promise<Uint8Array> => {
  const { spans, bytes, count, maxTimestamp } = kept;
  const codec = codecOfId(readAttributes(batch, 0) & CODEC_MASK);
  assert(codec !== null, 'the records were decoded with it');
  const isPlain = codec === 'none';
  const head = isPlain ? BATCH_HEADER_BYTES : 0;
  const records = new Uint8Array(head + bytes);
  let at = head;
  for (let index = 0; index < spans.length; index += 2) {
    const span = source.subarray(spans[index], spans[index + 1]);
    records.set(span, at);
    at += span.length;
  }
  const cleaned = isPlain ? records : withHead(await compressed(codec, records));
  cleaned.set(batch.subarray(0, BATCH_HEADER_BYTES));
  writeInt32(cleaned, LENGTH_AT, cleaned.length - BATCH_LENGTH_PREFIX);
  writeInt32(cleaned, RECORD_COUNT_AT, count);
  if ((readAttributes(batch, 0) & LOG_APPEND_TIME_BIT) === 0) writeInt64(cleaned, MAX_TIMESTAMP_AT, maxTimestamp);
  sealBatch(cleaned);
  return cleaned;
};

/** Small blocks at once: a way to a thread and back costs more. */
const compressed = (codec: Codec, records: Uint8Array): Uint8Array | Promise<Uint8Array> =>
  records.length < COMPRESS_OFF_LOOP_BYTES ? compressSync(codec, records) : compress(codec, records);

const withHead = (block: Uint8Array): Uint8Array => {
  const batch = new Uint8Array(BATCH_HEADER_BYTES + block.length);
  batch.set(block, BATCH_HEADER_BYTES);
  return batch;
};

/** The batch without its records: what its producer is known by stays. */
export const emptied = (batch: Uint8Array): Uint8Array => {
  const head = batch.slice(0, BATCH_HEADER_BYTES);
  writeInt32(head, LENGTH_AT, BATCH_HEADER_BYTES - BATCH_LENGTH_PREFIX);
  writeInt32(head, RECORD_COUNT_AT, 0);
  sealBatch(head);
  return head;
};
