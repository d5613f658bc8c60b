// Answers nodes that follow the metadata: from this voter's log, or with its image where the log does not reach back far enough.

import { type Offset, offset } from '@sluice/protocol/ids';
import { METADATA_PIECE_BYTES, METADATA_POLL_MS, METADATA_SNAPSHOT_RECORDS } from '../base/limits.ts';
import { encodeSnapshot } from '../state/cluster/snapshot.ts';
import type { MetadataImage } from './metadata-image.ts';
import {
  decodePullRequest,
  encodePullAnswer,
  type LeaderHint,
  type PullAnswer,
  type PullRequest,
} from './pull-message.ts';
import type { RecordLog } from './record-log.ts';

interface EncodedImage {
  readonly next: Offset;
  readonly chunks: readonly Uint8Array[];
}

export class MetadataServing {
  readonly #image: MetadataImage;
  readonly #hint: () => LeaderHint;
  #records: RecordLog | null = null;
  /** The newest that somebody asked for: those who are behind mostly are so together. */
  #encoded: EncodedImage | null = null;

  constructor(image: MetadataImage, hint: () => LeaderHint) {
    this.#image = image;
    this.#hint = hint;
  }

  /** This node votes, and holds the log. */
  serveFrom(records: RecordLog): void {
    this.#records = records;
  }

  close(): void {
    this.#records = null;
  }

  answer = async (bytes: Uint8Array): Promise<Uint8Array> => {
    const request = decodePullRequest(bytes);
    const answer = request === null || this.#records === null ? null : await this.#answer(this.#records, request);
    return encodePullAnswer(answer ?? { kind: 'not-served', hint: this.#hint() });
  };

  async #answer(records: RecordLog, request: PullRequest): Promise<PullAnswer | null> {
    const { next } = request;
    if (next >= this.#image.next) {
      const at = offset(next + 1);
      await this.#image.reached(at, Math.min(request.waitMs, METADATA_POLL_MS));
    }
    const isFarBehind = this.#image.next - next > METADATA_SNAPSHOT_RECORDS;
    if (next < records.startOffset || isFarBehind) return this.#chunk(request);
    if (this.#records === null) return null;
    const endMax = offset(Math.min(this.#image.next, records.durableOffset));
    if (next >= endMax) return { kind: 'records', hint: this.#hint(), batches: [] };
    const read = await records.read(next, { endMax, bytesMax: METADATA_PIECE_BYTES });
    if (read.kind === 'below-start') return this.#chunk(request);
    return read.kind === 'batches' ? { kind: 'records', hint: this.#hint(), batches: read.batches } : null;
  }

  #chunk({ snapshot, chunk, next }: PullRequest): PullAnswer | null {
    let encoded = this.#encoded;
    let index = chunk;
    if (encoded === null || encoded.next !== snapshot || index >= encoded.chunks.length) {
      // What was encoded for another node does for this one, if it is news to it and not old.
      const isOld = encoded === null || this.#image.next - encoded.next > METADATA_SNAPSHOT_RECORDS / 2;
      if (encoded === null || isOld || encoded.next <= next) {
        if (this.#image.next <= next) return null;
        encoded = { next: this.#image.next, chunks: [...encodeSnapshot(this.#image.image)] };
        this.#encoded = encoded;
      }
      index = 0;
    }
    const bytes = encoded.chunks[index];
    return bytes === undefined
      ? null
      : { kind: 'chunk', hint: this.#hint(), snapshot: encoded.next, chunk: index, bytes };
  }
}
