// Tells the controller who this node is and that it lives: registers, then says every two seconds whether it is ready.
//
//   registering ──(registered)──> alive ──(the controller does not know this start)──> registering
//        └──(refused for good: another node has this id, or this directory is another one)──> refused, told once, asked again slowly
//
// Guarantees: `registered` settles when the controller's answer is there and the image holds it.

import type { Problem } from '@sluice/protocol/errors';
import { BROKER_HEARTBEAT_MS, BROKER_SESSION_MS, METADATA_PAUSE_MS } from '../base/limits.ts';
import type { Logger } from '../base/logger.ts';
import type { Clock } from '../io/clock.ts';
import type { BrokerRegistration } from '../state/cluster/record.ts';
import type { ControllerClient } from './controller-client.ts';
import { pause } from './pause.ts';

export interface BrokerSessionOptions {
  readonly client: ControllerClient;
  readonly registration: BrokerRegistration;
  readonly clock: Clock;
  readonly logger: Logger;
}

export class BrokerSession {
  readonly registered: Promise<void>;
  readonly #options: BrokerSessionOptions;
  #settleRegistered: () => void = () => {};
  #isReady = false;
  /** As of the newest heartbeat that was begun. */
  #toldReady = false;
  #readyWaiters: (() => void)[] = [];
  /** Resolves the wait between two heartbeats early: what changed is told at once. */
  #hurry: () => void = () => {};
  #isClosed = false;
  #toldRefusal = '';
  #running: Promise<void> = Promise.resolve();

  constructor(options: BrokerSessionOptions) {
    this.#options = options;
    this.registered = new Promise(resolve => {
      this.#settleRegistered = resolve;
    });
  }

  start(clusterId: string): void {
    this.#running = this.#run(clusterId);
  }

  /** What the next heartbeat says, which goes at once. Settled when the controller knows, and the image says so. */
  setReady(isReady: boolean): Promise<void> {
    this.#isReady = isReady;
    this.#hurry();
    return new Promise(resolve => this.#readyWaiters.push(resolve));
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#hurry();
    await this.#running;
    this.#settleReady();
  }

  #settleReady(): void {
    const waiters = this.#readyWaiters;
    this.#readyWaiters = [];
    for (const settle of waiters) settle();
  }

  async #run(clusterId: string): Promise<void> {
    while (!this.#isClosed) {
      if (!(await this.#register(clusterId))) continue;
      this.#settleRegistered();
      while (!this.#isClosed && (await this.#beat())) {
        // It changed while it was told: once more, at once.
        if (this.#isReady === this.#toldReady) await this.#pause(BROKER_HEARTBEAT_MS);
      }
    }
  }

  async #register(clusterId: string): Promise<boolean> {
    const { client, registration, logger } = this.#options;
    const result = await client.ask('register', { clusterId, registration });
    if (result.ok) {
      this.#toldRefusal = '';
      return true;
    }
    if (this.#isClosed) return false;
    this.#tellRefusal(result.problem);
    if (result.problem.code === 'FORBIDDEN' || result.problem.code === 'INVALID_REQUEST') {
      await this.#pause(BROKER_SESSION_MS);
    } else {
      logger.debug({ code: result.problem.code }, 'the registration is tried again');
      await this.#pause(METADATA_PAUSE_MS);
    }
    return false;
  }

  #tellRefusal({ code, detail, facts }: Problem): void {
    const key = `${code} ${detail}`;
    if (key === this.#toldRefusal) return;
    this.#toldRefusal = key;
    this.#options.logger.error({ code, ...facts }, `this node cannot register: ${detail}`);
  }

  /** False: this start is not registered any more. */
  async #beat(): Promise<boolean> {
    const { client, registration } = this.#options;
    const { nodeId, incarnation } = registration;
    this.#toldReady = this.#isReady;
    const readiness = this.#isReady ? 'ready' : 'not-ready';
    const result = await client.ask('heartbeat', { nodeId, incarnation, readiness });
    if (result.ok && this.#isReady === this.#toldReady) this.#settleReady();
    return result.ok || result.problem.code !== 'FORBIDDEN';
  }

  #pause(ms: number): Promise<void> {
    // Who closes during a heartbeat has hurried already.
    if (this.#isClosed) return Promise.resolve();
    return Promise.race([
      pause(this.#options.clock, ms),
      new Promise<void>(resolve => {
        this.#hurry = resolve;
      }),
    ]);
  }
}
