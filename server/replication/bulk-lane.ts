// What this node sends one peer over the bulk lane: appends of all groups and snapshots, one message after another.
//
// A group stands in the queue once for each purpose, with its newest order. An order is read from the log only when the lane has
// room, so what waits for a slow peer is a list of positions, not of batches. Who has more than one message to send waits for its
// turn again after each.
//
// Invariant: `#frames` is what is left of one message; nothing else of this lane is in memory.

import type { PeerLinks } from '../io/peer-link.ts';
import type { NodeId } from '@sluice/protocol/ids';
import { framesOf } from './bulk-message.ts';

export interface BulkMessage {
  /** The batches are not copied. */
  readonly pieces: readonly Uint8Array[];
  /** The source is called for another one. */
  readonly hasMore: boolean;
}

export interface BulkSource {
  /** When its turn has come; null when there is nothing to send any more. */
  next(): Promise<BulkMessage | null>;
  /** Its turn will not come, or not be finished. */
  dropped(): void;
}

export class BulkLane {
  readonly #links: PeerLinks;
  readonly #to: NodeId;
  /** In the order of their turns. */
  readonly #waiting = new Map<string, BulkSource>();
  /** Sources of which a part has gone: it is of no use in another session. */
  readonly #begun = new Set<BulkSource>();
  #frames: (readonly Uint8Array[])[] = [];
  #isReading = false;
  #isBlocked = false;
  #isClosed = false;
  /** Raised when the session ends: what was being sent then is not sent on. */
  #session = 0;

  constructor(links: PeerLinks, to: NodeId) {
    this.#links = links;
    this.#to = to;
  }

  /** `key` names group and purpose; a newer source takes the place of one that waits, at the end. */
  push(key: string, source: BulkSource): void {
    const older = this.#waiting.get(key);
    this.#waiting.delete(key);
    this.#waiting.set(key, source);
    if (older !== undefined) this.#drop(older);
    this.#pump();
  }

  sessionEnded(): void {
    this.#session++;
    this.#frames = [];
    for (const [key, source] of [...this.#waiting]) {
      if (!this.#begun.has(source)) continue;
      this.#waiting.delete(key);
      this.#drop(source);
    }
  }

  close(): void {
    this.#isClosed = true;
    this.#session++;
    this.#frames = [];
    const sources = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const source of sources) this.#drop(source);
  }

  #drop(source: BulkSource): void {
    this.#begun.delete(source);
    source.dropped();
  }

  #pump(): void {
    if (this.#isReading || this.#isBlocked || this.#isClosed) return;
    while ((this.#frames.length > 0 || this.#waiting.size > 0) && this.#hasRoom()) {
      const frame = this.#frames.shift();
      if (frame !== undefined) {
        this.#links.send(this.#to, 'bulk', frame);
        continue;
      }
      const [[key, source]] = this.#waiting as unknown as [[string, BulkSource]];
      this.#waiting.delete(key);
      void this.#read(key, source);
      return;
    }
  }

  #hasRoom(): boolean {
    if (this.#links.hasRoom(this.#to, 'bulk')) return true;
    this.#isBlocked = true;
    this.#links.whenDrained(this.#to, 'bulk', () => {
      this.#isBlocked = false;
      this.#pump();
    });
    return false;
  }

  async #read(key: string, source: BulkSource): Promise<void> {
    this.#isReading = true;
    const session = this.#session;
    const message = await source.next();
    this.#isReading = false;
    this.#begun.delete(source);
    if (message !== null) {
      const isOver = session !== this.#session;
      if (!isOver) this.#frames = framesOf(message.pieces);
      if (message.hasMore) {
        if (isOver || this.#waiting.has(key)) {
          source.dropped();
        } else {
          this.#begun.add(source);
          this.#waiting.set(key, source);
        }
      }
    }
    this.#pump();
  }
}
