// The controller: the node that leads the metadata group. Runs commands on the state, judges who is alive, and moves leaderships back
// to where they should be. On every other node it only says who leads.
//
// Time is counted in ticks, judged after the input that is already there (a `defer`): after a stall of this node a late tick is
// one tick, and nobody is fenced for having been unheard meanwhile.

import type { ErrorCode } from '@sluice/protocol/errors';
import type { LeaderEpoch, NodeId } from '@sluice/protocol/ids';
import { BALANCE_RETRY_TICKS, BALANCE_TICKS, BROKER_SESSION_MS, CONTROLLER_TICK_MS } from '../base/limits.ts';
import type { Logger } from '../base/logger.ts';
import type { TopicConfig } from '../base/topic-config.ts';
import type { Clock, Timer } from '../io/clock.ts';
import type { ClusterState } from '../state/cluster/cluster-state.ts';
import {
  type Leadership,
  type LeaderTransfer,
  type PartitionPlace,
  planLeaderTransfers,
} from '../state/cluster/leader-balance.ts';
import { judgeLiveness } from '../state/cluster/liveness.ts';
import type { ClusterRecord } from '../state/cluster/record.ts';
import type { LeaderDirectory } from './leader-directory.ts';
import { type CommandAnswer, judgeCommand, type MetadataCommand, type MetadataResponse } from './metadata-command.ts';
import type { ReplicatedState } from './replicated-state.ts';

export interface ControllerOptions {
  readonly state: ReplicatedState<ClusterState, ClusterRecord>;
  readonly leaders: LeaderDirectory;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly topicDefaults: TopicConfig;
  /** Who leads the partition, and who could: as far as this node heard. */
  readonly leadership: (place: PartitionPlace) => Leadership | null;
  /** Asks the leader to make room; false where it did not. */
  readonly transfer: (transfer: LeaderTransfer) => Promise<boolean>;
}

const placeKey = ({ topicId, partition }: PartitionPlace): string => `${topicId}/${partition}`;

export class Controller {
  readonly #options: ControllerOptions;
  #timer: Timer | null = null;
  #ticks = 0;
  /** Of the leadership that `#lastHeard` is about. */
  #epoch: LeaderEpoch | null = null;
  #listeningSince = 0;
  readonly #lastHeard = new Map<NodeId, number>();
  /** When transfers that were asked for may be asked for again. */
  readonly #skipUntil = new Map<string, number>();

  constructor(options: ControllerOptions) {
    this.#options = options;
  }

  start(): void {
    const { clock } = this.#options;
    this.#timer = clock.schedule(CONTROLLER_TICK_MS, () => {
      this.start();
      clock.defer(() => this.#tick());
    });
  }

  close(): void {
    this.#timer?.cancel();
  }

  // ---- Commands

  /** Here or not at all: where this node does not lead, the answer says who does. */
  async execute(command: MetadataCommand): Promise<CommandAnswer> {
    const { state, leaders, clock, topicDefaults } = this.#options;
    this.#followTerm();
    const { result, end } = await state.submit<MetadataResponse, ErrorCode>(({ image }) => {
      const judged = judgeCommand(image, command, { topicDefaults, nowMs: clock.wallMs() });
      if (judged.ok) this.#noteAlive(command);
      return judged;
    });
    return { result, end, hint: leaders.hint };
  }

  #noteAlive(command: MetadataCommand): void {
    if (command.verb === 'heartbeat') this.#lastHeard.set(command.request.nodeId, this.#nowMs);
    if (command.verb === 'register') this.#lastHeard.set(command.request.registration.nodeId, this.#nowMs);
  }

  // ---- Time

  get #nowMs(): number {
    return this.#ticks * CONTROLLER_TICK_MS;
  }

  /** What was heard belongs to one leadership: a new one gives everybody the full time. */
  #followTerm(): void {
    const { epoch } = this.#options.state;
    if (epoch === this.#epoch) return;
    this.#epoch = epoch;
    this.#lastHeard.clear();
    this.#skipUntil.clear();
    this.#listeningSince = this.#nowMs;
    if (epoch === null) return;
    // Of a node that is alone it goes without saying.
    const isAlone = this.#options.state.state?.image.founded?.voters.length === 1;
    this.#options.logger[isAlone ? 'debug' : 'info']({ term: epoch }, 'this node is the controller');
  }

  #tick(): void {
    this.#ticks++;
    this.#followTerm();
    if (this.#options.state.state === null) return;
    this.#judgeLiveness();
    if (this.#ticks % BALANCE_TICKS === 0) this.#balance();
  }

  #judgeLiveness(): void {
    const { state, logger } = this.#options;
    const times = {
      nowMs: this.#nowMs,
      listeningSinceMs: this.#listeningSince,
      lastHeardMs: this.#lastHeard,
      sessionTimeoutMs: BROKER_SESSION_MS,
    };
    const cluster = state.state;
    // Nothing is asked of the group while there is nothing to say.
    if (cluster === null || judgeLiveness(cluster.image, times).records.length === 0) return;
    const judged = state.submit(({ image }) => ({ ok: true, value: judgeLiveness(image, times) }) as const);
    void judged.then(({ result }) => {
      if (result.ok) logger.warn({ nodes: result.value.fenced }, 'brokers are fenced: they were silent for too long');
    });
  }

  #balance(): void {
    const { state, leadership, transfer, logger } = this.#options;
    const cluster = state.state;
    if (cluster === null) return;
    for (const [key, until] of this.#skipUntil) if (until <= this.#ticks) this.#skipUntil.delete(key);
    const plan = planLeaderTransfers(cluster.image, {
      leadership,
      skip: place => this.#skipUntil.has(placeKey(place)),
    });
    for (const planned of plan) {
      // Also where it succeeds: what is heard of leaders needs a moment to follow.
      this.#skipUntil.set(placeKey(planned), this.#ticks + BALANCE_RETRY_TICKS);
      void transfer(planned).then(isDone => {
        logger.info({ ...planned, done: isDone }, 'a leadership is to move');
      });
    }
  }
}
