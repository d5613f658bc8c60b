// Walking over the batches of a file, from a position at which a batch is known to begin.
//
// What is no batch in its place is read once more before it is believed: a stray answer of the disk would end a log, or be taken for damage.

import {
  readBaseOffset,
  readBatchBytes,
  readLastOffset,
  readLeaderEpoch,
  BATCH_LENGTH_PREFIX,
  BATCH_HEADER_BYTES,
  MAGIC_AT,
  BATCH_MAGIC,
  inspectBatch,
  isEpochStart,
} from '@sluice/protocol/record';
import type { Position } from '../base/position.ts';
import type { DiskFile } from '../io/disk.ts';
import type { EpochMap } from './epoch-map.ts';
import type { FilePool } from './file-pool.ts';
import type { Segment } from './segment.ts';

const CHUNK_BYTES = 4 * 1024 * 1024;
/** A walk often ends after a few batches. */
const WALK_CHUNK_BYTES = 1024 * 1024;

/** No batch is larger, whatever a topic allows: a length beyond it is damage and allocates nothing. */
export const STORED_BATCH_BYTES_MAX = 64 * 1024 * 1024;

export interface ScanFrom {
  readonly position: number;
  /** What the batch there must begin with. */
  readonly baseOffset: number;
  /** Scan up to here: the file's length, or less. */
  readonly endPosition: number;
  /** Which leader epoch belongs to which offset; null while that is what is being found out. */
  readonly epochs: EpochMap | null;
  /** No batch reaches beyond it. Absent: where it ends is what is being found out. */
  readonly endOffset?: number;
  /** How much is read at once, where nothing else is said of a batch. */
  readonly chunkBytes?: number;
  /** Behind the sync point the log itself tells of its epochs: their starts are taken into the map on the way. */
  readonly grows?: boolean;
}

/** Where the scan ended: at a clean end, or at the first thing that is no batch in its place. */
export interface ScanEnd {
  readonly position: number;
  readonly endOffset: number;
  /** Null for a clean end. */
  readonly fault: string | null;
}

/** Called with each good batch in its place: the buffer it lies in, where, and how long it is. */
export type OnBatch = (buffer: Uint8Array, at: number, batchBytes: number) => void;

export interface Scan {
  /** A run of good batches as it lies in the file, once each. 'end': that was enough. */
  readonly onChunk?: (bytes: Uint8Array, position: number) => Promise<void | 'end'>;
  readonly onBatch: OnBatch;
}

/** Why the batch cannot stand here, or its length. */
const judge = (
  buffer: Uint8Array,
  at: number,
  expected: {
    readonly baseOffset: number;
    readonly epochs: EpochMap | null;
    readonly grows: boolean;
    readonly endOffset: number;
  },
): { readonly bytes: number } | { readonly needed: number } | { readonly fault: string } => {
  const inspection = inspectBatch(buffer, at, {
    bytesMax: STORED_BATCH_BYTES_MAX,
    verifyCrc: true,
  });
  if (!inspection.ok) {
    if (inspection.fault.kind === 'incomplete') return { needed: inspection.fault.needed };
    return { fault: `${inspection.fault.kind}: ${inspection.fault.detail}` };
  }
  const baseOffset = readBaseOffset(buffer, at);
  // Offset and epoch lie outside the CRC: that they are the ones that belong here is all that vouches for them.
  if (baseOffset !== expected.baseOffset) {
    return { fault: `base offset ${baseOffset} where ${expected.baseOffset} is expected` };
  }
  const { epochs } = expected;
  if (epochs !== null && !epochs.admits(buffer, at)) {
    const epoch = readLeaderEpoch(buffer, at);
    if (!expected.grows || !isEpochStart(buffer, at) || !epochs.canStart(epoch, baseOffset)) {
      return { fault: `leader epoch ${epoch} does not belong to offset ${baseOffset}` };
    }
    epochs.start(epoch, baseOffset);
  }
  const lastOffset = readLastOffset(buffer, at);
  if (lastOffset >= expected.endOffset) {
    return { fault: `last offset ${lastOffset} where the log goes on with ${expected.endOffset}` };
  }
  return { bytes: inspection.byteLength };
};

export const scanBatches = async (file: DiskFile, from: ScanFrom, scan: Scan): Promise<ScanEnd> => {
  let { position, baseOffset: endOffset } = from;
  const { epochs, grows = false, endOffset: endMax = Number.MAX_SAFE_INTEGER } = from;
  let usualBytes = from.chunkBytes ?? CHUNK_BYTES;
  let chunkBytes = usualBytes;
  /** Where something was found to be wrong, and is looked at again. */
  let doubted = -1;
  while (position < from.endPosition) {
    const buffer = Buffer.allocUnsafeSlow(Math.min(chunkBytes, from.endPosition - position));
    const filled = await file.read(buffer, position);
    const chunk = buffer.subarray(0, filled);
    let at = 0;
    let fault: string | null = null;
    chunkBytes = usualBytes;
    while (at < chunk.length) {
      const verdict = judge(chunk, at, { baseOffset: endOffset, epochs, grows, endOffset: endMax });
      if ('fault' in verdict) {
        fault = verdict.fault;
        break;
      }
      if ('needed' in verdict) {
        if (position + at + verdict.needed > from.endPosition || filled < buffer.length) {
          fault = `a batch of ${verdict.needed} bytes reaches beyond the end of the file`;
        } else {
          // Those behind it are often as large.
          usualBytes = Math.max(usualBytes, verdict.needed);
          chunkBytes = usualBytes;
        }
        break;
      }
      scan.onBatch(chunk, at, verdict.bytes);
      endOffset = readLastOffset(chunk, at) + 1;
      at += verdict.bytes;
    }
    const said = at > 0 ? await scan.onChunk?.(chunk.subarray(0, at), position) : undefined;
    position += at;
    if (said === 'end') return { position, endOffset, fault: null };
    if (fault !== null) {
      if (doubted === position) return { position, endOffset, fault };
      doubted = position;
    } else if (filled === 0) break;
  }
  const fault = position < from.endPosition ? 'the file ends early' : null;
  return { position, endOffset, fault };
};

/** Something that is no batch in its place, up to the next good batch behind it or to the end that was asked for. */
export interface FoundDamage {
  readonly from: number;
  readonly to: number;
  readonly position: number;
  /** Where the batch at `to` begins; null when there is none in this file. */
  readonly toPosition: number | null;
  /** What that batch is. */
  readonly next: { readonly epoch: number; readonly isStart: boolean } | null;
  readonly reason: string;
}

export interface ScanOverDamage extends Scan {
  readonly onDamage: (found: FoundDamage) => void | Promise<void>;
}

/**
 * Scans what should be whole up to `endOffset`, stepping over what is not. Answers the offset behind the last good batch:
 * `endOffset`, or less where the end is damaged.
 */
export const scanOverDamage = async (
  file: DiskFile,
  from: ScanFrom & { readonly endOffset: number },
  scan: ScanOverDamage,
): Promise<number> => {
  const { endPosition, endOffset } = from;
  let { position, baseOffset } = from;
  for (;;) {
    const end = await scanBatches(file, { ...from, position, baseOffset }, scan);
    if (end.fault === null && end.endOffset >= endOffset) return end.endOffset;
    const behind =
      end.fault === null
        ? null
        : await findBatchBehind(file, end.position + 1, {
            endPosition,
            damaged: { position: end.position, offset: end.endOffset },
            offsetMax: endOffset - 1,
          });
    await scan.onDamage({
      from: end.endOffset,
      to: behind?.baseOffset ?? endOffset,
      position: end.position,
      toPosition: behind?.position ?? null,
      next: behind,
      reason: end.fault ?? `what was synced up to offset ${endOffset} ends at ${end.endOffset}`,
    });
    if (behind === null) return end.endOffset;
    ({ position, baseOffset } = behind);
  }
};

export interface FoundBatch {
  readonly position: number;
  readonly baseOffset: number;
  readonly epoch: number;
  readonly isStart: boolean;
}

export interface BehindDamage {
  readonly endPosition: number;
  /** What is no batch in its place begins here. */
  readonly damaged: { readonly position: number; readonly offset: number };
  readonly offsetMax: number;
}

/** The same offset goes on where only epoch starts were damaged; each of them is as long as a header. */
const liesBehind = (
  found: { readonly position: number; readonly baseOffset: number },
  { damaged, offsetMax }: BehindDamage,
): boolean => {
  const { position, baseOffset } = found;
  if (baseOffset === damaged.offset) return (position - damaged.position) % BATCH_HEADER_BYTES === 0;
  return baseOffset > damaged.offset && baseOffset <= offsetMax;
};

/**
 * The first whole batch with a good CRC that begins at or after `from`, wherever it lies, and could stand behind the damage; null when
 * there is none. Lengths cannot be followed there.
 */
export const findBatchBehind = async (
  file: DiskFile,
  from: number,
  range: BehindDamage,
): Promise<FoundBatch | null> => {
  let position = from;
  let windowBytes = CHUNK_BYTES;
  while (position < range.endPosition) {
    const buffer = Buffer.allocUnsafeSlow(Math.min(windowBytes, range.endPosition - position));
    const filled = await file.read(buffer, position);
    if (filled < BATCH_HEADER_BYTES) return null;
    const isLast = position + filled >= range.endPosition || filled < buffer.length;
    let at = 0;
    let needed = 0;
    for (; at + BATCH_HEADER_BYTES <= filled; at++) {
      if (buffer[at + MAGIC_AT] !== BATCH_MAGIC) continue;
      const batchBytes = readBatchBytes(buffer, at);
      if (batchBytes < BATCH_HEADER_BYTES || batchBytes > STORED_BATCH_BYTES_MAX) continue;
      const baseOffset = readBaseOffset(buffer, at);
      if (!liesBehind({ position: position + at, baseOffset }, range)) continue;
      if (at + batchBytes > filled) {
        if (isLast) continue;
        needed = batchBytes;
        break;
      }
      const inspection = inspectBatch(buffer.subarray(0, filled), at, { bytesMax: batchBytes, verifyCrc: true });
      if (!inspection.ok) continue;
      const epoch = readLeaderEpoch(buffer, at);
      return { position: position + at, baseOffset, epoch, isStart: isEpochStart(buffer, at) };
    }
    if (isLast) return null;
    // A candidate that reaches beyond the window is looked at again at the start of a larger one.
    windowBytes = Math.max(CHUNK_BYTES, needed + BATCH_LENGTH_PREFIX);
    position += at;
  }
  return null;
};

/** Whether the batch, which lies in one log with the position, ends at or before it. */
export const endsWithin = (batch: Uint8Array, at: number, position: Position): boolean =>
  readLeaderEpoch(batch, at) <= position.epoch && readLastOffset(batch, at) < position.offset;

/** What a visitor says of a batch: that the walk goes on, or ends, or that this batch does not belong here. */
export type Visited = 'go-on' | 'end' | 'misplaced';

/**
 * Calls `visit` with each batch of the written part of a segment that is whole, from a position on, as long as it says so. Answers the
 * position of the first thing that is no batch or is misplaced, or null when the walk ended otherwise. The place of a batch lies
 * outside its checksum and is the visitor's to judge.
 */
export const walkBatches = async (
  files: FilePool,
  from: { readonly segment: Segment; readonly position: number },
  visit: (buffer: Uint8Array, at: number, batchBytes: number) => Visited,
): Promise<number | null> => {
  const { segment } = from;
  let { position } = from;
  let chunkBytes = WALK_CHUNK_BYTES;
  let doubted = -1;
  return files.use(segment.logPath, async file => {
    while (position < segment.writtenBytes) {
      const buffer = Buffer.allocUnsafeSlow(Math.min(chunkBytes, segment.writtenBytes - position));
      const filled = await file.read(buffer, position);
      if (filled === 0) return position;
      let at = 0;
      let isWrong = false;
      while (at < filled) {
        const inspection = inspectBatch(buffer.subarray(0, filled), at, {
          bytesMax: STORED_BATCH_BYTES_MAX,
          verifyCrc: true,
        });
        if (!inspection.ok) {
          const { fault } = inspection;
          // A length that reaches beyond what was written is damage, not a reason to read on.
          const needed = fault.kind === 'incomplete' && filled === buffer.length ? fault.needed : Infinity;
          isWrong = position + at + needed > segment.writtenBytes;
          if (!isWrong) chunkBytes = Math.max(chunkBytes, needed);
          break;
        }
        const visited = visit(buffer, at, inspection.byteLength);
        if (visited === 'end') return null;
        isWrong = visited === 'misplaced';
        if (isWrong) break;
        at += inspection.byteLength;
      }
      position += at;
      if (isWrong) {
        if (doubted === position) return position;
        doubted = position;
      }
    }
    return null;
  });
};
