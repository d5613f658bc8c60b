// What this node says to one peer over the control lane: small messages of all groups, those of one turn in one frame.
//
//   group a: heartbeat ─┐
//   group b: heartbeat ─┼─ end of the turn ─> one frame ─> link
//   group c: vote ──────┘
//
// While the lane has no room nothing is built: of each group's heartbeats and announcements of its leader the newest waits, everything
// else is dropped, since Raft says it again. A frame that holds nothing is the link's own heartbeat: quiet groups lean on it.

import { PEER_FRAME_BYTES_MAX } from '../base/limits.ts';
import type { PeerLinks } from '../io/peer-link.ts';
import type { NodeId } from '@sluice/protocol/ids';
import { ByteWriter } from './byte-writer.ts';
import { groupKey, type GroupName } from './group-name.ts';
import type { LeaderNotice } from './leader-notices.ts';
import { type AddressedMessage, writeLeaderNotice, writeMessage, writeWake } from './message-codec.ts';

/** No message of this lane is longer; so a frame is full when less than this is left. */
const MESSAGE_BYTES_MAX = 128;
const FRAME_BYTES_FIRST = 1_024;

export const LINK_HEARTBEAT: Uint8Array = Uint8Array.of(0);

export class ControlLane {
  readonly #links: PeerLinks;
  readonly #to: NodeId;
  /** Of this turn. */
  #messages: AddressedMessage[] = [];
  /** Heartbeats that wait for room, by group. */
  readonly #kept = new Map<string, AddressedMessage>();
  /** By group. */
  readonly #notices = new Map<string, LeaderNotice>();
  readonly #wakes = new Map<string, GroupName>();
  #isFlushDue = false;
  #isWaiting = false;
  #isClosed = false;

  constructor(links: PeerLinks, to: NodeId) {
    this.#links = links;
    this.#to = to;
  }

  send(message: AddressedMessage): void {
    if (this.#isWaiting) {
      if (message.message.kind === 'heartbeat') this.#kept.set(groupKey(message.group), message);
      return;
    }
    this.#messages.push(message);
    this.#flushSoon();
  }

  announce(notice: LeaderNotice): void {
    this.#notices.set(groupKey(notice.group), notice);
    this.#flushSoon();
  }

  /** A replica here hears no leader, which is over there as far as is known. */
  wake(group: GroupName): void {
    this.#wakes.set(groupKey(group), group);
    this.#flushSoon();
  }

  sendLinkHeartbeat(): void {
    if (this.#messages.length === 0 && this.#links.hasRoom(this.#to, 'control')) {
      this.#links.send(this.#to, 'control', LINK_HEARTBEAT);
    }
  }

  close(): void {
    this.#isClosed = true;
    this.#messages = [];
    this.#kept.clear();
    this.#notices.clear();
    this.#wakes.clear();
  }

  #flushSoon(): void {
    if (this.#isFlushDue || this.#isWaiting) return;
    this.#isFlushDue = true;
    queueMicrotask(() => {
      this.#isFlushDue = false;
      this.#flush();
    });
  }

  get #hasSomething(): boolean {
    return this.#messages.length > 0 || this.#notices.size > 0 || this.#wakes.size > 0;
  }

  #flush(): void {
    while (!this.#isClosed && this.#hasSomething) {
      if (!this.#links.hasRoom(this.#to, 'control')) {
        this.#wait();
        return;
      }
      this.#links.send(this.#to, 'control', this.#nextFrame());
    }
  }

  #nextFrame(): Uint8Array {
    const writer = new ByteWriter(FRAME_BYTES_FIRST);
    const hasRoom = (): boolean => writer.length + MESSAGE_BYTES_MAX <= PEER_FRAME_BYTES_MAX;
    let count = 0;
    while (count < this.#messages.length && hasRoom()) writeMessage(writer, this.#messages[count++]!);
    this.#messages = count === this.#messages.length ? [] : this.#messages.slice(count);
    for (const [key, notice] of this.#notices) {
      if (!hasRoom()) break;
      writeLeaderNotice(writer, notice);
      this.#notices.delete(key);
    }
    for (const [key, group] of this.#wakes) {
      if (!hasRoom()) break;
      writeWake(writer, group);
      this.#wakes.delete(key);
    }
    return writer.finish();
  }

  #wait(): void {
    const messages = this.#messages;
    this.#messages = [];
    this.#isWaiting = true;
    for (const message of messages) this.send(message);
    this.#links.whenDrained(this.#to, 'control', () => {
      this.#isWaiting = false;
      this.#messages = [...this.#kept.values()];
      this.#kept.clear();
      this.#flush();
    });
  }
}
