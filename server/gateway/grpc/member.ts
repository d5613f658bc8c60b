// A member of a group on a stream: what the client says is passed on, and what is new for it is told at once.
//
//   join, resume ──> joined ──> heartbeats of the client, each followed by a wait for news as long as the next one may take
//                                 ├─ news ──> assigned, or revoking with a deadline
//                                 └─ out of the group ──> error, end
//   commit ──> one after the other ──> committed, or an error with its id
//
// The session lives by the client's heartbeats: a wait ends when the next one is due. What a client says that it owns counts for the
// epoch that it knew when it said so; where it was told a later one meanwhile, nothing is taken as given back.
// A stream that ends leaves the member in its group until its session does, so that another stream can go on with it.

import { create } from '@bufbuild/protobuf';
import type { ServerDuplexStream } from '@grpc/grpc-js';
import { type Problem, problem, type Result } from '@sluice/protocol/errors';
import {
  type JoinGroup,
  type MemberCommit,
  type MemberHeartbeat,
  type MemberRequest,
  type MemberResponse,
  MemberResponseSchema,
  type ResumeMember,
  StartPosition,
} from '@sluice/protocol/services';
import { unreachable } from '../../base/assert.ts';
import { GRPC_MEMBER_REQUESTS_MAX, GRPC_OUTBOX_BYTES_MAX, GRPC_OUTBOX_MESSAGES_MAX } from '../../base/limits.ts';
import type { VerbMetrics } from '../../base/metrics.ts';
import type { Membership, TopicPartitions } from '../../broker/groups.ts';
import type { GatewayContext } from '../gateway.ts';
import { readJoin, readPartitions, readPositions, wirePartitions } from './group-message.ts';
import type { OpenCall, OpenCalls } from './open-calls.ts';
import { Outbox } from './outbox.ts';
import { problemMessage, problemStatus } from './problem-status.ts';
import type { ReadGate } from './read-gate.ts';
import { unexpected } from './unexpected.ts';

type Call = ServerDuplexStream<MemberRequest, MemberResponse>;
type Init = NonNullable<Parameters<typeof create<typeof MemberResponseSchema>>[1]>['response'];
type Response = Exclude<Init, { readonly case?: undefined } | undefined>;

/** What a response weighs in the outbox beside its partitions, and what a partition or a position takes, roughly. */
const RESPONSE_BYTES = 128;
const PARTITION_BYTES = 8;
const POSITION_BYTES = 128;

/** The membership is over: the client has nothing any more. */
const isOver = ({ code, facts }: Problem): boolean =>
  facts['outcome'] === undefined && (code === 'UNKNOWN_MEMBER' || code === 'FENCED_MEMBER_EPOCH');

export class MemberCall implements OpenCall {
  readonly #context: GatewayContext;
  readonly #call: Call;
  readonly #gate: ReadGate;
  readonly #calls: OpenCalls;
  readonly #metrics: VerbMetrics;
  readonly #outbox: Outbox<MemberResponse>;
  #group = '';
  /** As the client was told last; null before it has joined. */
  #told: Membership | null = null;
  #isOpened = false;
  /** Said by the client and not passed on. */
  #said: MemberHeartbeat | null = null;
  /** Ends the wait for news. */
  #wait: AbortController | null = null;
  #isBeating = false;
  #waitUntilMs = 0;
  /** Requests are carried out one after the other; heartbeats are no requests. */
  #requests: Promise<void> = Promise.resolve();
  #pending = 0;
  #isHeld = false;
  #hasHalfClosed = false;
  #isDraining = false;
  #isEnded = false;

  constructor(
    context: GatewayContext,
    call: Call,
    door: { readonly gate: ReadGate; readonly calls: OpenCalls; readonly metrics: VerbMetrics },
  ) {
    this.#context = context;
    this.#call = call;
    this.#gate = door.gate;
    this.#calls = door.calls;
    this.#metrics = door.metrics;
    const queue = context.outgoing.open('grpc', () => this.#gate.cut());
    const limits = { bytesMax: GRPC_OUTBOX_BYTES_MAX, messagesMax: GRPC_OUTBOX_MESSAGES_MAX, queue };
    this.#outbox = new Outbox(call, limits, () => this.#steer());
  }

  start(): void {
    this.#call.on('data', (request: MemberRequest) => this.#take(request));
    this.#call.on('end', () => {
      this.#hasHalfClosed = true;
      this.#steer();
    });
    this.#call.on('cancelled', () => this.#gone());
    this.#call.on('close', () => this.#gone());
    this.#calls.opened(this);
  }

  drain(): void {
    this.#isDraining = true;
    this.#steer();
  }

  #gone(): void {
    this.#isEnded = true;
    this.#wait?.abort();
    this.#calls.ended(this);
  }

  // ---- Requests

  #take({ request }: MemberRequest): void {
    if (this.#isEnded || this.#isDraining) return;
    const isOpening = request.case === 'join' || request.case === 'resume';
    if (isOpening === this.#isOpened || request.case === undefined) {
      this.#refuseMembership(problem('INVALID_REQUEST', 'a member joins or resumes first, and once'));
      return;
    }
    this.#isOpened = true;
    switch (request.case) {
      case 'join':
        this.#inTurn(0, () => this.#join(request.value));
        break;
      case 'resume':
        this.#inTurn(0, () => this.#resume(request.value));
        break;
      case 'heartbeat':
        this.#heard(request.value);
        break;
      case 'commit':
        this.#inTurn(commitBytes(request.value), () => this.#commit(request.value));
        break;
      case 'leave':
        this.#inTurn(0, () => this.#leave());
        break;
      default:
        unreachable(request);
    }
    this.#steer();
  }

  #inTurn(bytes: number, carryOut: () => Promise<void>): void {
    const { bodyBudget } = this.#context;
    const isCounted = bodyBudget.reserve(bytes);
    this.#metrics.received(bytes);
    this.#pending++;
    this.#requests = this.#requests.then(async () => {
      try {
        if (!this.#isEnded) await carryOut();
      } catch (error) {
        this.#refuseMembership(unexpected(this.#context, error, 'member'));
      }
      if (isCounted) bodyBudget.release(bytes);
      this.#pending--;
      this.#steer();
    });
  }

  async #timed<T>(ask: () => Promise<Result<T>>): Promise<Result<T>> {
    const { clock } = this.#context;
    const startedMs = clock.monotonicMs();
    const result = await ask();
    this.#metrics.finished(result.ok ? 'ok' : result.problem.code, (clock.monotonicMs() - startedMs) / 1_000);
    return result;
  }

  async #join(join: JoinGroup): Promise<void> {
    const request = readJoin(join, this.#call.getPeer());
    if (!request.ok) return this.#refuseMembership(request.problem);
    this.#group = join.group;
    this.#begin(await this.#timed(() => this.#context.broker.groups.join(request.value)));
  }

  async #resume({ group, memberId, memberEpoch, owned: sets }: ResumeMember): Promise<void> {
    const owned = readPartitions(sets);
    if (!owned.ok) return this.#refuseMembership(owned.problem);
    this.#group = group;
    const request = { group, memberId, memberEpoch, owned: owned.value, waitMs: 0 };
    this.#begin(await this.#timed(() => this.#context.broker.groups.heartbeat(request)));
  }

  #begin(result: Result<Membership>): void {
    if (!result.ok) return this.#refuseMembership(result.problem);
    const told = result.value;
    this.#told = told;
    const { memberId, memberEpoch, heartbeatIntervalMs, sessionTimeoutMs, assignment, from } = told;
    const fields = { memberId, memberEpoch, heartbeatIntervalMs, sessionTimeoutMs };
    const start = from === 'latest' ? StartPosition.LATEST : StartPosition.EARLIEST;
    const joined = { ...fields, assignment: wirePartitions(assignment), from: start };
    this.#put({ case: 'joined', value: joined }, assignment);
    if (told.revoking.length > 0) this.#tell(told);
    this.#beginToWait();
  }

  async #commit({ id, offsets }: MemberCommit): Promise<void> {
    const told = this.#told;
    if (told === null) return;
    const positions = readPositions(offsets);
    const { memberId, memberEpoch } = told;
    const member = { memberId, memberEpoch };
    const result = positions.ok
      ? await this.#timed(() =>
          this.#context.broker.groups.commit({ group: this.#group, member, offsets: positions.value }),
        )
      : positions;
    if (result.ok) this.#put({ case: 'committed', value: { id } });
    else this.#put({ case: 'error', value: { id, problem: problemMessage(result.problem) } });
  }

  async #leave(): Promise<void> {
    const told = this.#told;
    if (told === null) return;
    this.#isEnded = true;
    this.#wait?.abort();
    const { memberId } = told;
    const left = await this.#timed(() => this.#context.broker.groups.leave({ group: this.#group, memberId }));
    // Who is out already has left.
    if (left.ok || isOver(left.problem)) this.#put({ case: 'left', value: {} });
    else this.#put({ case: 'error', value: { problem: problemMessage(left.problem) } });
    this.#outbox.end();
  }

  // ---- Heartbeats

  #heard(heartbeat: MemberHeartbeat): void {
    const owned = readPartitions(heartbeat.owned);
    if (!owned.ok) return this.#refuseMembership(owned.problem);
    this.#said = heartbeat;
    // What is said now goes at once.
    this.#wait?.abort();
    if (this.#told !== null) this.#beat();
  }

  #beginToWait(): void {
    this.#waitUntilMs = this.#context.clock.monotonicMs() + (this.#told?.heartbeatIntervalMs ?? 0);
    this.#beat();
  }

  #beat(): void {
    if (this.#isBeating || this.#isEnded || this.#isDraining) return;
    this.#isBeating = true;
    void this.#beats().then(
      () => {
        this.#isBeating = false;
        this.#steer();
      },
      (error: unknown) => this.#refuseMembership(unexpected(this.#context, error, 'member')),
    );
  }

  async #beats(): Promise<void> {
    const { clock } = this.#context;
    for (;;) {
      const told = this.#told;
      const said = this.#said;
      this.#said = null;
      if (told === null || this.#isEnded || this.#isDraining || this.#hasHalfClosed) return;
      if (said !== null) this.#waitUntilMs = clock.monotonicMs() + told.heartbeatIntervalMs;
      const waitMs = Math.floor(this.#waitUntilMs - clock.monotonicMs());
      // Until the client says that it lives.
      if (said === null && waitMs <= 0) return;
      const isCurrent = said?.memberEpoch === told.memberEpoch;
      const owned = said !== null && isCurrent ? said.owned : everythingTold(told);
      const wait = new AbortController();
      this.#wait = wait;
      const { memberId, memberEpoch } = told;
      const request = { group: this.#group, memberId, memberEpoch, owned, waitMs: Math.max(0, waitMs) };
      const result = await this.#timed(() =>
        this.#context.broker.groups.heartbeat({ ...request, signal: wait.signal }),
      );
      this.#wait = null;
      if (this.#isEnded) return;
      if (result.ok) this.#follow(result.value);
      else if (isOver(result.problem)) return this.#refuseMembership(result.problem);
      // A coordinator that cannot be reached is asked again with the client's next heartbeat.
      else if (!wait.signal.aborted) return;
    }
  }

  #follow(now: Membership): void {
    if (now.memberEpoch === this.#told?.memberEpoch) return;
    this.#told = now;
    this.#tell(now);
  }

  #tell({ memberEpoch, assignment, revoking, rebalanceTimeoutMs }: Membership): void {
    if (revoking.length > 0) {
      const value = { memberEpoch, partitions: wirePartitions(revoking), deadlineMs: rebalanceTimeoutMs };
      this.#put({ case: 'revoking', value }, revoking);
    } else this.#put({ case: 'assigned', value: { memberEpoch, assignment: wirePartitions(assignment) } }, assignment);
  }

  // ---- Answers

  #put(response: Response, sets: readonly TopicPartitions[] = []): void {
    let bytes = RESPONSE_BYTES;
    for (const { topic, partitions } of sets) bytes += topic.length + partitions.length * PARTITION_BYTES;
    this.#outbox.put(create(MemberResponseSchema, { response }), bytes);
  }

  #refuseMembership(fault: Problem): void {
    if (this.#isEnded && this.#outbox.isClosed) return;
    this.#isEnded = true;
    this.#wait?.abort();
    this.#put({ case: 'error', value: { problem: problemMessage(fault) } });
    this.#outbox.end();
  }

  /** Reads on or holds, and ends the call when everything is answered that will be. */
  #steer(): void {
    if (this.#isDraining || this.#hasHalfClosed) this.#wait?.abort();
    const isAtRest = this.#pending === 0 && !this.#isBeating;
    if (isAtRest && !this.#isEnded && (this.#isDraining || this.#hasHalfClosed)) {
      this.#isEnded = true;
      if (this.#isDraining) this.#outbox.endWith(problemStatus(stopping));
      else this.#outbox.end();
      return;
    }
    const mustHold = this.#pending >= GRPC_MEMBER_REQUESTS_MAX || this.#outbox.isCrowded;
    if (mustHold === this.#isHeld) return;
    this.#isHeld = mustHold;
    if (mustHold) this.#gate.hold();
    else this.#gate.release();
  }
}

const stopping: Problem = problem('SHUTTING_DOWN', 'the broker is stopping; the member goes on at another one');

const everythingTold = ({ assignment, revoking }: Membership): readonly TopicPartitions[] => [
  ...assignment,
  ...revoking,
];

const commitBytes = ({ offsets }: MemberCommit): number => {
  let bytes = 0;
  for (const { topic, metadata } of offsets) bytes += POSITION_BYTES + topic.length + metadata.length;
  return bytes;
};
