// A network between simulated nodes: the peer links of server/io/peer-link.ts in virtual time, with everything that a
// test, or the seed, does to them.
//
//   join()              the links of one life of a node; `kill` ends that life, and another one joins at the same address
//   cut, partition      nothing passes from one node to another, in one direction or more; any set of directions may be cut
//   heal                it passes again, what was stuck included, if its session still lives
//   breakSessions       as connections that are reset
//   settings, setLink   delay, bandwidth, chances of faults (network-settings.ts)
//
// A cut is noticed as a real one is: both ends of each session between the two nodes lose patience, each in its time, whichever
// direction it is, and nobody can dial again until both are open. A *silent* cut swallows frames
// instead and leaves sessions alone, which no connection does, and which what is above has to survive all the same.
//
// Guarantees: everything happens in actions of the scheduler, so the same seed gives the same order (`trace`); the contract of
// the interface, unless settings or silent cuts ask for worse.

import { PEER_HANDSHAKE_MS_MAX, PEER_PING_MS, PEER_SILENT_LOOKS_MAX } from '../../server/base/limits.ts';
import type { PeerRefusal } from '../../server/io/peer-link.ts';
import { judgeHello, judgeKnown } from '../../server/io/real/peer-link/admission.ts';
import type { NodeId } from '@sluice/protocol/ids';
import { SimulatedPeerLinks, type SimulatedNodeOptions } from './network-links.ts';
import type { CutKind, Direction } from './network-pipe.ts';
import { SimulatedSession } from './network-session.ts';
import { calm, delayMs, type LinkSettings } from './network-settings.ts';
import type { SeededRandom } from './random.ts';
import type { Scheduler } from './scheduler.ts';

export interface SimulatedNetworkOptions {
  readonly scheduler: Scheduler;
  readonly random: SeededRandom;
  readonly settings?: Partial<LinkSettings>;
  /** Told every frame, call, and session that begins or ends, as a line. */
  readonly trace?: (line: string) => void;
}

export type DialResult =
  | { readonly kind: 'up'; readonly session: SimulatedSession }
  | { readonly kind: 'refused'; readonly refusal: PeerRefusal }
  | { readonly kind: 'failed' };

const SILENCE_MS = PEER_PING_MS * (PEER_SILENT_LOOKS_MAX + 1);
/** TCP, HTTP/2 and two rounds of the handshake, twice: the other lanes follow the first. */
const HANDSHAKE_TRIPS = 10;

const directionKey = (from: number, to: number): string => `${from}>${to}`;

export class SimulatedNetwork {
  readonly scheduler: Scheduler;
  readonly random: SeededRandom;
  readonly #trace: (line: string) => void;
  readonly #links = new Map<string, Partial<LinkSettings>>();
  readonly #cuts = new Map<string, { readonly kind: CutKind }>();
  /** The newest life at each address. */
  readonly #nodes = new Map<string, SimulatedPeerLinks>();
  readonly #sessions = new Set<SimulatedSession>();
  settings: LinkSettings;

  constructor(options: SimulatedNetworkOptions) {
    this.scheduler = options.scheduler;
    this.random = options.random;
    this.settings = { ...calm, ...options.settings };
    this.#trace = options.trace ?? (() => {});
  }

  join(options: SimulatedNodeOptions): SimulatedPeerLinks {
    if (this.#nodes.get(options.address)?.isGone === false) throw new Error(`${options.address} is in use`);
    const links = new SimulatedPeerLinks(this, options);
    this.#nodes.set(options.address, links);
    return links;
  }

  /** For one direction, beside the settings of all. */
  setLink(from: number, to: number, settings: Partial<LinkSettings>): void {
    this.#links.set(directionKey(from, to), settings);
  }

  /** Nothing passes from one node to another. */
  cut(from: number, to: number, kind: Exclude<CutKind, 'open'> = 'cut'): void {
    const cut = { kind };
    this.#cuts.set(directionKey(from, to), cut);
    this.trace(`${from}>${to} ${kind}`);
    if (kind === 'silent') return;
    for (const session of this.#sessions) {
      const [dialler, listener] = [session.diallerIdentity.nodeId, session.listenerIdentity.nodeId];
      const isConcerned = (dialler === from && listener === to) || (dialler === to && listener === from);
      if (!isConcerned) continue;
      const isStillCut = (): boolean => this.#cuts.get(directionKey(from, to)) === cut;
      this.#loses(SILENCE_MS, () => {
        if (isStillCut()) session.endDialled();
      });
      this.#loses(SILENCE_MS, () => {
        if (isStillCut()) session.endHeard();
      });
    }
  }

  /** Both directions between nodes of different sides. A node on no side reaches all. */
  partition(...sides: readonly (readonly number[])[]): void {
    for (const side of sides)
      for (const other of sides)
        if (side !== other) for (const from of side) for (const to of other) this.cut(from, to);
  }

  /** One direction, or everything. */
  heal(from?: number, to?: number): void {
    if (from === undefined || to === undefined) this.#cuts.clear();
    else this.#cuts.delete(directionKey(from, to));
    this.trace(from === undefined ? 'healed' : `${from}>${to} healed`);
    for (const session of this.#sessions) session.heal();
  }

  /** As connections that are reset. */
  breakSessions(from: number, to: number): void {
    for (const session of this.#sessions)
      if (session.diallerIdentity.nodeId === from && session.listenerIdentity.nodeId === to) session.break();
  }

  direction(from: SimulatedPeerLinks, to: SimulatedPeerLinks): Direction {
    const key = directionKey(from.nodeId, to.nodeId);
    const own = this.#links.get(key);
    const settings = own === undefined ? this.settings : { ...this.settings, ...own };
    return { settings, cut: this.#cuts.get(key)?.kind ?? 'open' };
  }

  trace(line: string): void {
    this.#trace(line);
  }

  /** A sign that is lost when the way is cut. */
  travel(from: SimulatedPeerLinks, to: SimulatedPeerLinks, arrive: () => void): void {
    this.scheduler.after(delayMs(this.direction(from, to).settings, this.random), () => {
      if (this.direction(from, to).cut !== 'cut' && !to.isDead) arrive();
    });
  }

  /** One end is over: the other learns it, at the latest when it loses patience. */
  tellEnd(from: SimulatedPeerLinks, to: SimulatedPeerLinks, end: () => void): void {
    this.travel(from, to, end);
    this.#loses(SILENCE_MS, () => {
      if (!to.isDead) end();
    });
  }

  /** A node is gone. Its machine says so, or nobody does. */
  loseDialler(session: SimulatedSession, how: 'process' | 'machine'): void {
    this.#loses(how === 'process' ? this.settings.delayMsMax : SILENCE_MS, () => {
      if (!session.listener.isDead) session.endHeard();
    });
  }

  loseListener(session: SimulatedSession, how: 'process' | 'machine'): void {
    this.#loses(how === 'process' ? this.settings.delayMsMax : SILENCE_MS, () => {
      if (!session.dialler.isDead) session.endDialled();
    });
  }

  /** From the attempt to what becomes of it. */
  dial(
    dialler: SimulatedPeerLinks,
    { to, address }: { readonly to: NodeId; readonly address: string },
    done: (result: DialResult) => void,
  ): void {
    const target = this.#nodes.get(address);
    const isReached = target !== undefined && this.#isOpen(dialler, target);
    // Where nobody listens, the machine says so, or is gone itself.
    const isRefused = isReached && target.isDead && this.random.chance(0.5);
    const waitMs =
      isReached && (!target.isDead || isRefused) ? this.#handshakeMs(dialler, target) : PEER_HANDSHAKE_MS_MAX;
    this.scheduler.after(waitMs, () => {
      // It may have gone, or been replaced by its next life, or the way may have been cut.
      const isThere = isReached && this.#nodes.get(address) === target && target.isListening;
      if (!isThere || !this.#isOpen(dialler, target)) done({ kind: 'failed' });
      else if (!dialler.isDead) done(this.#meet(dialler, target, to));
    });
  }

  #meet(dialler: SimulatedPeerLinks, listener: SimulatedPeerLinks, expected: NodeId): DialResult {
    const refusal =
      judgeHello(dialler.introduction, listener.introduction, expected) ??
      (dialler.secret === listener.secret
        ? null
        : { reason: 'secret', detail: 'the nodes do not have the same cluster secret' }) ??
      judgeKnown(dialler.identity, listener.connected()) ??
      listener.admit(dialler.identity) ??
      judgeKnown(listener.identity, dialler.connected()) ??
      dialler.admit(listener.identity);
    if (refusal !== null) return { kind: 'refused', refusal };
    const session = new SimulatedSession(this, dialler, listener);
    for (const old of this.#sessions) if (!old.isDialled && !old.isHeard) this.#sessions.delete(old);
    this.#sessions.add(session);
    listener.heard(session);
    return { kind: 'up', session };
  }

  #isOpen(one: SimulatedPeerLinks, other: SimulatedPeerLinks): boolean {
    return this.direction(one, other).cut !== 'cut' && this.direction(other, one).cut !== 'cut';
  }

  #handshakeMs(one: SimulatedPeerLinks, other: SimulatedPeerLinks): number {
    let sumMs = 0;
    for (let trip = 0; trip < HANDSHAKE_TRIPS / 2; trip++) {
      sumMs += delayMs(this.direction(one, other).settings, this.random);
      sumMs += delayMs(this.direction(other, one).settings, this.random);
    }
    return sumMs;
  }

  /** Patience is never longer than its limit, and mostly shorter. */
  #loses(limitMs: number, action: () => void): void {
    this.scheduler.after(limitMs * (0.3 + 0.7 * this.random.fraction()), action);
  }
}
