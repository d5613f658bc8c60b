// A node's way to the controller: a call of its own where the controller is here, else one hop to whoever leads, as far as this
// node heard. Who is asked never passes a command on; it answers who leads instead.
//
//   answered NOT_LEADER, or still loading ──> tried again, at the leader that the answer names
//   certainly not sent ─────────────────────> tried again
//   sent, and no answer ────────────────────> tried again where doing it twice is the same as once, else: outcome unknown

import { type ErrorCode, problem, type Result } from '@sluice/protocol/errors';
import { type NodeId, offset } from '@sluice/protocol/ids';
import { METADATA_ATTEMPT_MS, METADATA_IMAGE_MS, METADATA_PAUSE_MS, METADATA_REQUEST_MS } from '../base/limits.ts';
import type { Clock } from '../io/clock.ts';
import type { PeerLinks } from '../io/peer-link.ts';
import { askPeer } from '../replication/peer-request.ts';
import type { Controller } from './controller.ts';
import type { LeaderDirectory } from './leader-directory.ts';
import {
  type CommandAnswer,
  decodeCommandAnswer,
  encodeCommand,
  isRepeatable,
  type MetadataCommand,
  type MetadataVerb,
  type MetadataVerbs,
} from './metadata-command.ts';
import type { MetadataImage } from './metadata-image.ts';
import { pause } from './pause.ts';
import { PEER_KIND } from './peer-kinds.ts';

export interface ControllerClientOptions {
  readonly self: NodeId;
  readonly controller: Controller;
  readonly leaders: LeaderDirectory;
  readonly image: MetadataImage;
  readonly links: Pick<PeerLinks, 'call'>;
  readonly clock: Clock;
  /** Who may know who leads. */
  readonly sources: () => readonly NodeId[];
}

type Attempt =
  | { readonly kind: 'answered'; readonly answer: CommandAnswer }
  | { readonly kind: 'not-done' }
  | { readonly kind: 'unknown' };

const isUnknown = (attempt: Attempt): boolean =>
  attempt.kind === 'unknown' ||
  (attempt.kind === 'answered' &&
    !attempt.answer.result.ok &&
    attempt.answer.result.problem.facts['outcome'] === 'unknown');

/** A controller that stops is followed by another one. */
const isWorthRetrying = (code: ErrorCode): boolean =>
  code === 'NOT_LEADER' || code === 'COORDINATOR_LOADING' || code === 'SHUTTING_DOWN';

export class ControllerClient {
  readonly #options: ControllerClientOptions;
  readonly #abort = new AbortController();
  /** Settled when nothing is waited for any more. */
  readonly #closed = new Promise<void>(resolve => {
    this.#abort.signal.addEventListener('abort', () => resolve(), { once: true });
  });
  #turn = 0;

  constructor(options: ControllerClientOptions) {
    this.#options = options;
  }

  close(): void {
    this.#abort.abort();
  }

  get isClosed(): boolean {
    return this.#abort.signal.aborted;
  }

  /** The local image holds what an answer says when it is given, or a short wait for it ran out. */
  ask<V extends MetadataVerb>(
    verb: V,
    request: MetadataVerbs[V]['request'],
  ): Promise<Result<MetadataVerbs[V]['response']>> {
    const command = { verb, request } as MetadataCommand;
    return this.#insist(command);
  }

  async #insist(command: MetadataCommand): Promise<CommandAnswer['result']> {
    const { clock, image, leaders } = this.#options;
    const deadlineMs = clock.monotonicMs() + METADATA_REQUEST_MS;
    /** What is to be said when the time is over. */
    let last: CommandAnswer['result'] = notReached;
    for (;;) {
      const { news } = leaders;
      const leftMs = deadlineMs - clock.monotonicMs();
      if (this.isClosed) return { ok: false, problem: problem('SHUTTING_DOWN', 'the broker is stopping') };
      if (leftMs <= 0) return last;
      const attempt = await this.#attempt(command, Math.min(leftMs, METADATA_ATTEMPT_MS));
      if (isUnknown(attempt)) {
        if (!isRepeatable(command.verb)) return outcomeUnknown;
        last = outcomeUnknown;
      } else if (attempt.kind === 'answered') {
        const { result, end } = attempt.answer;
        if (result.ok || !isWorthRetrying(result.problem.code)) {
          await Promise.race([image.reached(offset(end), METADATA_IMAGE_MS), this.#closed]);
          return result;
        }
        // What was not known before is not known now.
        if (last !== outcomeUnknown) last = result;
      }
      await Promise.race([pause(clock, METADATA_PAUSE_MS), news, this.#closed]);
    }
  }

  async #attempt(command: MetadataCommand, timeoutMs: number): Promise<Attempt> {
    const { self, controller, leaders, links, sources } = this.#options;
    const { leader } = leaders.hint;
    if (leader === self) return { kind: 'answered', answer: await controller.execute(command) };
    const others = sources();
    const to = leader ?? others[this.#turn++ % Math.max(1, others.length)];
    if (to === undefined) return { kind: 'not-done' };
    const request = { to, kind: PEER_KIND.metadataCommand, body: encodeCommand(command) };
    const asked = await askPeer(links, request, { timeoutMs, signal: this.#abort.signal });
    if (asked.kind !== 'answer') {
      // It may be gone, and with it what this node believes.
      leaders.doubt(to);
      return { kind: asked.kind === 'not-sent' ? 'not-done' : 'unknown' };
    }
    const answer = decodeCommandAnswer(command.verb, asked.body);
    if (answer === null) return { kind: 'unknown' };
    leaders.heard(answer.hint);
    if (!answer.result.ok && answer.result.problem.code === 'NOT_LEADER' && answer.hint.leader === null) {
      leaders.doubt(to);
    }
    return { kind: 'answered', answer };
  }
}

const notReached: CommandAnswer['result'] = {
  ok: false,
  problem: problem(
    'COORDINATOR_LOADING',
    'no controller could be reached: a majority of the metadata voters is needed',
  ),
};

const outcomeUnknown: CommandAnswer['result'] = {
  ok: false,
  problem: problem('REQUEST_TIMED_OUT', 'the controller did not answer: whether it was done is not known', {
    outcome: 'unknown',
  }),
};
