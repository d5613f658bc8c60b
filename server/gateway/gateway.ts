// What every door is given and what it gives back. node.ts starts the doors; a door never knows another one.

import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Logger } from '../base/logger.ts';
import type { Metrics } from '../base/metrics.ts';
import type { Broker } from '../broker/broker.ts';
import type { Clock } from '../io/clock.ts';
import type { Random } from '../io/random.ts';
import type { BodyBudget } from './body-budget.ts';
import type { LoopShare } from './loop-share.ts';
import type { OutgoingBudget } from './outgoing-budget.ts';
import type { RecordFeeds } from './record-feed.ts';

export interface GatewayContext {
  readonly broker: Broker;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** One budget for request bodies held in memory, all doors together. */
  readonly bodyBudget: BodyBudget;
  /** One budget for what clients have not taken, all doors together. */
  readonly outgoing: OutgoingBudget;
  /** How long streams take turns on the event loop, all doors together. */
  readonly loopShare: LoopShare;
  /** What live readers of all doors share. */
  readonly recordFeeds: RecordFeeds;
  readonly version: string;
}

export interface ListenAddress {
  readonly host: string;
  /** 0 picks a free port. */
  readonly port: number;
}

/** A listening door. */
export interface Listener {
  /** HOST:PORT as bound. */
  readonly address: string;
  /** No new requests; long-lived reads are told (`draining`) and ended; resolves when requests under way are answered. */
  drain(): Promise<void>;
  /** Closes what is left. */
  close(): Promise<void>;
}

/** A door without a socket of its own: connections of the HTTP door that ask to be upgraded to its protocol become its. */
export interface UpgradeDoor {
  /** True for a request that asks for this protocol, whatever else is wrong with it. */
  isFor(request: IncomingMessage): boolean;
  /** Takes the connection over, or answers why not and closes it. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  drain(): Promise<void>;
  close(): Promise<void>;
}

/** Thrown by a door's listen function when the address cannot be bound; the command line says what to do about it. */
export class ListenFailure extends Error {
  override readonly name = 'ListenFailure';
  readonly address: string;
  readonly reason: 'in-use' | 'not-permitted' | 'not-available' | 'failed';

  constructor(address: string, reason: ListenFailure['reason'], cause?: unknown) {
    super(`cannot listen on ${address}: ${reason}`, { cause });
    this.address = address;
    this.reason = reason;
  }
}
