// All groups of one node: their ticks, their messages to and from the peers, and their syncs of the store.
//
//   timer ─ tick ─┐                        ┌─ control lane of each peer: one frame a turn
//   peers ─ step ─┼─> groups that changed ─┼─ bulk lane of each peer: one message after another
//   log ─ durable ┘   (settled at the end  └─ store: one sync for all that changed
//                      of the turn)
//
// A tick is one tick however late it comes, and it is judged after the input that is already there: after a stall the heartbeats that
// arrived meanwhile count first.
//
// Quiet groups are not ticked. They lean on their leader's node: when that is silent for an election time-out, or comes back as another
// incarnation, all groups that it led wake. When a node is silent, the groups led here wake too: a leader that sleeps does not find out who
// is behind.
//
// A node hosts thousands of groups, and most of them are quiet: a tick goes over those that are awake. Whatever is told to a group touches
// it, and who was touched is looked at by the next tick. What a quiet group has to notice by itself (its log was found damaged, or takes
// records again) is looked for in a share of all groups a tick.
//
// A node alone has no links and no peers, and the rest is the same.

import type { NodeId } from '@sluice/protocol/ids';
import { assert } from '../base/assert.ts';
import { PEER_RECEIVED_BYTES_MAX } from '../base/limits.ts';
import type { Logger } from '../base/logger.ts';
import type { Clock, Timer } from '../io/clock.ts';
import type { Lane, PeerIdentity, PeerLinks } from '../io/peer-link.ts';
import type { Random } from '../io/random.ts';
import type { Message } from '../raft/message.ts';
import type { RoleChange, SavedState } from '../raft/ready.ts';
import { type ReplicaId, replicaId } from '../raft/replica-id.ts';
import { LINK_HEARTBEAT } from './control-lane.ts';
import type { GroupLog, LogNews } from './group-log.ts';
import { groupKey, type GroupName } from './group-name.ts';
import { type GroupLeader, type LeaderListener, LeadersHeard } from './leader-notices.ts';
import { type MessageEnds, readBulkMessage, readControlFrame } from './message-codec.ts';
import { Peer } from './peer.ts';
import type { ReplicaRecords } from './replica-records.ts';
import {
  type AppendSource,
  type GroupHost,
  ReplicatedLog,
  type ReplicatedLogOptions,
  type SnapshotSource,
} from './replicated-log.ts';

export interface ReplicationOptions {
  readonly nodeId: NodeId;
  /** UUID of the data directory. */
  readonly directory: string;
  /** Null: a node that has no peers. */
  readonly links: PeerLinks | null;
  readonly records: ReplicaRecords;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly tickMs: number;
  /** Silence of a peer after which the groups that it leads wake. */
  readonly electionMs: number;
  /** Taken from peers and not durable, of all groups; beyond it their bulk lanes are held back. */
  readonly receivedBytesMax?: number;
}

export interface OpenGroup extends Omit<ReplicatedLogOptions, 'self' | 'host' | 'log'> {
  readonly log: GroupLog;
  /** What the log was opened with: from now on its news go to the group. */
  readonly news?: LogNews;
  /** Never quiet, as the metadata group is. */
  readonly isAwake?: boolean;
  /** Where it is the only voter, whoever opens it lets it campaign: many that do so in one turn share the sync of their votes. */
  readonly isPatient?: boolean;
}

/** Ticks without anything to say before a leader goes quiet. */
const QUIET_AFTER_TICKS = 10;
/** Every leader tells every peer again, for one that lost its memory or came late, after so many ticks. */
const REPEAT_LEADERS_TICKS = 100;
/** Ticks in which every group is looked at once, quiet or not, and how many groups a tick looks at in any case. */
const ROUND_TICKS = 16;
const LOOKED_AT_MIN = 64;

interface Hosted {
  readonly group: ReplicatedLog;
  /** Never quiet, as the metadata group is. */
  readonly isAwake: boolean;
  idleTicks: number;
  leaderlessTicks: number;
}

interface Unsaved {
  readonly group: ReplicatedLog;
  readonly life: number;
  readonly version: number;
}

export class Replication {
  readonly self: ReplicaId;
  readonly #options: ReplicationOptions;
  readonly #groups = new Map<string, Hosted>();
  /** To be ticked. Invariant: whoever needs a tick, but for news of its log, is among them. */
  readonly #awake = new Set<ReplicatedLog>();
  readonly #hosted = new Map<ReplicatedLog, Hosted>();
  /** Where the round over all groups stands; a group that is opened meanwhile belongs to it, one that goes does not. */
  #round: Iterator<Hosted> | null = null;
  readonly #peers = new Map<NodeId, Peer>();
  readonly #host: GroupHost;
  readonly #leaders = new LeadersHeard();
  /** To be settled at the end of this turn. */
  readonly #touched = new Set<ReplicatedLog>();
  #isSettleDue = false;
  /** Saved since the last flush began. */
  #unsaved: Unsaved[] = [];
  #isFlushing = false;
  /** Groups whose log has something of a peer that is not durable yet. */
  readonly #receiving = new Set<ReplicatedLog>();
  /** Lanes that are held back until there is less of it. */
  #held: (() => void)[] = [];
  #heldCount = 0;
  #damageListener: ((group: ReplicatedLog) => void) | null = null;
  readonly #receivedBytesMax: number;
  readonly #patienceTicks: number;
  #timer: Timer | null = null;
  #repeatTicks = 0;
  #isClosed = false;

  constructor(options: ReplicationOptions) {
    this.#options = options;
    this.self = replicaId(options.nodeId, options.directory);
    this.#patienceTicks = Math.ceil(options.electionMs / options.tickMs);
    this.#receivedBytesMax = options.receivedBytesMax ?? PEER_RECEIVED_BYTES_MAX;
    this.#host = {
      logger: options.logger,
      fraction: () => options.random.fraction(),
      wallMs: () => options.clock.wallMs(),
      save: (group, state) => this.#save(group, state),
      send: (name, message) => this.#send(name, message),
      sendAppend: (name, to, source) => this.#sendAppend(name, to, source),
      sendSnapshot: (name, source) => this.#sendSnapshot(name, source),
      roleChanged: (group, change) => this.#roleChanged(group, change),
      damaged: group => this.#damageListener?.(group),
      touched: group => this.#touch(group),
    };
  }

  start(): void {
    this.#scheduleTick();
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
    for (const { group } of this.#groups.values()) group.close();
    for (const peer of this.#peers.values()) peer.close();
    this.#groups.clear();
    this.#hosted.clear();
    this.#awake.clear();
    this.#peers.clear();
    this.#receiving.clear();
    this.#letGo();
  }

  // ---- Groups

  open({ news, ...options }: OpenGroup): ReplicatedLog {
    const key = groupKey(options.name);
    assert(!this.#groups.has(key), `the group ${key} is open`);
    const group = new ReplicatedLog({ ...options, self: this.self, host: this.#host });
    const hosted = { group, isAwake: options.isAwake ?? false, idleTicks: 0, leaderlessTicks: 0 };
    this.#groups.set(key, hosted);
    this.#hosted.set(group, hosted);
    news?.attach(group);
    if (group.isDamaged) this.#damageListener?.(group);
    // There is nobody to wait for.
    if (group.isAlone && options.isPatient !== true) group.campaign();
    this.#touch(group);
    return group;
  }

  group(name: GroupName): ReplicatedLog | null {
    return this.#groups.get(groupKey(name))?.group ?? null;
  }

  /** The replica goes; also what is known of who leads the group, when the group itself is gone. */
  forget(name: GroupName): void {
    const key = groupKey(name);
    const group = this.#groups.get(key)?.group;
    if (group !== undefined) {
      group.close();
      this.#receiving.delete(group);
      this.#hosted.delete(group);
      this.#awake.delete(group);
    }
    this.#groups.delete(key);
    this.#leaders.forget(name);
    this.#letGo();
  }

  /** Told of each group whose log is damaged, once it is opened or whenever more is found. */
  onDamage(listener: (group: ReplicatedLog) => void): void {
    this.#damageListener = listener;
    for (const { group } of this.#groups.values()) if (group.isDamaged) listener(group);
  }

  /** How often a bulk lane was held back. */
  get heldCount(): number {
    return this.#heldCount;
  }

  #touch(group: ReplicatedLog): void {
    this.#touched.add(group);
    this.#awake.add(group);
    if (this.#isSettleDue) return;
    this.#isSettleDue = true;
    queueMicrotask(this.#settle);
  }

  readonly #settle = (): void => {
    this.#isSettleDue = false;
    // What one group wants can touch another one on the same node only by a turn of its own.
    for (const group of this.#touched) {
      this.#touched.delete(group);
      group.settle();
    }
    this.#flushSoon();
    this.#letGo();
  };

  // ---- Who leads

  /** The latest leader of the group that this node heard of, whether it holds a replica or not. */
  leaderOf(name: GroupName): GroupLeader | null {
    return this.#leaders.of(name);
  }

  /** Called whenever a later leader is heard of, this node among them. Ends with what is returned. */
  onLeaderChange(listener: LeaderListener): () => void {
    return this.#leaders.listen(listener);
  }

  #roleChanged(group: ReplicatedLog, { role, term, leader }: RoleChange): void {
    if (leader !== null) this.#leaders.heard(group.name, { term, leader });
    if (role !== 'leader') return;
    for (const peer of this.#peers.values()) peer.control.announce({ group: group.name, term });
  }

  #announceAll(peers: Iterable<Peer>): void {
    for (const peer of peers) {
      for (const { group } of this.#groups.values()) {
        if (group.isLeader) peer.control.announce({ group: group.name, term: group.term });
      }
    }
  }

  // ---- Time

  #scheduleTick(): void {
    const { clock, tickMs } = this.#options;
    this.#timer = clock.schedule(tickMs, () => {
      this.#scheduleTick();
      clock.defer(() => this.#tick());
    });
  }

  #tick(): void {
    if (this.#isClosed) return;
    const nowMs = this.#options.clock.monotonicMs();
    for (const peer of this.#peers.values()) {
      if (peer.judgeSilence(nowMs, this.#options.electionMs)) this.#wakeWith(peer.nodeId);
      peer.control.sendLinkHeartbeat();
    }
    this.#lookRound();
    for (const group of this.#awake) {
      if (group.needsTick) this.#tickGroup(group);
      else this.#awake.delete(group);
    }
    if (++this.#repeatTicks < REPEAT_LEADERS_TICKS) return;
    this.#repeatTicks = 0;
    this.#announceAll(this.#peers.values());
  }

  #tickGroup(group: ReplicatedLog): void {
    const hosted = this.#hosted.get(group);
    assert(hosted !== undefined, 'a group that is awake is hosted');
    group.tick();
    hosted.idleTicks = !hosted.isAwake && group.mayBeQuiet ? hosted.idleTicks + 1 : 0;
    if (hosted.idleTicks >= QUIET_AFTER_TICKS) {
      hosted.idleTicks = 0;
      group.goQuiet();
    }
    hosted.leaderlessTicks = group.isLeaderless ? hosted.leaderlessTicks + 1 : 0;
    if (hosted.leaderlessTicks >= this.#patienceTicks) {
      hosted.leaderlessTicks = 0;
      this.#askForLeader(group);
    }
  }

  /** Wakes those of the next share of all groups whose log has news. */
  #lookRound(): void {
    const share = Math.max(LOOKED_AT_MIN, Math.ceil(this.#groups.size / ROUND_TICKS));
    for (let looked = 0; looked < share; looked++) {
      this.#round ??= this.#groups.values();
      const next = this.#round.next();
      if (next.done === true) {
        this.#round = null;
        return;
      }
      if (next.value.group.needsTick) this.#awake.add(next.value.group);
    }
  }

  /**
   * Where a group is quiet, nobody speaks to a replica that was dead when it went to sleep. A voter asks for an election, which wakes the
   * others; one that may not (a learner, one whose vote is lost) would wait for ever.
   */
  #askForLeader({ name }: ReplicatedLog): void {
    const leader = this.#leaders.of(name)?.leader ?? null;
    if (leader !== null) this.#peerOf(leader)?.control.wake(name);
  }

  /** Also those led here, which have to find out whether a replica of theirs is gone. */
  #wakeWith(nodeId: NodeId): void {
    this.#wakeLedBy(nodeId);
    for (const { group } of this.#groups.values()) if (group.isLeader) group.doubt();
  }

  #wakeLedBy(nodeId: NodeId): void {
    const prefix = `${nodeId}/`;
    for (const { group } of this.#groups.values()) {
      if (group.isQuiet && group.leader?.startsWith(prefix) === true) group.wake();
    }
  }

  // ---- The store

  #save(group: ReplicatedLog, state: SavedState): void {
    this.#options.records.save(group.name, state);
    this.#unsaved.push({ group, life: group.life, version: state.version });
  }

  #flushSoon(): void {
    if (!this.#isFlushing && this.#unsaved.length > 0) void this.#flush();
  }

  async #flush(): Promise<void> {
    this.#isFlushing = true;
    while (this.#unsaved.length > 0) {
      const saved = this.#unsaved;
      this.#unsaved = [];
      try {
        await this.#options.records.flush();
      } catch (fault) {
        // Nothing that waits for the store leaves any more, and the node is about to stop.
        this.#options.logger.error(
          { fault: String(fault) },
          'the store cannot be written: no group takes part any more',
        );
        this.close();
        return;
      }
      for (const { group, life, version } of saved) group.stored(life, version);
    }
    this.#isFlushing = false;
  }

  // ---- To the peers

  /** A session to the node is kept from now on. Another address than before replaces it. */
  addPeer(nodeId: NodeId, address: string): void {
    const { links, clock } = this.#options;
    assert(links !== null, 'a node without links has no peers');
    const known = this.#peers.get(nodeId);
    if (known?.address === address) return;
    known?.close();
    this.#peers.set(nodeId, new Peer(links, { nodeId, address, nowMs: clock.monotonicMs() }));
    links.open(nodeId, address);
  }

  removePeer(nodeId: NodeId): void {
    this.#peers.get(nodeId)?.close();
    this.#peers.delete(nodeId);
    this.#options.links?.forget(nodeId);
  }

  /** The peer that the replica lives on, as long as it answers there: a directory that was wiped is somebody else. */
  #peerOf(replica: ReplicaId): Peer | null {
    const slash = replica.indexOf('/');
    const peer = this.#peers.get(Number(replica.slice(0, slash)) as NodeId);
    return peer?.identity?.directory === replica.slice(slash + 1) ? peer : null;
  }

  #send(group: GroupName, message: Message): void {
    const peer = this.#peerOf(message.to);
    if (peer === null) return;
    if (message.kind === 'append') peer.sendProbe(group, message);
    else peer.control.send({ group, message });
  }

  #sendAppend(group: GroupName, to: ReplicaId, source: AppendSource): void {
    const peer = this.#peerOf(to);
    if (peer === null) source.dropped();
    else peer.sendAppend(group, source);
  }

  #sendSnapshot(group: GroupName, source: SnapshotSource): void {
    const peer = this.#peerOf(source.snapshot.to);
    if (peer === null) source.ended(false);
    else peer.sendSnapshot(group, source);
  }

  // ---- From the peers: for PeerHandlers

  peerUp(identity: PeerIdentity): void {
    const peer = this.#peers.get(identity.nodeId);
    if (peer === undefined) return;
    peer.identity = identity;
    this.#announceAll([peer]);
  }

  peerDown({ nodeId }: PeerIdentity): void {
    this.#peers.get(nodeId)?.down();
  }

  /** A promise holds the bulk lane back: what was taken from peers waits for the disk. */
  frame(from: PeerIdentity, lane: Lane, frame: Uint8Array): void | Promise<void> {
    const peer = this.#peers.get(from.nodeId);
    if (peer === undefined || this.#isClosed) return undefined;
    if (peer.heard(from, this.#options.clock.monotonicMs())) this.#wakeLedBy(peer.nodeId);
    const ends: MessageEnds = { from: replicaId(from.nodeId, from.directory), to: this.self };
    if (lane === 'bulk') return this.#bulkFrame(peer, frame, ends);
    this.#controlFrame(frame, ends);
    return undefined;
  }

  #controlFrame(frame: Uint8Array, ends: MessageEnds): void {
    if (frame.length === LINK_HEARTBEAT.length && frame[0] === LINK_HEARTBEAT[0]) return;
    const content = readControlFrame(frame, ends);
    if (content === null) {
      this.#malformed(ends.from, 'control');
      return;
    }
    for (const { group, term } of content.leaders) this.#leaders.heard(group, { term, leader: ends.from });
    for (const name of content.wakes) {
      const group = this.#groups.get(groupKey(name))?.group;
      if (group?.isLeader === true) group.wake();
    }
    for (const { group, message } of content.messages) this.#groups.get(groupKey(group))?.group.step(message);
  }

  #bulkFrame(peer: Peer, frame: Uint8Array, ends: MessageEnds): void | Promise<void> {
    const whole = peer.assemble(frame);
    if (whole === null) return undefined;
    const content = readBulkMessage(whole, ends);
    if (content === null) {
      this.#malformed(ends.from, 'bulk');
      return undefined;
    }
    const group = this.#groups.get(groupKey(content.group))?.group;
    if (group === undefined) return undefined;
    if (content.kind === 'snapshot-state') peer.stateOf(content.group).take(content.part);
    else if (content.message.kind !== 'snapshot') group.step(content.message);
    else group.stepSnapshot(content.message, peer.stateOf(content.group).finish(content.message.base));
    if (group.queuedBytes > 0) this.#receiving.add(group);
    if (this.#receivedBytes() <= this.#receivedBytesMax) return undefined;
    this.#heldCount++;
    return new Promise(resolve => this.#held.push(resolve));
  }

  #receivedBytes(): number {
    let bytes = 0;
    for (const group of this.#receiving) {
      if (group.queuedBytes === 0) this.#receiving.delete(group);
      else bytes += group.queuedBytes;
    }
    return bytes;
  }

  /** Something became durable, or was dropped. */
  #letGo(): void {
    if (this.#held.length === 0 || this.#receivedBytes() > this.#receivedBytesMax) return;
    const held = this.#held;
    this.#held = [];
    for (const go of held) go();
  }

  #malformed(peer: ReplicaId, lane: Lane): void {
    this.#options.logger.error({ peer, lane }, 'a frame of a peer holds no messages: it is dropped');
  }
}
