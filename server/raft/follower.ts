// A follower: takes what the leader of its term sends, and asks for an election when it has not heard one for too long.
//
// A quiet one does not count time: the leader said that there is nothing to be told, and the link to its node speaks for
// it. Any message, or a word of the driver, wakes it.

import { isSame } from '../base/position.ts';
import type { Append, Heartbeat, Message, Snapshot } from './message.ts';
import type { Replica } from './replica.ts';
import type { Transition } from './transition.ts';
import { mayCampaign } from './voter.ts';

export class Follower {
  readonly kind = 'follower';
  readonly #replica: Replica;
  /** Ticks since a leader was heard, a vote given, or the role began. */
  #silentTicks = 0;
  #timeoutTicks: number;
  isQuiet = false;

  constructor(replica: Replica) {
    this.#replica = replica;
    this.#timeoutTicks = replica.drawElectionTicks();
  }

  get hasHeardLeader(): boolean {
    return this.#replica.leader !== null && this.#silentTicks < this.#replica.settings.electionTicks;
  }

  tick(): Transition | null {
    if (this.isQuiet) return null;
    if (++this.#silentTicks < this.#timeoutTicks) return null;
    // Also where it may not campaign itself: whoever does finds it free to answer.
    this.#replica.leader = null;
    this.restartTimer();
    return mayCampaign(this.#replica) ? { kind: 'pre-candidate' } : null;
  }

  restartTimer(): void {
    this.#silentTicks = 0;
    this.#timeoutTicks = this.#replica.drawElectionTicks();
  }

  /** A message of this term. */
  step(message: Message): Transition | null {
    const isGoingQuiet = message.kind === 'heartbeat' && message.isLast;
    if (!isGoingQuiet) this.isQuiet = false;
    switch (message.kind) {
      case 'append':
      case 'heartbeat':
      case 'snapshot':
        return this.#hear(message);
      case 'transfer':
        this.#replica.takeOver(message);
        return mayCampaign(this.#replica) && this.#replica.condition.kind === 'sound'
          ? { kind: 'candidate', isTransfer: true }
          : null;
      case 'pre-vote':
      case 'vote':
      case 'pre-vote-answer':
      case 'vote-answer':
      case 'append-matched':
      case 'append-rejected':
      case 'heartbeat-answer':
      case 'outdated':
        // Answers to a role that this replica no longer has, and requests that were answered before.
        return null;
    }
  }

  #hear(message: Append | Heartbeat | Snapshot): null {
    const replica = this.#replica;
    if (replica.leader !== null && replica.leader !== message.from) return null;
    replica.leader = message.from;
    this.#silentTicks = 0;
    if (message.kind === 'heartbeat') {
      this.#takeHeartbeat(message);
      return null;
    }
    // A log that takes nothing any more, or that is about to be replaced, has nothing to say to either.
    const { condition } = replica;
    if (replica.hasSnapshotWaiting || (condition.kind === 'faulty' && !condition.isWritable)) return null;
    if (message.kind === 'append') replica.takeAppend(message);
    else replica.takeSnapshot(message);
    return null;
  }

  #takeHeartbeat({ from, commit, readRound, isLast }: Heartbeat): void {
    const replica = this.#replica;
    replica.commitTo(commit);
    if (isLast && isSame(replica.commit, commit) && isSame(commit, replica.shape.end)) {
      this.isQuiet = true;
      return;
    }
    replica.send(from, { kind: 'heartbeat-answer', commit: replica.commit, readRound });
  }

  /** The leader's node is silent, or new: it counts as not heard. */
  wake(): void {
    if (!this.isQuiet) return;
    this.isQuiet = false;
    this.#replica.leader = null;
    this.restartTimer();
  }
}
