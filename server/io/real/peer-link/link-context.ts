// What both directions of the links share: who this node is, who is connected, and what is told to whom.

import type { Logger } from '../../../base/logger.ts';
import type { Clock } from '../../clock.ts';
import type { PeerHandlers, PeerIdentity } from '../../peer-link.ts';
import type { Random } from '../../random.ts';
import type { Introduction } from './admission.ts';

export interface LinkContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly secret: Uint8Array;
  readonly handlers: PeerHandlers;
  /** As of now: a blank node comes to belong to a cluster. */
  readonly local: () => Introduction;
  /** Peers of sessions that are open now, both ways. */
  readonly connected: () => Iterable<PeerIdentity>;
  /** This life of the directory is over everything that an earlier one left. */
  readonly seen: (peer: PeerIdentity) => void;
}
