// A call whose answers nobody reads: plain HTTP/2, because a client of the gRPC library reads on and buffers.

import { once } from 'node:events';
import { connect, type ClientHttp2Stream, type IncomingHttpHeaders } from 'node:http2';
import type { DescMessage, MessageInitShape } from '@bufbuild/protobuf';
import { create, toBinary } from '@bufbuild/protobuf';

export const frame = (message: Uint8Array, isCompressed = false): Buffer => {
  const head = Buffer.alloc(5);
  head.writeUInt8(isCompressed ? 1 : 0, 0);
  head.writeUInt32BE(message.byteLength, 1);
  return Buffer.concat([head, message]);
};

export class UnreadCall {
  readonly stream: ClientHttp2Stream;
  readonly closed: Promise<unknown>;
  readonly #close: () => void;
  readonly #response: Promise<IncomingHttpHeaders>;

  constructor(address: string, path: string, headers: Record<string, string> = {}) {
    const session = connect(`http://${address}`);
    // A broker that cuts the connection is what some tests wait for.
    session.on('error', () => {});
    this.closed = once(session, 'close');
    this.#close = () => session.destroy();
    this.stream = session.request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc',
      te: 'trailers',
      ...headers,
    });
    this.stream.on('error', () => {});
    this.#response = new Promise(resolve => {
      this.stream.once('response', resolve);
    });
  }

  /** Resolves when the transport took the message. */
  async send<T extends DescMessage>(schema: T, message: MessageInitShape<T>): Promise<void> {
    await this.sendBytes(frame(toBinary(schema, create(schema, message))));
  }

  async sendBytes(bytes: Uint8Array): Promise<void> {
    await new Promise<void>(resolve => {
      this.stream.write(bytes, () => resolve());
    });
  }

  /** The headers of the answer, which is all that is read of it. */
  response(): Promise<IncomingHttpHeaders> {
    return this.#response;
  }

  /** Reads after all; answers the bytes that came until the end. */
  async readToEnd(): Promise<number> {
    let bytes = 0;
    this.stream.on('data', (chunk: Buffer) => {
      bytes += chunk.byteLength;
    });
    await once(this.stream, 'end');
    return bytes;
  }

  /** The status of a call that ends without an answer. */
  async status(): Promise<number> {
    return Number((await this.response())['grpc-status']);
  }

  close(): void {
    this.#close();
  }
}
