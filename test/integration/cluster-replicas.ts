// The replicas of a cluster that stands still, as their files have them: the same batches at the same places up to the last record that is
// committed, in equal segment files.

import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { batchesOf } from '../outside/segment.ts';

export interface ReplicaFiles {
  /** Whose they are. */
  readonly owner: string;
  /** One line a batch, epoch starts included: what a follower takes over from its leader. */
  readonly batches: readonly string[];
  /** How many of the batches are needed for the last record. */
  readonly recordBatches: number;
  /** Offset after the last record. */
  readonly endOffset: number;
  /** By name: a digest, and how many batches lie before its end. */
  readonly segments: ReadonlyMap<string, { readonly digest: string; readonly end: number }>;
}

export async function replicaFiles(owner: string, folder: string): Promise<ReplicaFiles> {
  const names = (await readdir(folder)).filter(name => /^\d{20}\.log$/.test(name)).sort();
  const batches: string[] = [];
  const segments = new Map<string, { digest: string; end: number }>();
  let recordBatches = 0;
  let endOffset = 0;
  for (const name of names) {
    const bytes = await readFile(join(folder, name));
    for (const { baseOffset, lastOffset, leaderEpoch, byteLength, bytes: raw } of batchesOf(bytes)) {
      batches.push(`${baseOffset} to ${lastOffset}, epoch ${leaderEpoch}, ${byteLength} bytes, ${digestOf(raw)}`);
      if (lastOffset < baseOffset) continue;
      recordBatches = batches.length;
      endOffset = lastOffset + 1;
    }
    segments.set(name, { digest: digestOf(bytes), end: batches.length });
  }
  return { owner, batches, recordBatches, endOffset, segments };
}

const digestOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex').slice(0, 16);

/** Where they differ, below the high watermark; empty where they agree. A replica may end earlier only in what is not committed. */
export function differences(replicas: readonly ReplicaFiles[], highWatermark: number): readonly string[] {
  const found: string[] = [];
  const [first, ...others] = replicas;
  if (first === undefined) return ['no replica'];
  for (const { owner, endOffset } of replicas) {
    if (endOffset < highWatermark)
      found.push(`${owner} ends at ${endOffset}, below the high watermark ${highWatermark}`);
  }
  for (const other of others) {
    const count = Math.min(first.recordBatches, other.recordBatches);
    const at = first.batches.slice(0, count).findIndex((batch, index) => batch !== other.batches[index]);
    if (at >= 0)
      found.push(`batch ${at}: ${first.owner} has ${first.batches[at]}, ${other.owner} has ${other.batches[at]}`);
    // The last one of each is still written to.
    for (const [name, { digest, end }] of [...first.segments].slice(0, -1)) {
      const its = other.segments.get(name);
      if (end > count || (its?.digest === digest && its.end === end)) continue;
      found.push(
        `segment ${name} of ${first.owner} ends after batch ${end} (${digest}), that of ${other.owner} ${its === undefined ? 'is missing' : `after batch ${its.end} (${its.digest})`}`,
      );
    }
  }
  return found;
}
