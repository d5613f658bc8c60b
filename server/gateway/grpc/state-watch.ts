// Pushing a state to one watcher: the newest one, never a backlog.
//
//   poke → (one at a time) take the state → differs from the last one sent? → write → wait until the transport took it
//
// Pokes during that round make one more round, however many they are. A watcher that does not read costs one state.

import { equals, type DescMessage, type MessageShape } from '@bufbuild/protobuf';
import type { ServerWritableStream } from '@grpc/grpc-js';
import type { Problem, Result } from '@sluice/protocol/errors';
import { problem } from '@sluice/protocol/errors';
import type { OpenCall, OpenCalls } from './open-calls.ts';
import { problemStatus } from './problem-status.ts';

export interface StateWatchOptions<Desc extends DescMessage> {
  readonly schema: Desc;
  /** The state now, or why the call ends. Never rejects. */
  readonly take: () => Promise<Result<MessageShape<Desc>>>;
  readonly onEnd: () => void;
}

export class StateWatch<Desc extends DescMessage> implements OpenCall {
  readonly #call: ServerWritableStream<unknown, MessageShape<Desc>>;
  readonly #calls: OpenCalls;
  readonly #options: StateWatchOptions<Desc>;
  #last: MessageShape<Desc> | null = null;
  #isRunning = false;
  #isPoked = false;
  #isEnded = false;
  #isDraining = false;

  constructor(
    call: ServerWritableStream<unknown, MessageShape<Desc>>,
    calls: OpenCalls,
    options: StateWatchOptions<Desc>,
  ) {
    this.#call = call;
    this.#calls = calls;
    this.#options = options;
  }

  start(): void {
    this.#call.on('cancelled', () => this.#ended());
    this.#call.on('close', () => this.#ended());
    this.#calls.opened(this);
    this.poke();
  }

  poke(): void {
    this.#isPoked = true;
    if (!this.#isRunning) void this.#run();
  }

  /** The last state is still sent, then the call ends. */
  drain(): void {
    this.#isDraining = true;
    this.poke();
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    while (this.#isPoked && !this.#isEnded) {
      this.#isPoked = false;
      const state = await this.#options.take();
      if (this.#isEnded) break;
      if (state.ok) await this.#write(state.value);
      else this.#endWith(state.problem);
    }
    this.#isRunning = false;
    if (this.#isDraining) this.#endWith(stopping);
  }

  async #write(state: MessageShape<Desc>): Promise<void> {
    if (this.#last !== null && equals(this.#options.schema, this.#last, state)) return;
    this.#last = state;
    await new Promise<void>(resolve => {
      this.#call.once('close', resolve);
      this.#call.write(state, () => {
        this.#call.off('close', resolve);
        resolve();
      });
    });
  }

  #endWith(reason: Problem): void {
    if (this.#isEnded) return;
    const status = problemStatus(reason);
    this.#call.emit('error', Object.assign(new Error(status.details), status));
    this.#ended();
  }

  #ended(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#calls.ended(this);
    this.#options.onEnd();
  }
}

const stopping: Problem = problem('SHUTTING_DOWN', 'the broker is stopping');
