// Damaged replicas of this node made whole from others, one after another: what is damaged in a log is fetched again from whoever holds the
// same entries undamaged (storage/log-repair.ts says how it is put in place). A leader does it like a follower. A group of one has nobody
// to ask, and stays as it is.
//
//   request   topic id 16 | partition u32 | epoch u32 | offset u64 | bytes u32       entries behind this position, up to so many bytes
//   answer    what became of it u8 | the batches to the end
//               0  here they are     1  there is no such replica here, or it cannot give them
//
// Pieces are bounded and asked for one at a time, on the lane of calls, so that neither appends nor elections wait for them.

import type { NodeId } from '@sluice/protocol/ids';
import { splitBatches } from '@sluice/protocol/record';
import {
  PEER_CALL_BYTES_MAX,
  REPAIR_CALL_MS_MAX,
  REPAIR_PIECE_BYTES,
  REPAIR_RETRY_MS_MAX,
  REPAIR_RETRY_MS_MIN,
} from '../base/limits.ts';
import type { Logger } from '../base/logger.ts';
import type { Position } from '../base/position.ts';
import type { Clock, Timer } from '../io/clock.ts';
import type { PeerLinks } from '../io/peer-link.ts';
import { membersOf } from '../raft/configuration.ts';
import type { ReplicaId } from '../raft/replica-id.ts';
import type { Repaired } from '../storage/log-repair.ts';
import { ByteReader } from './byte-reader.ts';
import { ByteWriter } from './byte-writer.ts';
import type { GroupName } from './group-name.ts';
import { askPeer, type PeerRequests } from './peer-request.ts';
import type { ReplicatedLog } from './replicated-log.ts';
import type { Replication } from './replication.ts';

export interface ReplicaRepairOptions {
  readonly replication: Replication;
  readonly links: Pick<PeerLinks, 'call'>;
  readonly requests: PeerRequests;
  readonly clock: Clock;
  readonly logger: Logger;
  /** For metrics. */
  readonly repaired?: (repaired: Repaired) => void;
}

/** The first of replication's own kinds of requests. */
export const STORED_ENTRIES = 128;

const GIVEN = 0;
const NOT_GIVEN = 1;
const REQUEST_BYTES = 36;
const REFUSED = Uint8Array.of(NOT_GIVEN);

interface Damaged {
  readonly group: ReplicatedLog;
  /** Grows with each attempt that came to nothing. */
  waitMs: number;
  isWaiting: boolean;
  /** What was told last of why it cannot be repaired. */
  told: string;
}

export class ReplicaRepair {
  readonly #options: ReplicaRepairOptions;
  readonly #damaged = new Map<ReplicatedLog, Damaged>();
  readonly #timers = new Set<Timer>();
  #isRunning = false;
  #isClosed = false;

  constructor(options: ReplicaRepairOptions) {
    this.#options = options;
    options.requests.register(STORED_ENTRIES, (_from, body) => this.#give(body));
    options.replication.onDamage(group => this.#add(group));
  }

  close(): void {
    this.#isClosed = true;
    for (const timer of this.#timers) timer.cancel();
    this.#damaged.clear();
  }

  #add(group: ReplicatedLog): void {
    if (this.#isClosed || this.#damaged.has(group)) return;
    this.#damaged.set(group, { group, waitMs: REPAIR_RETRY_MS_MIN, isWaiting: false, told: '' });
    void this.#run();
  }

  /** One at a time: it reads and writes whole segments, and the node has other things to do. */
  async #run(): Promise<void> {
    if (this.#isRunning) return;
    this.#isRunning = true;
    for (;;) {
      const next = this.#damaged.values().find(damaged => !damaged.isWaiting);
      if (next === undefined) break;
      await this.#repair(next);
    }
    this.#isRunning = false;
  }

  async #repair(damaged: Damaged): Promise<void> {
    const { group } = damaged;
    const { logger, repaired } = this.#options;
    if (group.isClosed) {
      this.#damaged.delete(group);
      return;
    }
    if (this.#othersOf(group).length === 0) {
      this.#later(damaged);
      return;
    }
    const outcome = await group.repair({ batchesAfter: after => this.#batchesAfter(group, after) });
    if (this.#isClosed) return;
    switch (outcome.kind) {
      case 'nothing-damaged':
        this.#damaged.delete(group);
        return;
      case 'repaired':
        damaged.waitMs = REPAIR_RETRY_MS_MIN;
        logger.warn({ ...group.name, ...outcome.repaired }, 'damaged records were fetched again from other replicas');
        repaired?.(outcome.repaired);
        return;
      case 'not-now':
        if (damaged.told !== outcome.reason) {
          damaged.told = outcome.reason;
          logger.error({ ...group.name, reason: outcome.reason }, 'a damaged replica cannot be repaired yet');
        }
        this.#later(damaged);
    }
  }

  #later(damaged: Damaged): void {
    damaged.isWaiting = true;
    const timer = this.#options.clock.schedule(damaged.waitMs, () => {
      this.#timers.delete(timer);
      damaged.isWaiting = false;
      void this.#run();
    });
    this.#timers.add(timer);
    damaged.waitMs = Math.min(damaged.waitMs * 2, REPAIR_RETRY_MS_MAX);
  }

  // ---- Asking

  /** Those who may have it, the leader first: it has all that is committed. */
  #othersOf(group: ReplicatedLog): readonly NodeId[] {
    const self = this.#options.replication.self;
    const others = [...membersOf(group.configuration)].filter(replica => replica !== self);
    const { leader } = group;
    if (leader !== null && others.includes(leader)) others.unshift(leader);
    return [...new Set(others.map(nodeOf))];
  }

  async #batchesAfter(group: ReplicatedLog, after: Position): Promise<readonly Uint8Array[] | null> {
    const body = requestOf(group.name, after);
    for (const to of this.#othersOf(group)) {
      if (this.#isClosed || group.isClosed) return null;
      const request = { to, kind: STORED_ENTRIES, body };
      const answer = await askPeer(this.#options.links, request, { timeoutMs: REPAIR_CALL_MS_MAX });
      if (answer.kind !== 'answer' || answer.body[0] !== GIVEN) continue;
      const split = splitBatches(answer.body.subarray(1), { bytesMax: PEER_CALL_BYTES_MAX });
      if (split.ok && split.batches.length > 0) return split.batches;
    }
    return null;
  }

  // ---- Answering

  async #give(body: Uint8Array): Promise<Uint8Array> {
    const reader = new ByteReader(body);
    const name: GroupName = { topicId: reader.uuid() as GroupName['topicId'], partition: reader.uint32() };
    const after: Position = { epoch: reader.epoch(), offset: reader.offset() };
    const bytesMax = Math.min(reader.uint32(), REPAIR_PIECE_BYTES);
    if (reader.isBroken || reader.left > 0) return REFUSED;
    const read = await this.#options.replication.group(name)?.entriesAfter(after, bytesMax);
    if (read?.kind !== 'batches') return REFUSED;
    const bytes = read.batches.reduce((sum, batch) => sum + batch.length, 2);
    return bytes > PEER_CALL_BYTES_MAX ? REFUSED : Buffer.concat([Uint8Array.of(GIVEN), ...read.batches]);
  }
}

const nodeOf = (replica: ReplicaId): NodeId => Number(replica.slice(0, replica.indexOf('/'))) as NodeId;

const requestOf = (name: GroupName, after: Position): Uint8Array => {
  const writer = new ByteWriter(REQUEST_BYTES);
  writer.uuid(name.topicId);
  writer.uint32(name.partition);
  writer.uint32(after.epoch);
  writer.offset(after.offset);
  writer.uint32(REPAIR_PIECE_BYTES);
  return writer.finish();
};
