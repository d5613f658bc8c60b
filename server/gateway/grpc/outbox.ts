// Answers on their way out of one call.
//
// grpc-js buffers whatever it is given, so what may be given is decided here: at most so many bytes (and messages) that
// the transport has not taken yet. A message that is due whatever happens (an answer, a refusal) is `put`; one that can
// wait (a piece of a read) is made and written when its turn comes (`send`), first come, first served. The bytes
// are counted in a queue of the budget that all doors share: where that is short, less may wait here.
//
// Invariant: the queue's pending bytes are the sizes of the messages whose write has not called back, until it is closed.

import type { StatusObject } from '@grpc/grpc-js';
import type { OutgoingQueue } from '../outgoing-budget.ts';

/** What a grpc-js call with a response stream offers, as far as it is used here. */
export interface WritableCall<Answer> {
  write(message: Answer, taken: () => void): boolean;
  end(): unknown;
  emit(event: 'error', error: Error): boolean;
  on(event: 'close' | 'cancelled', listener: () => void): unknown;
}

export interface OutboxLimits {
  readonly bytesMax: number;
  readonly messagesMax: number;
  readonly queue: OutgoingQueue;
}

export interface Parcel<Answer> {
  readonly message: Answer;
  readonly bytes: number;
}

export class Outbox<Answer> {
  readonly #call: WritableCall<Answer>;
  readonly #limits: OutboxLimits;
  readonly #waiting: (() => void)[] = [];
  readonly #onTaken: () => void;
  #pendingMessages = 0;
  #isWaitingForOthers = false;
  #isClosed = false;

  /** `onTaken` is called whenever the transport has taken a message. */
  constructor(call: WritableCall<Answer>, limits: OutboxLimits, onTaken: () => void) {
    this.#call = call;
    this.#limits = limits;
    this.#onTaken = onTaken;
    call.on('close', () => this.close());
    call.on('cancelled', () => this.close());
  }

  get hasRoom(): boolean {
    return this.#isClosed || (this.#limits.queue.hasRoom(this.#limits.bytesMax) && !this.isCrowded);
  }

  /** So many messages that no request should be read that might add another. */
  get isCrowded(): boolean {
    return this.#pendingMessages >= this.#limits.messagesMax;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  put(message: Answer, bytes: number): void {
    if (this.#isClosed) return;
    this.#limits.queue.add(bytes);
    this.#pendingMessages++;
    this.#call.write(message, () => this.#taken(bytes));
  }

  /** Resolves in turn when there is room, so that nothing is fetched that would have to wait in memory. */
  ready(): Promise<void> {
    return this.send(() => null);
  }

  /** Resolves once `make` was called in turn, or the call is gone. `make` answers null when there is nothing to say any more. */
  async send(make: () => Parcel<Answer> | null): Promise<void> {
    if (!this.hasRoom || this.#waiting.length > 0) {
      await new Promise<void>(resolve => {
        this.#waiting.push(resolve);
        if (!this.hasRoom) this.#waitForOthers();
      });
    }
    if (this.#isClosed) return;
    const parcel = make();
    if (parcel !== null) this.put(parcel.message, parcel.bytes);
    this.#callNext();
  }

  /** Ends the call after everything that was put. */
  end(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#call.end();
    this.#releaseAll();
  }

  endWith(status: StatusObject): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    // grpc-js takes an `error` event as the status to end with, after what was written.
    this.#call.emit('error', Object.assign(new Error(status.details), status));
    this.#releaseAll();
  }

  /** The call is gone: nothing is written any more, nobody waits any more. */
  close(): void {
    this.#isClosed = true;
    this.#limits.queue.close();
    this.#releaseAll();
  }

  #taken(bytes: number): void {
    this.#limits.queue.taken(bytes);
    this.#pendingMessages--;
    if (this.#isClosed) return;
    this.#callNext();
    this.#onTaken();
  }

  #callNext(): void {
    if (this.#waiting.length === 0) return;
    if (this.hasRoom) this.#waiting.shift()?.();
    else this.#waitForOthers();
  }

  /** Where nothing of this call is pending, only clients of others can make room. */
  #waitForOthers(): void {
    const { queue } = this.#limits;
    if (queue.pendingBytes > 0 || this.#isWaitingForOthers) return;
    this.#isWaitingForOthers = true;
    void queue.whenRoom().then(() => {
      this.#isWaitingForOthers = false;
      this.#callNext();
    });
  }

  #releaseAll(): void {
    for (const resume of this.#waiting.splice(0)) resume();
  }
}
