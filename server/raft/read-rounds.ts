// Linearizable reads without clocks: a leader that hears from a majority *after* a read was asked for was still the leader
// when it was asked, so that the commit point of that moment covers all that anybody can have seen.
//
// All reads that wait when a round begins share it: its number goes out with the heartbeats and comes back with their
// answers.

import type { Position } from '../base/position.ts';
import type { Configuration } from './configuration.ts';
import { jointVote } from './quorum.ts';
import type { ConfirmedRead, ReadToken } from './ready.ts';
import type { ReplicaId } from './replica-id.ts';

interface Round {
  readonly number: number;
  readonly commit: Position;
  readonly tokens: readonly ReadToken[];
}

export class ReadRounds {
  #waiting: ReadToken[] = [];
  /** Oldest first. */
  #rounds: Round[] = [];
  #number = 0;
  readonly #answered = new Map<ReplicaId, number>();

  get number(): number {
    return this.#number;
  }
  get hasWaiting(): boolean {
    return this.#waiting.length > 0;
  }
  get isEmpty(): boolean {
    return this.#waiting.length === 0 && this.#rounds.length === 0;
  }

  ask(token: ReadToken): void {
    this.#waiting.push(token);
  }

  begin(commit: Position): void {
    this.#number++;
    this.#rounds.push({ number: this.#number, commit, tokens: this.#waiting });
    this.#waiting = [];
  }

  answered(from: ReplicaId, round: number): void {
    if (round > (this.#answered.get(from) ?? 0)) this.#answered.set(from, round);
  }

  /** The reads that a majority confirmed since. */
  confirmed(configuration: Configuration, self: ReplicaId): ConfirmedRead[] {
    let last = -1;
    for (const [index, round] of this.#rounds.entries()) {
      const votes = new Map([[self, true]]);
      for (const [from, answered] of this.#answered) if (answered >= round.number) votes.set(from, true);
      if (jointVote(configuration, votes) === 'won') last = index;
    }
    // A later round confirms the earlier ones: it was asked after them.
    const done = this.#rounds.splice(0, last + 1);
    return done.flatMap(({ tokens, commit }) => tokens.map(token => ({ token, commit })));
  }

  /** All that were asked and not confirmed: this leader cannot any more. */
  abandon(): ReadToken[] {
    const tokens = [...this.#rounds.flatMap(round => round.tokens), ...this.#waiting];
    this.#rounds = [];
    this.#waiting = [];
    return tokens;
  }
}
