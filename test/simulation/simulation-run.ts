// What every simulated cluster is: one queue of actions, one trace, and a first failure that ends it. What happens in between is said by
// `play`; after each action nothing may have failed and nobody may have thrown.

import { Scheduler } from './scheduler.ts';
import { SeededRandom } from './random.ts';
import { catchingAll, SimulationFailure, textOf } from './thrown.ts';
import { Trace } from './trace.ts';

const LOOK_EVERY_MS = 20;

export abstract class SimulationRun<Report> {
  readonly seed: string;
  readonly scheduler: Scheduler;
  protected readonly random: SeededRandom;
  readonly #trace = new Trace();
  #failure: string | null = null;
  #thrown: () => unknown = () => null;
  #events = 0;

  constructor(seed: string) {
    this.seed = seed;
    this.random = new SeededRandom(seed);
    this.scheduler = new Scheduler(this.random.fork('order'));
  }

  protected abstract play(): Promise<Report>;

  /** After every action. */
  protected check(): void {}

  /** What the cluster looks like, for whoever reads that it did not get somewhere. */
  protected abstract picture(): string;

  /** Once. */
  run(): Promise<Report> {
    return catchingAll(thrown => {
      this.#thrown = thrown;
      return this.play();
    });
  }

  fail(what: string): void {
    this.#failure ??= what;
  }

  trace(line: string): void {
    this.#trace.add(this.scheduler.nowMs, line);
  }

  get lastLines(): readonly string[] {
    return this.#trace.lastLines;
  }

  protected get events(): number {
    return this.#events;
  }

  protected traceHash(): string {
    return this.#trace.digest();
  }

  protected throwFailure(): void {
    const fault = this.#thrown();
    if (fault !== null) throw new SimulationFailure(`thrown: ${textOf(fault)}`);
    if (this.#failure !== null) throw new SimulationFailure(this.#failure);
  }

  protected async until(condition: () => boolean): Promise<void> {
    const isThere = await this.scheduler.run(() => {
      this.#events++;
      this.check();
      this.throwFailure();
      return condition();
    });
    if (!isThere) throw new SimulationFailure('nothing is left to run');
  }

  /** For what is costly to look at: asked again only when some time has passed. */
  protected settled(limitMs: number, what: string, condition: () => boolean): Promise<void> {
    let askAgainMs = 0;
    return this.within(limitMs, what, () => {
      if (this.scheduler.nowMs < askAgainMs) return false;
      askAgainMs = this.scheduler.nowMs + LOOK_EVERY_MS;
      return condition();
    });
  }

  protected async within(limitMs: number, what: string, condition: () => boolean): Promise<void> {
    const deadlineMs = this.scheduler.nowMs + limitMs;
    let isThere = false;
    await this.until(() => (isThere = condition()) || this.scheduler.nowMs > deadlineMs);
    if (!isThere) throw new SimulationFailure(`${what} after ${limitMs} ms: ${this.picture()}`);
  }

  protected async drive(limitMs: number, work: Promise<unknown>): Promise<void> {
    let isDone = false;
    work.then(
      () => {
        isDone = true;
      },
      (fault: unknown) => this.fail(textOf(fault)),
    );
    await this.within(limitMs, 'something does not end', () => isDone);
  }
}
