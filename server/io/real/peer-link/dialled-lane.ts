// One connection to a peer, from the attempt to its end: TCP → HTTP/2 → handshake → open.
//
// Each attempt has a channel of its own, so that grpc-js neither reconnects nor waits by itself: when to try again is the
// session's to say. The socket is kept at hand, because closing a channel waits for a peer that may be frozen.

import type { Socket } from 'node:net';
import { Client, credentials, type ChannelCredentials } from '@grpc/grpc-js';
import {
  GRPC_CONNECTION_WINDOW_BYTES,
  PEER_HANDSHAKE_MS_MAX,
  PEER_KEEPALIVE_MS,
  PEER_KEEPALIVE_TIMEOUT_MS,
} from '../../../base/limits.ts';
import type { Clock, Timer } from '../../clock.ts';
import type { PeerIdentity, PeerRefusal } from '../../peer-link.ts';
import type { DialHandshake, HandshakeStep, LaneName } from './handshake.ts';
import { LifeWatch } from './life-watch.ts';
import { MessageStream } from './message-stream.ts';
import { decodeMessage, encodePing, MESSAGE_BYTES_MAX } from './wire.ts';

export const CONNECT_PATH = '/sluice.internal.v1.PeerService/Connect';

export interface LaneEvents {
  opened(peer: PeerIdentity): void;
  frame(payload: Uint8Array): void;
  taken(): void;
  /** The end, by a refusal from either side. */
  refused(refusal: PeerRefusal): void;
  /** The end for any other reason. */
  broken(detail: string): void;
}

export interface DialTarget {
  readonly address: string;
  readonly lane: LaneName;
  readonly handshake: DialHandshake;
  readonly clock: Clock;
}

const same = (bytes: Buffer): Buffer => bytes;

export class DialledLane {
  readonly lane: LaneName;
  readonly #client: Client;
  readonly #handshake: DialHandshake;
  readonly #events: LaneEvents;
  readonly #stream: MessageStream;
  readonly #clock: Clock;
  readonly #late: Timer;
  #life: LifeWatch | null = null;
  #socket: Socket | null = null;
  #isOpen = false;
  /** Its end was told, or is not asked for. */
  #isOver = false;
  #isClosed = false;

  constructor(target: DialTarget, events: LaneEvents) {
    const { address, lane, handshake, clock } = target;
    this.lane = lane;
    this.#handshake = handshake;
    this.#clock = clock;
    this.#events = events;
    this.#client = new Client(address, this.#credentials(), channelOptions);
    const call = this.#client.makeBidiStreamRequest(CONNECT_PATH, same, same);
    this.#stream = new MessageStream(call, () => this.#close(), {
      message: bytes => this.#message(bytes),
      taken: () => {
        if (this.#isOpen) this.#events.taken();
      },
      ended: detail => this.#broken(detail),
    });
    this.#late = clock.schedule(PEER_HANDSHAKE_MS_MAX, () => this.#broken('no answer in time'));
    this.#stream.write(handshake.hello);
  }

  get pendingBytes(): number {
    return this.#stream.pendingBytes;
  }

  write(message: Buffer): void {
    this.#stream.write(message);
  }

  /** Ends it at once and tells nothing. */
  cut(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#stream.cut();
  }

  #message(bytes: Buffer): void {
    if (!this.#isOpen) {
      this.#step(this.#handshake.take(bytes));
      return;
    }
    const message = decodeMessage(bytes);
    if (message.kind === 'frame' && this.lane === 'calls') this.#events.frame(message.payload);
    else if (message.kind === 'ping' && this.#life !== null) this.#life.heard();
    else this.#broken(message.kind === 'bad' ? message.detail : `a ${message.kind} on the open ${this.lane} lane`);
  }

  #step(step: HandshakeStep): void {
    switch (step.kind) {
      case 'say':
        this.#stream.write(step.bytes);
        return;
      case 'open':
        this.#late.cancel();
        this.#isOpen = true;
        if (this.lane === 'control') this.#watch();
        this.#events.opened(step.peer);
        return;
      case 'refused':
        this.#isOver = true;
        // What is said last must reach the peer, so the connection is left to it until the handshake's time is over.
        if (step.bytes === null) this.#stream.cut();
        else this.#stream.endWith(step.bytes);
        this.#events.refused(step.refusal);
        return;
      case 'bad':
        this.#broken(step.detail);
    }
  }

  #watch(): void {
    this.#life = new LifeWatch({
      clock: this.#clock,
      ask: () => this.#stream.write(encodePing()),
      lost: () => this.#broken('the peer is silent'),
    });
  }

  #broken(detail: string): void {
    this.#stream.cut();
    if (this.#isOver) return;
    this.#isOver = true;
    this.#events.broken(detail);
  }

  #close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#late.cancel();
    this.#life?.stop();
    this.#client.close();
    this.#socket?.destroy();
  }

  /** No credentials, but the socket becomes known once it is connected. */
  #credentials(): ChannelCredentials {
    const insecure = credentials.createInsecure();
    const create = insecure._createSecureConnector.bind(insecure);
    insecure._createSecureConnector = (...target) => {
      const connector = create(...target);
      const connect = connector.connect.bind(connector);
      connector.connect = socket => {
        this.#socket = socket;
        if (this.#isClosed) socket.destroy();
        return connect(socket);
      };
      return connector;
    };
    return insecure;
  }
}

const channelOptions = {
  // Both windows of what comes back; answers are the only thing that does.
  'grpc-node.flow_control_window': GRPC_CONNECTION_WINDOW_BYTES,
  'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
  'grpc.max_send_message_length': MESSAGE_BYTES_MAX,
  'grpc.keepalive_time_ms': PEER_KEEPALIVE_MS,
  'grpc.keepalive_timeout_ms': PEER_KEEPALIVE_TIMEOUT_MS,
  'grpc.enable_retries': 0,
  // Else a write is called back before the socket took it, and nobody would know that it stands still.
  'grpc.per_rpc_retry_buffer_size': 0,
  'grpc.enable_http_proxy': 0,
  'grpc.enable_channelz': 0,
  'grpc.service_config_disable_resolution': 1,
  'grpc.use_local_subchannel_pool': 1,
} as const;
