// A bare loop that writes and syncs, in groups as a log writes them: what the disk allows, to hold a broker's figure against.

import { closeSync, fdatasyncSync, openSync, rmSync, writevSync } from 'node:fs';

/** A disk that syncs slowly must not hold up the run: what was written by then is the figure. */
const LOOP_MS_MAX = 3_000;
/** What one buffer of a gathered write holds: a batch of the SDK. */
const PIECE_BYTES = 256 * 1024;

/** Bytes a second of writing `bytes` to `file`, synced after each group. */
export const syncLoop = (file: string, bytes: number, groupBytes: number): number => {
  const piece = Buffer.alloc(PIECE_BYTES, 'x');
  const group: Buffer[] = [];
  for (let left = groupBytes; left > 0; left -= PIECE_BYTES) group.push(piece.subarray(0, Math.min(left, PIECE_BYTES)));
  const descriptor = openSync(file, 'w');
  const began = performance.now();
  let position = 0;
  let elapsedMs = 0;
  while (position < bytes && elapsedMs < LOOP_MS_MAX) {
    writevSync(descriptor, group, position);
    fdatasyncSync(descriptor);
    position += groupBytes;
    elapsedMs = performance.now() - began;
  }
  closeSync(descriptor);
  rmSync(file);
  return (position / elapsedMs) * 1_000;
};
