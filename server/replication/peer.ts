// One other node, as this one's groups see it: what is said to it, whether it is heard, and what arrives of it in parts.

import type { NodeId } from '@sluice/protocol/ids';
import { PEER_SNAPSHOT_STATES_MAX } from '../base/limits.ts';
import type { PeerIdentity, PeerLinks } from '../io/peer-link.ts';
import type { Message } from '../raft/message.ts';
import { BulkLane, type BulkSource } from './bulk-lane.ts';
import { BulkAssembly } from './bulk-message.ts';
import { ByteWriter } from './byte-writer.ts';
import { ControlLane } from './control-lane.ts';
import { groupKey, type GroupName } from './group-name.ts';
import { writeMessage, writeStatePart } from './message-codec.ts';
import type { AppendSource, SnapshotSource } from './replicated-log.ts';
import { partAt, StateAssembly } from './snapshot-state.ts';

const HEADER_BYTES = 128;

export class Peer {
  readonly nodeId: NodeId;
  readonly address: string;
  readonly control: ControlLane;
  readonly #bulk: BulkLane;
  /** Who answers there now; null while the session is down. */
  identity: PeerIdentity | null = null;
  /** Of what comes from it. */
  #assembly = new BulkAssembly();
  /** Snapshot states that are on their way, by group. */
  readonly #states = new Map<string, StateAssembly>();
  #incarnation = -1;
  #heardMs: number;
  /** Silent for long: its groups were woken, once. */
  #isSilent = false;

  constructor(links: PeerLinks, at: { readonly nodeId: NodeId; readonly address: string; readonly nowMs: number }) {
    this.nodeId = at.nodeId;
    this.address = at.address;
    this.control = new ControlLane(links, at.nodeId);
    this.#bulk = new BulkLane(links, at.nodeId);
    this.#heardMs = at.nowMs;
  }

  // ---- Whether it lives

  /** True when it is another life of the node than before. */
  heard({ incarnation }: PeerIdentity, nowMs: number): boolean {
    this.#heardMs = nowMs;
    this.#isSilent = false;
    if (this.#incarnation === incarnation) return false;
    const isNews = this.#incarnation >= 0;
    this.#incarnation = incarnation;
    this.#assembly = new BulkAssembly();
    this.#states.clear();
    return isNews;
  }

  /** True once, when it has been silent for so long. */
  judgeSilence(nowMs: number, patienceMs: number): boolean {
    if (this.#isSilent || nowMs - this.#heardMs < patienceMs) return false;
    this.#isSilent = true;
    return true;
  }

  down(): void {
    this.identity = null;
    this.#bulk.sessionEnded();
  }

  close(): void {
    this.control.close();
    this.#bulk.close();
  }

  // ---- To it

  /** An empty append behaves as one with batches: it must not overtake them. */
  sendProbe(group: GroupName, message: Message): void {
    this.#bulk.push(`${groupKey(group)}/probe`, {
      next: () => Promise.resolve({ pieces: piecesOf(group, message), hasMore: false }),
      dropped: () => undefined,
    });
  }

  sendAppend(group: GroupName, source: AppendSource): void {
    this.#bulk.push(`${groupKey(group)}/append`, {
      next: async () => {
        const message = await source.read();
        return message === null ? null : { pieces: piecesOf(group, message), hasMore: false };
      },
      dropped: () => source.dropped(),
    });
  }

  sendSnapshot(group: GroupName, source: SnapshotSource): void {
    this.#bulk.push(`${groupKey(group)}/snapshot`, snapshotMessages(group, source));
  }

  // ---- From it

  /** A message of the bulk lane with its last part, else null. */
  assemble(frame: Uint8Array): Uint8Array | null {
    return this.#assembly.take(frame);
  }

  stateOf(group: GroupName): StateAssembly {
    const key = groupKey(group);
    const known = this.#states.get(key);
    if (known !== undefined) return known;
    // The oldest goes: its leader begins again.
    if (this.#states.size >= PEER_SNAPSHOT_STATES_MAX) this.#states.delete(this.#states.keys().next().value!);
    const assembly = new StateAssembly();
    this.#states.set(key, assembly);
    return assembly;
  }
}

/** The state in parts, then the snapshot itself. */
const snapshotMessages = (group: GroupName, source: SnapshotSource): BulkSource => {
  const { snapshot, state } = source;
  let at = state === null ? -1 : 0;
  return {
    next: () => {
      if (state === null || at < 0) {
        source.ended(true);
        return Promise.resolve({ pieces: piecesOf(group, snapshot), hasMore: false });
      }
      const part = partAt(snapshot.base, state, at);
      const writer = new ByteWriter(HEADER_BYTES);
      writeStatePart(writer, group, part);
      at += part.bytes.length;
      if (at >= state.length) at = -1;
      return Promise.resolve({ pieces: [writer.finish(), part.bytes], hasMore: true });
    },
    dropped: () => source.ended(false),
  };
};

/** The message as the bulk lane sends it; the batches are not copied. */
const piecesOf = (group: GroupName, message: Message): readonly Uint8Array[] => {
  const writer = new ByteWriter(HEADER_BYTES);
  writeMessage(writer, { group, message });
  const batches = message.kind === 'append' ? message.batches.map(batch => batch.bytes as Uint8Array) : [];
  return [writer.finish(), ...batches];
};
