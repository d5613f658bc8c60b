// Follows the metadata by asking voters, one after another, for as long as it is told to.
//
//   ask ─> records ─> replayed ─> ask again            a voter keeps the question until there is news
//       ─> chunk ─> the next chunk … ─> image          when this node is too far behind
//       ─> nothing ─> another voter, after a pause

import { type NodeId, type Offset, offset } from '@sluice/protocol/ids';
import { METADATA_ATTEMPT_MS, METADATA_PAUSE_MS, METADATA_POLL_MS } from '../base/limits.ts';
import type { Logger } from '../base/logger.ts';
import type { Clock } from '../io/clock.ts';
import type { PeerLinks } from '../io/peer-link.ts';
import { askPeer } from '../replication/peer-request.ts';
import type { ClusterRecord } from '../state/cluster/record.ts';
import { SnapshotDecoder } from '../state/cluster/snapshot.ts';
import type { Decoding } from '../state/cluster/undecodable.ts';
import type { MetadataImage } from './metadata-image.ts';
import { readClusterRecord } from './metadata-log.ts';
import { pause } from './pause.ts';
import { PEER_KIND } from './peer-kinds.ts';
import { decodePullAnswer, encodePullRequest, type LeaderHint, type PullAnswer } from './pull-message.ts';
import { isContiguous, recordsOf } from './record-log.ts';

export interface MetadataPullOptions {
  readonly image: MetadataImage;
  readonly links: Pick<PeerLinks, 'call'>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Who may be asked, the best first. */
  readonly sources: () => readonly NodeId[];
  readonly heard: (hint: LeaderHint) => void;
  readonly unreadable: (detail: string) => void;
}

interface Assembly {
  readonly snapshot: Offset;
  readonly decoder: SnapshotDecoder;
  chunk: number;
}

export class MetadataPull {
  readonly #options: MetadataPullOptions;
  readonly #abort = new AbortController();
  #assembly: Assembly | null = null;
  /** Raised with every failure: which of the sources is asked next. */
  #turn = 0;
  #isRunning = false;

  constructor(options: MetadataPullOptions) {
    this.#options = options;
  }

  close(): void {
    this.#abort.abort();
  }

  /** Until `isOver`, which is asked between two questions. A second call while one runs does nothing. */
  async run(isOver: () => boolean): Promise<void> {
    if (this.#isRunning) return;
    this.#isRunning = true;
    while (!isOver() && !this.#abort.signal.aborted) {
      if (await this.#ask()) continue;
      this.#turn++;
      await pause(this.#options.clock, METADATA_PAUSE_MS);
    }
    this.#isRunning = false;
  }

  /** False: somebody else should be asked. */
  async #ask(): Promise<boolean> {
    const { image, links, sources } = this.#options;
    const nodes = sources();
    const to = nodes[this.#turn % Math.max(1, nodes.length)];
    if (to === undefined) return false;
    const { snapshot, chunk } = this.#assembly ?? { snapshot: offset(0), chunk: 0 };
    const body = encodePullRequest({ next: image.next, waitMs: METADATA_POLL_MS, snapshot, chunk });
    const options = { timeoutMs: METADATA_POLL_MS + METADATA_ATTEMPT_MS, signal: this.#abort.signal };
    const asked = await askPeer(links, { to, kind: PEER_KIND.metadataPull, body }, options);
    if (this.#abort.signal.aborted) return false;
    const answer = asked.kind === 'answer' ? decodePullAnswer(asked.body) : null;
    if (answer === null) return false;
    this.#options.heard(answer.hint);
    return this.#take(answer);
  }

  #take(answer: PullAnswer): boolean {
    if (answer.kind === 'not-served') return false;
    if (answer.kind === 'chunk') return this.#takeChunk(answer);
    this.#assembly = null;
    const { image } = this.#options;
    if (!isContiguous(answer.batches, image.next)) return false;
    const { records, next } = recordsOf(answer.batches, image.next);
    const decoded: ClusterRecord[] = [];
    for (const record of records) {
      const read = readClusterRecord(record);
      if (!read.ok) return this.#cannotFollow(read);
      decoded.push(read.value);
    }
    image.replay(decoded, next);
    return true;
  }

  #takeChunk({ snapshot, chunk, bytes }: PullAnswer & { readonly kind: 'chunk' }): boolean {
    if (this.#assembly?.snapshot !== snapshot || chunk === 0) {
      if (chunk !== 0) {
        this.#assembly = null;
        return false;
      }
      this.#assembly = { snapshot, decoder: new SnapshotDecoder(), chunk: 0 };
    }
    const taken = this.#assembly.decoder.take(bytes);
    if (!taken.ok) {
      this.#assembly = null;
      return this.#cannotFollow(taken);
    }
    this.#assembly.chunk++;
    if (!taken.value) return true;
    const whole = this.#assembly.decoder.finish();
    this.#assembly = null;
    if (!whole.ok) return this.#cannotFollow(whole);
    this.#options.image.install(whole.value, snapshot);
    return true;
  }

  #cannotFollow(fault: Decoding<unknown> & { ok: false }): boolean {
    if (fault.kind === 'newer') {
      this.close();
      this.#options.unreadable(fault.detail);
    } else {
      this.#options.logger.error({ why: fault.detail }, 'what a node sent of the metadata cannot be read');
    }
    return false;
  }
}
