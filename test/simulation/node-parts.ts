// What every simulated node has, whatever runs above its replicas: where its data lies, a lock that nobody else wants, and what its peers reach.

import type { DirectoryLocks } from '../../server/io/directory-lock.ts';
import type { PeerHandlers } from '../../server/io/peer-link.ts';
import type { PeerRequests } from '../../server/replication/peer-request.ts';
import type { Replication } from '../../server/replication/replication.ts';
import type { Stall } from './node-clock.ts';

export const ROOT = '/data';
/** A supervisor takes so long to start again what ended by itself. */
export const RESTART_MS = 1_000;

export const unlocked: DirectoryLocks = {
  acquire: () => Promise.resolve({ isHeld: () => Promise.resolve(true), release: () => Promise.resolve() }),
};

interface Handling {
  readonly replication: Replication;
  readonly requests: PeerRequests;
  readonly stall: Stall;
}

/** What comes in while the process stands still is noticed when it goes on. */
export const handlersOf = (
  { replication, requests, stall }: Handling,
  admit: PeerHandlers['admit'] = () => null,
): PeerHandlers => ({
  frame: (from, lane, frame) => {
    let held: void | Promise<void> = undefined;
    stall.whenRunning('input', () => {
      held = replication.frame(from, lane, frame);
    });
    return held;
  },
  call: (from, request, signal) =>
    new Promise((resolve, reject) => {
      stall.whenRunning('input', () => {
        requests.handle(from, request, signal).then(resolve, reject);
      });
    }),
  up: identity => stall.whenRunning('input', () => replication.peerUp(identity)),
  down: identity => stall.whenRunning('input', () => replication.peerDown(identity)),
  refused: () => undefined,
  admit,
});
