// A peer made by hand: any bytes on a connection, any messages on a stream, and a right handshake when it is asked for.

import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { once } from 'node:events';
import { Client, credentials, type ClientDuplexStream } from '@grpc/grpc-js';
import type { PeerIdentity } from '../../server/io/peer-link.ts';
import { PEER_PROTOCOL_VERSION } from '../../server/io/real/peer-link/admission.ts';
import { CONNECT_PATH } from '../../server/io/real/peer-link/dialled-lane.ts';
import { DialHandshake, NONCE_BYTES, SESSION_BYTES, type LaneName } from '../../server/io/real/peer-link/handshake.ts';
import { decodeMessage, type BadMessage, type PeerMessage } from '../../server/io/real/peer-link/wire.ts';

const same = (bytes: Buffer): Buffer => bytes;

export class RawPeer {
  readonly messages: (PeerMessage | BadMessage)[] = [];
  /** All that came, as it came. */
  readonly raw: Buffer[] = [];
  /** Resolves when the connection is over. */
  readonly ended: Promise<void>;
  readonly #client: Client;
  readonly #call: ClientDuplexStream<Buffer, Buffer>;
  #isEnded = false;
  #changed = Promise.withResolvers<void>();

  constructor(address: string) {
    this.#client = new Client(address, credentials.createInsecure(), {
      'grpc.use_local_subchannel_pool': 1,
      'grpc.enable_retries': 0,
      'grpc.enable_http_proxy': 0,
      'grpc.max_send_message_length': -1,
    });
    this.#call = this.#client.makeBidiStreamRequest(CONNECT_PATH, same, same);
    const ended = Promise.withResolvers<void>();
    this.ended = ended.promise;
    this.#call.on('data', (bytes: Buffer) => {
      this.messages.push(decodeMessage(bytes));
      this.raw.push(bytes);
      this.#poke();
    });
    this.#call.on('error', () => {});
    this.#call.on('status', () => {
      this.#isEnded = true;
      ended.resolve();
      this.#poke();
      this.#client.close();
    });
  }

  say(message: Uint8Array): void {
    this.#call.write(Buffer.from(message));
  }

  /** The next message that was not taken, or null at the end. */
  async next(): Promise<PeerMessage | BadMessage | null> {
    while (this.messages.length === 0 && !this.#isEnded) await this.#changed.promise;
    return this.messages.shift() ?? null;
  }

  close(): void {
    this.#call.cancel();
  }

  #poke(): void {
    const { resolve } = this.#changed;
    this.#changed = Promise.withResolvers<void>();
    resolve();
  }

  /** A lane that is open; null when it was not admitted. */
  static async open(address: string, options: OpenOptions): Promise<RawPeer | null> {
    const { identity, secret, expected, lane, session = randomBytes(SESSION_BYTES).toString('hex') } = options;
    const handshake = new DialHandshake(
      {
        local: { ...identity, protocolVersion: PEER_PROTOCOL_VERSION },
        secret: Buffer.from(secret),
        nonce: randomBytes(NONCE_BYTES),
        admit: () => null,
      },
      { expected: expected.nodeId, attempt: { lane, session } },
    );
    const peer = new RawPeer(address);
    peer.say(handshake.hello);
    for (;;) {
      if ((await peer.next()) === null) return null;
      const step = handshake.take(peer.raw.at(-1)!);
      if (step.kind === 'open') return peer;
      if (step.kind !== 'say') return null;
      peer.say(step.bytes);
    }
  }
}

export interface OpenOptions {
  readonly identity: PeerIdentity;
  readonly expected: PeerIdentity;
  readonly secret: string;
  readonly lane: LaneName;
  readonly session?: string;
}

export const rawSocket = async (address: string): Promise<Socket> => {
  const [host = '', port = ''] = address.split(':');
  const socket = connect({ host, port: Number(port) });
  socket.on('error', () => {});
  await once(socket, 'connect');
  return socket;
};
