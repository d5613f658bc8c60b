// A group whose replication the test plays: what is proposed lies in a log in memory, and is committed when the test says so.

import { leaderEpoch, type Offset, offset } from '@sluice/protocol/ids';
import { encodeBatch, encodeConfiguration, stampBatch } from '@sluice/protocol/record';
import type { RecordLog, RecordRead } from '../../server/coordinator/record-log.ts';
import type { StateGroup } from '../../server/coordinator/replicated-state.ts';
import type {
  GroupListener,
  ProposeOutcome,
  ProposeRefusal,
  ReplicaId,
} from '../../server/replication/replicated-log.ts';
import { replicaId } from '../../server/raft/replica-id.ts';

const SELF = replicaId(1, 'dddddddd-0000-4000-8000-000000000001');
export const OTHER = replicaId(2, 'dddddddd-0000-4000-8000-000000000002');

export class ScriptedGroup implements StateGroup, RecordLog {
  listener: GroupListener | null = null;
  term = leaderEpoch(0);
  leader: ReplicaId | null = null;
  refusal: ProposeRefusal | null = null;
  /** What the next read answers instead. */
  readFault: RecordRead | null = null;
  /** Confirmed by hand where it is not null. */
  heldReads: number[] | null = null;
  startOffset = offset(0);
  durableOffset = offset(0);
  #batches: Uint8Array[] = [];
  #end = 0;

  get end(): Offset {
    return offset(this.#end);
  }
  get isLeader(): boolean {
    return this.leader === SELF;
  }

  // ---- As the state sees it

  propose(batches: readonly Uint8Array[]): ProposeOutcome {
    if (this.refusal !== null) return { ok: false, refusal: this.refusal };
    if (!this.isLeader) return { ok: false, refusal: 'not-leader' };
    const baseOffset = this.end;
    for (const batch of batches) this.#append(batch);
    return { ok: true, epoch: this.term, baseOffset, endOffset: this.end };
  }

  requestRead(token: number): boolean {
    if (!this.isLeader) return false;
    if (this.heldReads !== null) this.heldReads.push(token);
    else queueMicrotask(() => this.listener?.readsConfirmed([token]));
    return true;
  }

  read(from: Offset, { endMax }: { readonly endMax: Offset }): Promise<RecordRead> {
    const fault = this.readFault;
    this.readFault = null;
    if (fault !== null) return Promise.resolve(fault);
    const batches = this.#batches.filter(batch => {
      const base = Number(new DataView(batch.buffer, batch.byteOffset).getBigInt64(0));
      const last = base + new DataView(batch.buffer, batch.byteOffset).getInt32(23);
      return last >= from && last < endMax;
    });
    return Promise.resolve({ kind: 'batches', batches });
  }

  // ---- As the test plays it

  /** Something that is no command: a change of who votes. */
  appendControl(): void {
    const configuration = { voters: [SELF], outgoing: [], learners: [], learnersNext: [], autoLeave: false };
    this.#append(encodeConfiguration(configuration, { epoch: this.term, baseOffset: this.#end, timestamp: 0 }));
  }

  appendRecords(...values: readonly string[]): void {
    this.#append(encodeBatch(values.map(value => ({ key: null, value, timestamp: 0 }))));
  }

  #append(batch: Uint8Array): void {
    stampBatch(batch, { baseOffset: this.#end, leaderEpoch: this.term });
    this.#batches.push(batch);
    this.#end += new DataView(batch.buffer, batch.byteOffset).getInt32(23) + 1;
    this.durableOffset = this.end;
  }

  lead(term: number): void {
    this.term = leaderEpoch(term);
    this.leader = SELF;
    this.listener?.roleChanged({ role: 'leader', term: this.term, leader: SELF });
  }

  commit(to: Offset = this.end): void {
    this.listener?.committed({ epoch: this.term, offset: to });
  }

  follow(term: number, leader: ReplicaId | null): void {
    const lost = this.isLeader ? this.term : null;
    this.term = leaderEpoch(term);
    this.leader = leader;
    this.listener?.roleChanged({ role: 'follower', term: this.term, leader });
    if (lost !== null) this.listener?.leadershipLost(lost);
  }

  /** What is above the offset never was. */
  cut(to: Offset): void {
    this.#batches = this.#batches.filter(
      batch => Number(new DataView(batch.buffer, batch.byteOffset).getBigInt64(0)) < to,
    );
    this.#end = to;
    this.durableOffset = to;
  }
}
