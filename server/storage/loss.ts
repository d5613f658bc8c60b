// Giving damaged records up: the damaged range of a segment becomes a gap, which is one batch without records that keeps the
// offsets. Whoever reads steps over it, and the log is whole again.
//
// Epoch starts among the damaged bytes are written again: the checkpoint knows them, and only their time is lost.
//
//   <base>.damaged-<from>-<last>   the damaged bytes as they were, one file a range: evidence
//   <base>.log.tmp                 the new segment while it is written
//
// Each step is durable before the next, and a crash after any of them leaves the old log or the new one:
//
//   1. recovery, as at every start; then the log is closed, so that the sync point stands at its end
//   2. a last segment that is damaged gets an empty successor, and the sync point moves there: it is sealed now
//   3. the evidence, and the new segment beside the old one
//   4. the mark of the sealed segment goes: recovery looks at every batch of it from here on, whichever file it finds
//   5. the new segment takes the name of the old one
//   6. recovery again: it builds both indexes and the mark of what it finds
//
// Where a whole segment is missing, the one before it is continued over the gap; where it was the first, a new one is made.

import path from 'node:path';
import { leaderEpoch, type Offset, offset } from '@sluice/protocol/ids';
import { emptyBatch, encodeEpochStart, NONE, readLeaderEpoch } from '@sluice/protocol/record';
import { assert } from '../base/assert.ts';
import { ORIGIN } from '../base/position.ts';
import { DiskFault } from '../io/disk.ts';
import { EpochMap } from './epoch-map.ts';
import type { LogContext } from './log-context.ts';
import { LogMarks } from './log-marks.ts';
import { type FoundDamage, type ScanOverDamage, scanOverDamage } from './log-scan.ts';
import type { PartitionLog } from './partition-log.ts';
import { EPOCH_CHECKPOINT, knownEpochs } from './recovery.ts';
import { Segment } from './segment.ts';
import { createSegmentFiles } from './segment-files.ts';
import { parseSegmentFileName } from './segment-name.ts';
import { readSmallFile, TEMPORARY_SUFFIX } from './small-file.ts';

export interface AcceptedLoss {
  readonly file: string;
  /** Where the damaged bytes are kept; null where there were none. */
  readonly evidence: string | null;
  readonly from: Offset;
  readonly to: Offset;
  readonly bytes: number;
  readonly reason: string;
}

export interface AcceptLossRequest {
  readonly context: LogContext;
  readonly directory: string;
  readonly key: string;
  /** Recovers the log, as every start does. */
  readonly open: () => Promise<PartitionLog>;
}

const COPY_BYTES = 1024 * 1024;
/** Index entries name offsets relative to their segment, as an int32. */
const SPAN_MAX = 0x7fff_ffff;

/** What was given up, in order of offsets; empty where nothing is damaged. */
export const acceptLoss = (request: AcceptLossRequest): Promise<readonly AcceptedLoss[]> =>
  new Acceptance(request).run();

interface Damaged {
  readonly segment: Segment;
  /** False where the file is missing. */
  readonly exists: boolean;
  readonly endOffset: Offset;
  readonly ranges: readonly FoundDamage[];
}

class Acceptance {
  readonly #request: AcceptLossRequest;
  readonly #context: LogContext;
  readonly #marks: LogMarks;
  #epochs = new EpochMap();

  constructor(request: AcceptLossRequest) {
    this.#request = request;
    this.#context = request.context;
    this.#marks = new LogMarks(request.context.store, request.key);
  }

  async run(): Promise<readonly AcceptedLoss[]> {
    await this.#recover();
    const text = await readSmallFile(this.#context.disk, path.join(this.#request.directory, EPOCH_CHECKPOINT));
    const base = this.#marks.logStart().base ?? ORIGIN;
    this.#epochs = knownEpochs(text, base, this.#marks.syncPoint()) ?? new EpochMap(base);
    const damaged = await this.#damaged();
    const losses: AcceptedLoss[] = [];
    for (const each of damaged) losses.push(...(await this.#replace(each)));
    if (damaged.length > 0) await this.#recover();
    return losses;
  }

  /** As at every start, closed again: everything on disk is durable, and the sync point stands at the end. */
  async #recover(): Promise<void> {
    await (await this.#request.open()).close();
    await this.#marks.flush();
  }

  async #damaged(): Promise<readonly Damaged[]> {
    const { directory } = this.#request;
    const point = this.#marks.syncPoint();
    assert(point !== null, 'a log that was recovered has a sync point');
    const start = this.#marks.logStart().offset;
    const segments = await this.#segments();
    const damaged: Damaged[] = [];
    const firstBase = segments[0]?.baseOffset ?? point.endOffset;
    if (start < firstBase) {
      const reason = 'a segment is missing';
      const range = { from: start, to: firstBase, position: 0, toPosition: null, next: null, reason };
      damaged.push({ segment: new Segment(directory, start), exists: false, endOffset: firstBase, ranges: [range] });
    }
    for (const [index, segment] of segments.entries()) {
      const endOffset = segments[index + 1]?.baseOffset ?? point.endOffset;
      const found = { segment, exists: true, endOffset };
      const ranges: FoundDamage[] = [];
      await this.#scan(found, { onBatch() {}, onDamage: range => void ranges.push(range) });
      if (ranges.length === 0) continue;
      if (index === segments.length - 1) await this.#seal(endOffset);
      damaged.push({ ...found, ranges });
    }
    for (const { segment, endOffset } of damaged) {
      if (endOffset - segment.baseOffset <= SPAN_MAX) continue;
      throw new DiskFault('failed', segment.logPath, new Error('the gap is too wide for one segment'));
    }
    return damaged;
  }

  async #segments(): Promise<Segment[]> {
    const { directory } = this.#request;
    const segments: Segment[] = [];
    for (const { name } of await this.#context.disk.list(directory)) {
      const parsed = parseSegmentFileName(name);
      if (parsed?.kind !== 'log') continue;
      const segment = new Segment(directory, parsed.baseOffset);
      segment.byteLength = await this.#context.files.use(segment.logPath, file => file.byteLength());
      segments.push(segment);
    }
    return segments.sort((left, right) => left.baseOffset - right.baseOffset);
  }

  /** An empty segment behind the last one, and the sync point in it. */
  async #seal(endOffset: Offset): Promise<void> {
    const { directory } = this.#request;
    await createSegmentFiles(this.#context, new Segment(directory, endOffset));
    await this.#context.disk.syncDirectory(directory);
    const point = this.#marks.syncPoint()!;
    const blank = { position: 0, crc: 0, latestTimestamp: -1, latestOffset: -1, firstTimestamp: -1 };
    this.#marks.setSyncPoint({ ...point, ...blank, endOffset, segment: endOffset }, 0);
    await this.#marks.flush();
  }

  async #replace(damaged: Damaged): Promise<readonly AcceptedLoss[]> {
    const { disk, files } = this.#context;
    const { directory } = this.#request;
    const { segment, exists } = damaged;
    const target = segment.logPath;
    const losses: AcceptedLoss[] = [];
    for (const range of damaged.ranges) losses.push(await this.#keepEvidence(damaged, range));
    const temporary = `${target}${TEMPORARY_SUFFIX}`;
    await this.#write(temporary, async append => {
      let lastEpoch = this.#epochs.positionBelow(segment.baseOffset).epoch;
      const onDamage = async (range: FoundDamage): Promise<void> => {
        for (const batch of this.#gap(range, lastEpoch)) await append(batch);
      };
      const onBatch = (buffer: Uint8Array, at: number): void =>
        void (lastEpoch = leaderEpoch(readLeaderEpoch(buffer, at)));
      if (exists) await this.#scan(damaged, { onBatch, onChunk: append, onDamage });
      else for (const range of damaged.ranges) await onDamage(range);
    });
    await disk.syncDirectory(directory);
    this.#marks.removeSealed(segment.baseOffset);
    await this.#marks.flush();
    await files.forget(target);
    await disk.rename(temporary, target);
    await disk.syncDirectory(directory);
    return losses;
  }

  #scan({ segment, endOffset }: Omit<Damaged, 'ranges'>, scan: ScanOverDamage): Promise<number> {
    const { baseOffset, byteLength: endPosition } = segment;
    const from = { position: 0, baseOffset, endPosition, endOffset, epochs: this.#epochs };
    return this.#context.files.use(segment.logPath, file => scanOverDamage(file, from, scan));
  }

  /** What keeps the offsets of a range, with the epoch starts that stood in it; `before` is the epoch of what comes before. */
  #gap({ from, to, next }: FoundDamage, before: number): readonly Uint8Array[] {
    const batches: Uint8Array[] = [];
    let at = from;
    const span = (end: number): void => {
      if (end <= at) return;
      batches.push(emptyBatch({ baseOffset: at, lastOffset: end - 1, leaderEpoch: this.#epochs.epochAt(at) }));
      at = end;
    };
    for (const { epoch, startOffset } of this.#epochs.starts) {
      const isBehind = startOffset > to || (next !== null && startOffset === to && epoch >= next.epoch && next.isStart);
      if (epoch <= before || startOffset < from || isBehind) continue;
      if (next !== null && epoch > next.epoch) break;
      span(startOffset);
      batches.push(encodeEpochStart({ epoch, baseOffset: startOffset, timestamp: NONE }));
    }
    span(to);
    return batches;
  }

  /** The damaged bytes in a file of their own. */
  async #keepEvidence({ segment, exists }: Damaged, range: FoundDamage): Promise<AcceptedLoss> {
    const { from, to, position, reason } = range;
    const bytes = exists ? (range.toPosition ?? segment.byteLength) - position : 0;
    const loss = { file: segment.logPath, from: offset(from), to: offset(to), bytes, reason };
    if (bytes === 0) return { ...loss, evidence: null };
    const evidence = segment.logPath.replace(/log$/, `damaged-${from}-${to - 1}`);
    await this.#write(evidence, append =>
      this.#context.files.use(segment.logPath, async file => {
        for (let at = position; at < position + bytes; at += COPY_BYTES) {
          const piece = Buffer.allocUnsafeSlow(Math.min(COPY_BYTES, position + bytes - at));
          await append(piece.subarray(0, await file.read(piece, at)));
        }
      }),
    );
    return { ...loss, evidence };
  }

  /** A file written from its start and synced; one that an earlier attempt left is replaced. */
  async #write(
    target: string,
    fill: (append: (bytes: Uint8Array) => Promise<void>) => Promise<unknown>,
  ): Promise<void> {
    const { disk } = this.#context;
    if (await disk.exists(target)) await disk.removeFile(target);
    const file = await disk.open(target, 'create');
    let position = 0;
    try {
      await fill(async bytes => {
        const written = await file.write([bytes], position);
        if (written < bytes.length) throw new DiskFault('full', target);
        position += bytes.length;
      });
      await file.sync();
    } finally {
      await file.close();
    }
  }
}
