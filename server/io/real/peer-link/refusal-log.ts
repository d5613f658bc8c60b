// One line about each peer that was refused at the port, and no more than the log can bear: the same refusal of the same
// peer is told again after a minute, and strangers together get a few lines in that time.

import type { Logger } from '../../../base/logger.ts';
import { PEER_REFUSAL_LINES_MAX, PEER_REFUSAL_LOG_MS } from '../../../base/limits.ts';
import type { Clock } from '../../clock.ts';
import type { PeerIdentity, PeerRefusal } from '../../peer-link.ts';

export interface RefusedPeer {
  readonly refusal: PeerRefusal;
  /** Who it says it is. */
  readonly peer: PeerIdentity | null;
  readonly remoteAddress: string;
}

export class RefusalLog {
  readonly #logger: Logger;
  readonly #clock: Clock;
  /** What was told since `sinceMs`. */
  readonly #told = new Set<string>();
  #sinceMs = -Infinity;
  #untold = 0;

  constructor(logger: Logger, clock: Clock) {
    this.#logger = logger;
    this.#clock = clock;
  }

  refused({ refusal, peer, remoteAddress }: RefusedPeer): void {
    const now = this.#clock.monotonicMs();
    if (now - this.#sinceMs >= PEER_REFUSAL_LOG_MS) {
      if (this.#untold > 0) this.#logger.warn({ door: 'peer', count: this.#untold }, 'more peers were refused');
      this.#sinceMs = now;
      this.#told.clear();
      this.#untold = 0;
    }
    const { reason, detail } = refusal;
    const key = `${reason} ${peer?.nodeId} ${peer?.directory}`;
    if (this.#told.has(key)) return;
    if (this.#told.size >= PEER_REFUSAL_LINES_MAX) {
      this.#untold++;
      return;
    }
    this.#told.add(key);
    this.#logger.warn(
      { door: 'peer', peer: peer?.nodeId, address: remoteAddress, reason, detail },
      'a peer was refused',
    );
  }
}
