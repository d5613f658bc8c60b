// A session between two simulated nodes, and its two ends: each learns by itself, and later than the other, that it is over.
//
// While one end knows and the other does not, what the other one sends goes nowhere, as on a connection whose peer is gone.

import { PEER_CALLS_MAX } from '../../server/base/limits.ts';
import type { CallOptions, CallOutcome, Lane, PeerIdentity } from '../../server/io/peer-link.ts';
import type { SimulatedNetwork } from './network.ts';
import type { SimulatedPeerLinks } from './network-links.ts';
import { type Parcel, Pipe } from './network-pipe.ts';

interface Call {
  hasLeft: boolean;
  readonly parcel: Parcel;
  /** Settles the promise, by the queue. */
  readonly end: (outcome: CallOutcome) => void;
  readonly cancel: AbortController;
}

interface Lanes {
  readonly control: Pipe;
  readonly bulk: Pipe;
  readonly requests: Pipe;
  readonly answers: Pipe;
}

interface ReceivingLane {
  /** Arrived, and behind one that is held. */
  readonly waiting: Uint8Array[];
  isHeld: boolean;
}

/** As much as the real one reads ahead. */
const FRAMES_AHEAD_MAX = 16;

export class SimulatedSession {
  readonly dialler: SimulatedPeerLinks;
  readonly listener: SimulatedPeerLinks;
  /** As they were at the handshake. */
  readonly diallerIdentity: PeerIdentity;
  readonly listenerIdentity: PeerIdentity;
  readonly #network: SimulatedNetwork;
  readonly #lanes: Lanes;
  readonly #receiving: Record<Lane, ReceivingLane> = {
    control: { waiting: [], isHeld: false },
    bulk: { waiting: [], isHeld: false },
  };
  readonly #calls = new Set<Call>();
  readonly #given = new Set<AbortController>();
  /** As each end sees it. */
  isDialled = true;
  isHeard = true;

  constructor(network: SimulatedNetwork, dialler: SimulatedPeerLinks, listener: SimulatedPeerLinks) {
    this.#network = network;
    this.dialler = dialler;
    this.listener = listener;
    this.diallerIdentity = dialler.identity;
    this.listenerIdentity = listener.identity;
    const there = [dialler, listener] as const;
    const back = [listener, dialler] as const;
    this.#lanes = {
      control: this.#pipe(there, 'control'),
      bulk: this.#pipe(there, 'bulk'),
      requests: this.#pipe(there, null),
      answers: this.#pipe(back, null),
    };
  }

  pendingBytes(lane: Lane): number {
    return this.#lanes[lane].pendingBytes;
  }

  send(lane: Lane, frame: Uint8Array): void {
    this.#lanes[lane].put({ byteLength: frame.length, arrive: () => this.#arrived(lane, frame) });
  }

  call(request: Uint8Array, options: CallOptions, settle: (outcome: CallOutcome) => void): void {
    const { scheduler } = this.#network;
    if (this.#calls.size >= PEER_CALLS_MAX) {
      settle({ kind: 'not-sent', reason: 'crowded' });
      return;
    }
    const giveUp = (reason: 'timed-out' | 'cancelled'): void => {
      this.#lanes.requests.takeBack(call.parcel);
      call.end({ kind: call.hasLeft ? 'unknown' : 'not-sent', reason });
      this.#network.travel(this.dialler, this.listener, () => call.cancel.abort());
    };
    const abort = (): void => giveUp('cancelled');
    const timer = scheduler.after(options.timeoutMs, () => {
      if (!this.dialler.isDead) giveUp('timed-out');
    });
    options.signal?.addEventListener('abort', abort);
    const call: Call = {
      hasLeft: false,
      cancel: new AbortController(),
      parcel: {
        byteLength: request.length,
        left: () => {
          call.hasLeft = true;
        },
        arrive: () => void this.#called(call, request),
      },
      end: outcome => {
        if (!this.#calls.delete(call)) return;
        timer.cancel();
        options.signal?.removeEventListener('abort', abort);
        settle(outcome);
      },
    };
    this.#calls.add(call);
    this.#lanes.requests.put(call.parcel);
  }

  heal(): void {
    for (const pipe of Object.values(this.#lanes) as Pipe[]) pipe.heal();
  }

  /** The dialling end learns that it is over, or ends it. */
  endDialled(): void {
    if (!this.isDialled) return;
    this.isDialled = false;
    this.#close();
    for (const call of [...this.#calls]) {
      call.end(
        call.hasLeft ? { kind: 'unknown', reason: 'session-ended' } : { kind: 'not-sent', reason: 'no-session' },
      );
    }
    this.dialler.dialledEnded(this);
    this.#network.tellEnd(this.dialler, this.listener, () => this.endHeard());
  }

  /** The listening end learns that it is over, or ends it. */
  endHeard(): void {
    if (!this.isHeard) return;
    this.isHeard = false;
    this.#close();
    for (const given of this.#given) given.abort();
    this.#given.clear();
    this.listener.heardEnded(this);
    this.#network.tellEnd(this.listener, this.dialler, () => this.endDialled());
  }

  /** As a connection that is reset on its way: both ends learn of it, each in its time, or lose patience where the sign is lost. */
  break(): void {
    this.#close();
    this.#network.tellEnd(this.listener, this.dialler, () => this.endDialled());
    this.#network.tellEnd(this.dialler, this.listener, () => this.endHeard());
  }

  #close(): void {
    for (const pipe of Object.values(this.#lanes) as Pipe[]) pipe.close();
  }

  #pipe(
    [from, to]: readonly [SimulatedPeerLinks, SimulatedPeerLinks],
    /** Null for calls. */
    lane: Lane | null,
  ): Pipe {
    const { random, scheduler } = this.#network;
    return new Pipe({
      scheduler,
      random,
      direction: () => this.#network.direction(from, to),
      carries: lane === null ? 'calls' : 'frames',
      isFull: () => lane !== null && this.#receiving[lane].waiting.length >= FRAMES_AHEAD_MAX,
      taken: () => {
        if (lane !== null) this.dialler.drained(this, lane);
      },
      broken: () => this.break(),
    });
  }

  #arrived(lane: Lane, frame: Uint8Array): void {
    const receiving = this.#receiving[lane];
    receiving.waiting.push(frame);
    this.#handOver(lane);
  }

  #handOver(lane: Lane): void {
    const receiving = this.#receiving[lane];
    while (!receiving.isHeld && this.isHeard && !this.listener.isDead) {
      const frame = receiving.waiting.shift();
      if (frame === undefined) return;
      const held = this.listener.frameArrived(this.diallerIdentity, lane, frame);
      if (held === undefined) continue;
      receiving.isHeld = true;
      void held.then(() => {
        receiving.isHeld = false;
        this.#handOver(lane);
        this.#lanes[lane].resume();
      });
    }
  }

  async #called(call: Call, request: Uint8Array): Promise<void> {
    const { listener, dialler } = this;
    const { random } = this.#network;
    const { settings } = this.#network.direction(dialler, listener);
    if (listener.isDead || !this.isHeard || call.cancel.signal.aborted) return;
    if (random.chance(settings.refuseCallChance)) {
      this.#answer(call, 1, { kind: 'not-sent', reason: 'crowded' });
      return;
    }
    this.#given.add(call.cancel);
    const bytes = await listener.callArrived(this.diallerIdentity, request, call.cancel.signal);
    this.#given.delete(call.cancel);
    if (listener.isDead || !this.isHeard || call.cancel.signal.aborted) return;
    if (random.chance(settings.dropAnswerChance)) this.#answer(call, 1, { kind: 'unknown', reason: 'crowded' });
    else this.#answer(call, bytes.length, { kind: 'answer', bytes });
  }

  #answer(call: Call, byteLength: number, outcome: CallOutcome): void {
    this.#lanes.answers.put({ byteLength, arrive: () => call.end(outcome) });
  }
}
