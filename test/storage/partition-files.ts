// Judges the files of one partition as an outsider would: from their bytes and the format's rules alone.
//
//   .log        whole batches, CRC good, offsets without gaps, the first one named by the file
//   .index      offset and position both rise; at each position begins the batch whose last offset the entry names
//   .timeindex  time and offset both rise; each entry names a batch by its last offset and holds that batch's largest time,
//               which is the largest so far

import { inspectBatch, readBaseOffset, readLastOffset } from '@sluice/protocol/record';
import { recordsOf } from './batches.ts';
import type { SimulatedDisk } from '../simulation/disk.ts';

export interface StoredBatch {
  readonly position: number;
  readonly bytes: Uint8Array;
}

export interface StoredSegment {
  readonly name: string;
  readonly batches: readonly StoredBatch[];
}

const batchesIn = (bytes: Uint8Array, faults: string[], name: string): StoredBatch[] => {
  const batches: StoredBatch[] = [];
  let at = 0;
  while (at < bytes.length) {
    const inspection = inspectBatch(bytes, at, { bytesMax: 100_000_000, verifyCrc: true });
    if (!inspection.ok) {
      faults.push(`${name}: no batch at ${at} of ${bytes.length}: ${inspection.fault.kind}`);
      break;
    }
    batches.push({ position: at, bytes: bytes.subarray(at, at + inspection.byteLength) });
    at += inspection.byteLength;
  }
  return batches;
};

const judgeOffsetIndex = (index: DataView, segment: StoredSegment, baseOffset: number): string[] => {
  const faults: string[] = [];
  let lastOffset = -1;
  let lastPosition = -1;
  if (index.byteLength % 8 !== 0) faults.push(`${segment.name}.index has ${index.byteLength} bytes`);
  for (let at = 0; at + 8 <= index.byteLength; at += 8) {
    const relative = index.getInt32(at);
    const position = index.getInt32(at + 4);
    const batch = segment.batches.find(each => each.position === position);
    const named = batch === undefined ? 'no batch' : readLastOffset(batch.bytes, 0) - baseOffset;
    if (named !== relative)
      faults.push(`${segment.name}.index at ${at}: ${relative} at ${position}, where ${named} stands`);
    if (relative <= lastOffset || position <= lastPosition) faults.push(`${segment.name}.index at ${at} does not rise`);
    lastOffset = relative;
    lastPosition = position;
  }
  return faults;
};

const judgeTimeIndex = (index: DataView, segment: StoredSegment, baseOffset: number): string[] => {
  const faults: string[] = [];
  let lastTime = Number.NEGATIVE_INFINITY;
  let lastOffset = -1;
  if (index.byteLength % 12 !== 0) faults.push(`${segment.name}.timeindex has ${index.byteLength} bytes`);
  for (let at = 0; at + 12 <= index.byteLength; at += 12) {
    const time = Number(index.getBigInt64(at));
    const relative = index.getInt32(at + 8);
    if (time <= lastTime || relative <= lastOffset) faults.push(`${segment.name}.timeindex at ${at} does not rise`);
    lastTime = time;
    lastOffset = relative;
    const named = segment.batches.find(each => readLastOffset(each.bytes, 0) - baseOffset === relative);
    if (named === undefined) {
      faults.push(`${segment.name}.timeindex at ${at}: no batch ends at ${relative}`);
      continue;
    }
    const upTo = segment.batches.slice(0, segment.batches.indexOf(named) + 1);
    const largest = (batches: readonly StoredBatch[]): number =>
      Math.max(...batches.flatMap(each => recordsOf(each.bytes).map(record => record.timestamp)));
    if (largest([named]) !== time)
      faults.push(`${segment.name}.timeindex at ${at}: ${time}, the batch says ${largest([named])}`);
    if (largest(upTo) !== time)
      faults.push(`${segment.name}.timeindex at ${at}: ${time}, but ${largest(upTo)} came before`);
  }
  return faults;
};

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** All segments of the folder in order, and whatever is wrong with them. */
export const judgeFiles = (disk: SimulatedDisk, folder: string): { segments: StoredSegment[]; faults: string[] } => {
  const faults: string[] = [];
  const segments: StoredSegment[] = [];
  const paths = disk.filePaths().filter(path => path.startsWith(`${folder}/`));
  let expected: number | null = null;
  for (const path of paths.filter(each => each.endsWith('.log'))) {
    const name = path.slice(folder.length + 1, -'.log'.length);
    const segment = { name, batches: batchesIn(disk.contents(path), faults, name) };
    segments.push(segment);
    const baseOffset = Number(name);
    expected ??= baseOffset;
    if (expected !== baseOffset) faults.push(`${name}: the segment before it ends at ${expected}`);
    for (const batch of segment.batches) {
      if (readBaseOffset(batch.bytes, 0) !== expected) {
        faults.push(`${name}: offset ${readBaseOffset(batch.bytes, 0)} at ${batch.position} instead of ${expected}`);
      }
      expected = readLastOffset(batch.bytes, 0) + 1;
    }
    const offsets = `${folder}/${name}.index`;
    const times = `${folder}/${name}.timeindex`;
    if (paths.includes(offsets)) faults.push(...judgeOffsetIndex(viewOf(disk.contents(offsets)), segment, baseOffset));
    if (paths.includes(times)) faults.push(...judgeTimeIndex(viewOf(disk.contents(times)), segment, baseOffset));
  }
  return { segments, faults };
};
