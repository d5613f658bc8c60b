// `sluice dump-log FILE`: what a segment or one of its indexes holds, in the words of Kafka's own tool.
//
//   *.log        one line a batch; with --deep one line a record below it
//   *.index      one line an entry; *.timeindex likewise
//
// The file is only read, and may be one that a broker is writing. Exit code 1 when damage is found, with file and
// position on standard error: a batch that is none or whose checksum or records are wrong, an index entry that does not
// rise or that its segment (where it stands beside the index) contradicts. A batch with a wrong checksum but a plausible
// length is stepped over; behind any other damage no batch can be found, and the dump ends.

import { basename, join, dirname } from 'node:path';
import {
  BATCH_HEADER_BYTES,
  BATCH_MAGIC,
  type BatchFault,
  BatchView,
  type DecodeFault,
  DELETE_HORIZON_BIT,
  type Header,
  inspectBatch,
  readAttributes,
  readBatchBytes,
  readCrc,
  readInt32,
  readInt64,
  readMagic,
  RecordCursor,
  recordHeaders,
  recordKey,
  recordValue,
} from '@sluice/protocol/record';
import { type Disk, DiskFault, type DiskFile } from '../../io/disk.ts';
import { realDisk } from '../../io/real/disk.ts';
import { parseSegmentFileName, segmentFileName } from '../../storage/segment-name.ts';
import type { CommandContext } from '../command.ts';
import { failure, withoutControls } from '../failure.ts';
import type { Terminal } from '../terminal.ts';

const OFFSET_ENTRY_BYTES = 8;
const TIME_ENTRY_BYTES = 12;
/** Read at once; a larger batch is read alone. */
const CHUNK_BYTES = 1024 * 1024;

interface Dump {
  readonly disk: Disk;
  readonly terminal: Terminal;
  readonly path: string;
  readonly isDeep: boolean;
}

/** Null when all is well, else the first thing that is not. */
type Finding = { readonly position: number; readonly detail: string } | null;

export const dumpLog = async ({ invocation, terminal }: CommandContext): Promise<number> => {
  const path = invocation.argument(0);
  const dump: Dump = { disk: realDisk, terminal, path, isDeep: invocation.isOn('deep') };
  const name = parseSegmentFileName(basename(path));
  if (name === null) {
    throw failure(`${path} is no segment file: names are 20 digits and .log, .index or .timeindex`);
  }
  try {
    await terminal.print(`Dumping ${path}\n`);
    const finding = await dumpFile(dump, name);
    if (finding === null) return 0;
    throw failure(`${path} is damaged at position ${finding.position}: ${finding.detail}`);
  } catch (error) {
    if (!(error instanceof DiskFault)) throw error;
    throw failure(`cannot read ${error.path} (${error.kind})`, error);
  }
};

const dumpFile = async (dump: Dump, name: NonNullable<ReturnType<typeof parseSegmentFileName>>): Promise<Finding> => {
  if (name.kind === 'log') return dumpSegment(dump, name.baseOffset);
  const entries = await dump.disk.readFile(dump.path);
  const segment = join(dirname(dump.path), segmentFileName(name.baseOffset, 'log'));
  const file = (await dump.disk.exists(segment)) ? await dump.disk.open(segment, 'read') : null;
  try {
    const index = { entries, baseOffset: name.baseOffset, segment: file };
    return await (name.kind === 'index' ? dumpOffsetIndex(dump, index) : dumpTimeIndex(dump, index));
  } finally {
    await file?.close();
  }
};

// ---- Segments --------------------------------------------------------------------------------------------------------

const dumpSegment = async (dump: Dump, baseOffset: number): Promise<Finding> => {
  await dump.terminal.print(`Log starting offset: ${baseOffset}\n`);
  const file = await dump.disk.open(dump.path, 'read');
  try {
    let finding: Finding = null;
    let expected = baseOffset;
    const length = await file.byteLength();
    for await (const { batch, position, fault } of segmentBatches(file, length)) {
      if (batch === null) return finding ?? { position, detail: fault ?? 'no batch' };
      const view = new BatchView(batch);
      const records = dump.isDeep ? recordLines(batch) : { text: '', fault: null };
      await dump.terminal.print(batchLine(view, position, fault === null) + records.text);
      const detail = fault ?? records.fault ?? orderFault(view, expected);
      if (detail !== null) finding ??= { position, detail };
      expected = Math.max(expected, view.nextOffset);
      if (dump.terminal.interrupted.aborted) return finding;
    }
    return finding;
  } finally {
    await file.close();
  }
};

interface PlacedBatch {
  /** Null where nothing that could be a batch stands; it is the last one then. */
  readonly batch: Uint8Array | null;
  readonly position: number;
  readonly fault: string | null;
}

/** The batches up to `end`, with what is wrong with each. */
async function* segmentBatches(file: DiskFile, end: number, from = 0): AsyncGenerator<PlacedBatch, void, void> {
  let position = from;
  let chunk: Uint8Array = new Uint8Array(0);
  let at = 0;
  while (position < end) {
    const remaining = end - position;
    const needed = neededBytes(chunk, at);
    if (needed > remaining) {
      yield { batch: null, position, fault: `a batch of ${needed} bytes, but the file ends after ${remaining}` };
      return;
    }
    if (needed > chunk.length - at) {
      chunk = await readAt(file, position, Math.min(remaining, Math.max(needed, CHUNK_BYTES)));
      at = 0;
      if (chunk.length < needed) {
        yield { batch: null, position, fault: 'the file ends early' };
        return;
      }
      continue;
    }
    const inspected = inspectBatch(chunk, at, { bytesMax: remaining, verifyCrc: true });
    const isStepped = inspected.ok || inspected.fault.kind === 'crc';
    const fault = inspected.ok ? null : faultText(inspected.fault);
    if (!isStepped) {
      yield { batch: null, position, fault };
      return;
    }
    const bytes = readBatchBytes(chunk, at);
    yield { batch: chunk.subarray(at, at + bytes), position, fault };
    at += bytes;
    position += bytes;
  }
}

/** Bytes from `at` on that must be there before the batch can be judged: a header, then all that it announces. */
const neededBytes = (chunk: Uint8Array, at: number): number => {
  if (chunk.length - at < BATCH_HEADER_BYTES) return BATCH_HEADER_BYTES;
  const bytes = readBatchBytes(chunk, at);
  // Neither a length nor a version that cannot be needs more than the header to be judged.
  return bytes < BATCH_HEADER_BYTES || readMagic(chunk, at) !== BATCH_MAGIC ? BATCH_HEADER_BYTES : bytes;
};

const readAt = async (file: DiskFile, position: number, length: number): Promise<Uint8Array> => {
  const buffer = new Uint8Array(length);
  const filled = await file.read(buffer, position);
  return buffer.subarray(0, filled);
};

const orderFault = (view: BatchView, expected: number): string | null =>
  view.baseOffset < expected ? `base offset ${view.baseOffset} where at least ${expected} is expected` : null;

const batchLine = (view: BatchView, position: number, isValid: boolean): string =>
  `${[
    `baseOffset: ${view.baseOffset}`,
    `lastOffset: ${view.lastOffset}`,
    `count: ${view.recordCount}`,
    `baseSequence: ${view.baseSequence}`,
    `lastSequence: ${view.producerId < 0 ? -1 : lastSequence(view)}`,
    `producerId: ${view.producerId}`,
    `producerEpoch: ${view.producerEpoch}`,
    `partitionLeaderEpoch: ${view.leaderEpoch}`,
    `isTransactional: ${view.isTransactional}`,
    `isControl: ${view.isControl}`,
    `deleteHorizonMs: ${deleteHorizon(view)}`,
    `position: ${position}`,
    `${timestampName(view)}: ${view.maxTimestamp}`,
    `size: ${view.byteLength}`,
    'magic: 2',
    `compresscodec: ${view.codec ?? 'unknown'}`,
    `crc: ${readCrc(view.bytes, 0)}`,
    `isvalid: ${isValid}`,
  ].join(' ')}\n`;

/** Spelt as Kafka's tool does. With the bit set, the base timestamp is the horizon. */
const deleteHorizon = (view: BatchView): string =>
  (readAttributes(view.bytes, 0) & DELETE_HORIZON_BIT) === 0
    ? 'OptionalLong.empty'
    : `OptionalLong[${view.baseTimestamp}]`;

/** Sequences wrap to 0 behind the largest int32. */
const lastSequence = (view: BatchView): number => (view.baseSequence + view.lastOffsetDelta) % 0x8000_0000;

const timestampName = (view: BatchView): string => (view.timestampType === 'append' ? 'LogAppendTime' : 'CreateTime');

const recordLines = (batch: Uint8Array): { readonly text: string; readonly fault: string | null } => {
  const opened = RecordCursor.open(batch);
  const view = new BatchView(batch);
  if (!opened.ok) return { text: '', fault: faultText(opened.fault) };
  const { cursor } = opened;
  let text = '';
  while (cursor.next()) {
    const sequence = view.producerId < 0 ? -1 : (view.baseSequence + (cursor.offset - view.baseOffset)) % 0x8000_0000;
    const key = recordKey(cursor);
    const value = recordValue(cursor);
    text +=
      `| offset: ${cursor.offset} ${timestampName(view)}: ${cursor.timestamp} keySize: ${key?.length ?? -1}` +
      ` valueSize: ${value?.length ?? -1} sequence: ${sequence} headerKeys: [${headerKeys(recordHeaders(cursor))}]` +
      `${key === null ? '' : ` key: ${printable(key)}`}${value === null ? '' : ` payload: ${printable(value)}`}\n`;
  }
  return { text, fault: cursor.fault === null ? null : faultText(cursor.fault) };
};

const headerKeys = (headers: readonly Header[]): string => headers.map(({ key }) => withoutControls(key)).join(',');

/** As text on one line; a terminal must not be steered by what somebody stored. */
const printable = (bytes: Uint8Array): string =>
  withoutControls(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8'));

const faultText = (fault: BatchFault | DecodeFault): string => {
  if (fault.kind === 'incomplete') return `it should have ${fault.needed} bytes and has fewer`;
  const where = fault.kind === 'record' ? `record ${fault.index}` : fault.kind;
  return `${where}: ${fault.detail}`;
};

// ---- Indexes ---------------------------------------------------------------------------------------------------------

interface Index {
  readonly entries: Uint8Array;
  readonly baseOffset: number;
  /** The segment beside the index, where there is one. */
  readonly segment: DiskFile | null;
}

/** Each entry names the last offset of the batch that begins at its position; both rise. */
const dumpOffsetIndex = async (dump: Dump, { entries, baseOffset, segment }: Index): Promise<Finding> => {
  let finding = wholeEntries(entries, OFFSET_ENTRY_BYTES);
  const segmentBytes = segment === null ? 0 : await segment.byteLength();
  let [lastOffset, lastPosition] = [baseOffset - 1, -1];
  let lines = '';
  for (let at = 0; at + OFFSET_ENTRY_BYTES <= entries.length; at += OFFSET_ENTRY_BYTES) {
    const offset = baseOffset + readInt32(entries, at);
    const position = readInt32(entries, at + 4);
    lines += `offset: ${offset} position: ${position}\n`;
    let detail: string | null = null;
    if (offset <= lastOffset || position <= lastPosition) {
      detail = `offset ${offset} at position ${position} does not rise above ${lastOffset} at ${lastPosition}`;
    } else if (segment !== null) {
      const batch = await batchAt(segment, position, segmentBytes);
      if (batch === null) detail = `no batch of the segment begins at position ${position}`;
      else if (batch.lastOffset !== offset) {
        detail = `the batch at position ${position} ends with offset ${batch.lastOffset}, not ${offset}`;
      }
    }
    if (detail !== null) finding ??= { position: at, detail };
    [lastOffset, lastPosition] = [Math.max(lastOffset, offset), Math.max(lastPosition, position)];
  }
  await dump.terminal.print(lines);
  return finding;
};

/** Each entry names a batch's largest timestamp and its last offset; both rise. */
const dumpTimeIndex = async (dump: Dump, { entries, baseOffset, segment }: Index): Promise<Finding> => {
  let finding = wholeEntries(entries, TIME_ENTRY_BYTES);
  const timestamps = segment === null ? null : await timestampsByLastOffset(segment);
  let [lastTimestamp, lastOffset] = [Number.NEGATIVE_INFINITY, baseOffset - 1];
  let lines = '';
  for (let at = 0; at + TIME_ENTRY_BYTES <= entries.length; at += TIME_ENTRY_BYTES) {
    const timestamp = readInt64(entries, at);
    const offset = baseOffset + readInt32(entries, at + 8);
    lines += `timestamp: ${timestamp} offset: ${offset}\n`;
    let detail: string | null = null;
    if (timestamp <= lastTimestamp || offset <= lastOffset) {
      detail = `timestamp ${timestamp} at offset ${offset} does not rise above ${lastTimestamp} at ${lastOffset}`;
    } else if (timestamps !== null) {
      const actual = timestamps.get(offset);
      if (actual === undefined) detail = `no batch of the segment ends with offset ${offset}`;
      else if (actual !== timestamp)
        detail = `the batch with last offset ${offset} has timestamp ${actual}, not ${timestamp}`;
    }
    if (detail !== null) finding ??= { position: at, detail };
    [lastTimestamp, lastOffset] = [Math.max(lastTimestamp, timestamp), Math.max(lastOffset, offset)];
  }
  await dump.terminal.print(lines);
  return finding;
};

const wholeEntries = (entries: Uint8Array, entryBytes: number): Finding => {
  const rest = entries.length % entryBytes;
  return rest === 0 ? null : { position: entries.length - rest, detail: `${rest} bytes are no whole entry` };
};

const batchAt = async (segment: DiskFile, position: number, end: number): Promise<BatchView | null> => {
  if (position < 0 || position + BATCH_HEADER_BYTES > end) return null;
  for await (const { batch, fault } of segmentBatches(segment, end, position)) {
    return batch === null || fault !== null ? null : new BatchView(batch);
  }
  return null;
};

const timestampsByLastOffset = async (segment: DiskFile): Promise<ReadonlyMap<number, number>> => {
  const timestamps = new Map<number, number>();
  for await (const { batch } of segmentBatches(segment, await segment.byteLength())) {
    if (batch === null) break;
    const view = new BatchView(batch);
    // An epoch start spans no offset and stands in no index.
    if (view.nextOffset > view.baseOffset) timestamps.set(view.lastOffset, view.maxTimestamp);
  }
  return timestamps;
};
