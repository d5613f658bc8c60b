// Messages on their way out, some of which wait: a vote until term and vote are durable in the store, an acknowledgement
// until the log is durable up to it as well. Whatever comes out may leave at once.
//
// A cut leaves what waits here as it is: within a term a leader cuts nothing that it matched, and what waits from a term
// that is over is dropped.

import { isBefore, later, type Position } from '../base/position.ts';
import type { AppendMatched, Message } from './message.ts';
import type { LeaderEpoch } from '@sluice/protocol/ids';

interface Held {
  readonly message: Message;
  /** The version of the store that it waits for. */
  readonly version: number;
}

export interface DurableState {
  readonly term: LeaderEpoch;
  readonly version: number;
  /** What may be acknowledged. */
  readonly position: Position;
}

export class Outbox {
  #free: Message[] = [];
  #held: Held[] = [];

  get isEmpty(): boolean {
    return this.#free.length === 0 && this.#held.length === 0;
  }

  send(message: Message): void {
    this.#free.push(message);
  }

  hold(message: Message, version: number): void {
    this.#held.push({ message, version });
  }

  /** What may leave now. Of acknowledgements only the furthest leaves: it covers the others. */
  take(durable: DurableState): Message[] {
    const taken = this.#free;
    this.#free = [];
    if (this.#held.length === 0) return taken;
    let furthest: AppendMatched | null = null;
    const waiting: Held[] = [];
    for (const held of this.#held) {
      const { message, version } = held;
      // An answer of a term that is over is of no use to anybody.
      if (message.term < durable.term) continue;
      const isDurable = message.kind !== 'append-matched' || !isBefore(durable.position, message.position);
      if (version > durable.version || !isDurable) waiting.push(held);
      else if (message.kind !== 'append-matched') taken.push(message);
      else if (furthest === null) furthest = message;
      else furthest = { ...message, position: later(furthest.position, message.position) };
    }
    this.#held = waiting;
    if (furthest !== null) taken.push(furthest);
    return taken;
  }
}
