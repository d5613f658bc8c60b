// A gRPC client made of the same descriptors and nothing else: what any generated client would see. Calls are opened,
// messages written and read in turn; whatever arrives is kept until it is asked for.

import type { DescMessage, DescMethod, DescService, MessageInitShape, MessageShape } from '@bufbuild/protobuf';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import type { CallOptions, ClientDuplexStream, ClientReadableStream, ServiceError, StatusObject } from '@grpc/grpc-js';
import { Client, credentials, Metadata } from '@grpc/grpc-js';
import type { ErrorInfo, OpenReadSchema } from '@sluice/protocol/services';
import {
  AdminService,
  ErrorInfoSchema,
  FetchRequestSchema,
  FetchService,
  ProduceService,
  StatusSchema,
} from '@sluice/protocol/services';
import { anyUnpack } from '@bufbuild/protobuf/wkt';

const MESSAGE_BYTES_MAX = 64 * 1024 * 1024;

const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

export interface UnaryMethod<I extends DescMessage, O extends DescMessage> {
  readonly methodKind: 'unary';
  readonly name: string;
  readonly parent: DescService;
  readonly input: I;
  readonly output: O;
}

/** The refusal of a unary call, with what stands in its details. */
export class CallRefused extends Error {
  override readonly name = 'CallRefused';
  readonly status: number;
  readonly info: ErrorInfo | null;

  constructor(error: ServiceError) {
    super(error.details);
    this.status = error.code;
    this.info = errorInfo(error.metadata);
  }
}

export const errorInfo = (metadata: Metadata): ErrorInfo | null => {
  const [details] = metadata.get('grpc-status-details-bin');
  if (!(details instanceof Buffer)) return null;
  const [packed] = fromBinary(StatusSchema, details).details;
  return packed === undefined ? null : (anyUnpack(packed, ErrorInfoSchema) ?? null);
};

export class RawClient {
  readonly #client: Client;

  constructor(address: string, options: Record<string, string | number> = {}) {
    this.#client = new Client(address, credentials.createInsecure(), {
      'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
      'grpc.max_send_message_length': MESSAGE_BYTES_MAX,
      'grpc-node.flow_control_window': 4 * 1024 * 1024,
      'grpc.enable_channelz': 0,
      'grpc.use_local_subchannel_pool': 1,
      ...options,
    });
  }

  unary<I extends DescMessage, O extends DescMessage>(
    method: UnaryMethod<I, O>,
    request: MessageInitShape<I>,
    options: CallOptions = {},
  ): Promise<MessageShape<O>> {
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        `/${method.parent.typeName}/${method.name}`,
        (message: MessageShape<I>) => asBuffer(toBinary(method.input, message)),
        (bytes: Buffer) => fromBinary(method.output, bytes),
        create(method.input, request),
        new Metadata(),
        options,
        (error, answer) => {
          if (error !== null) reject(new CallRefused(error));
          else resolve(answer as MessageShape<O>);
        },
      );
    });
  }

  /** Any method as bytes in, bytes out. */
  bytes(path: string): ByteStream {
    return new ByteStream(
      this.#client.makeBidiStreamRequest(
        path,
        (bytes: Buffer) => bytes,
        (bytes: Buffer) => bytes,
      ),
    );
  }

  bidi<I extends DescMessage, O extends DescMessage>(
    method: DescMethod & { readonly input: I; readonly output: O },
    path = `/${method.parent.typeName}/${method.name}`,
  ): Stream<I, O> {
    return new Stream(
      this.#client.makeBidiStreamRequest(
        path,
        (message: MessageShape<I>) => asBuffer(toBinary(method.input, message)),
        (bytes: Buffer) => fromBinary(method.output, bytes),
      ),
      method.input,
    );
  }

  serverStream<I extends DescMessage, O extends DescMessage>(
    method: DescMethod & { readonly input: I; readonly output: O },
    request: MessageInitShape<I>,
  ): Inbox<MessageShape<O>> {
    return new Inbox(
      this.#client.makeServerStreamRequest(
        `/${method.parent.typeName}/${method.name}`,
        (message: MessageShape<I>) => asBuffer(toBinary(method.input, message)),
        (bytes: Buffer) => fromBinary(method.output, bytes),
        create(method.input, request),
      ),
    );
  }

  produce(): Stream<typeof ProduceService.method.produce.input, typeof ProduceService.method.produce.output> {
    return this.bidi(ProduceService.method.produce);
  }

  fetch(): FetchStream {
    return new FetchStream(
      this.#client.makeBidiStreamRequest(
        `/${FetchService.typeName}/Fetch`,
        (message: MessageShape<typeof FetchRequestSchema>) => asBuffer(toBinary(FetchRequestSchema, message)),
        (bytes: Buffer) => fromBinary(FetchService.method.fetch.output, bytes),
      ),
      FetchRequestSchema,
    );
  }

  async createTopic(name: string, partitionCount = 1, config: Record<string, string> = {}): Promise<void> {
    await this.unary(AdminService.method.createTopic, { name, partitionCount, config });
  }

  close(): void {
    this.#client.close();
  }
}

/** What arrived and was not asked for yet, in order; and the status at the end. */
export class Inbox<O> {
  readonly call: ClientReadableStream<O>;
  readonly status: Promise<StatusObject>;
  readonly #arrived: O[] = [];
  #asked: (() => void) | null = null;
  #isOver = false;

  constructor(call: ClientReadableStream<O>) {
    this.call = call;
    call.on('data', (message: O) => {
      this.#arrived.push(message);
      this.#wake();
    });
    // The status says it all.
    call.on('error', () => {});
    this.status = new Promise(resolve => {
      call.on('status', status => {
        resolve(status);
        this.#isOver = true;
        this.#wake();
      });
    });
  }

  #wake(): void {
    const asked = this.#asked;
    this.#asked = null;
    asked?.();
  }

  /** The next message; null at the end. */
  async next(): Promise<O | null> {
    for (;;) {
      const message = this.#arrived.shift();
      if (message !== undefined) return message;
      if (this.#isOver) return null;
      await new Promise<void>(resolve => {
        this.#asked = resolve;
      });
    }
  }

  async take(count: number): Promise<O[]> {
    const messages: O[] = [];
    while (messages.length < count) {
      const message = await this.next();
      if (message === null) throw new Error(`the call ended after ${messages.length} of ${count} messages`);
      messages.push(message);
    }
    return messages;
  }

  async rest(): Promise<O[]> {
    const messages: O[] = [];
    for (let message = await this.next(); message !== null; message = await this.next()) messages.push(message);
    return messages;
  }

  get arrivedCount(): number {
    return this.#arrived.length;
  }

  cancel(): void {
    this.call.cancel();
  }
}

export class ByteStream extends Inbox<Buffer> {
  readonly #duplex: ClientDuplexStream<Buffer, Buffer>;

  constructor(call: ClientDuplexStream<Buffer, Buffer>) {
    super(call);
    this.#duplex = call;
  }

  write(bytes: Uint8Array): void {
    this.#duplex.write(asBuffer(bytes));
  }

  end(): void {
    this.#duplex.end();
  }
}

export class Stream<I extends DescMessage, O extends DescMessage> extends Inbox<MessageShape<O>> {
  readonly #duplex: ClientDuplexStream<MessageShape<I>, MessageShape<O>>;
  readonly #input: I;

  constructor(call: ClientDuplexStream<MessageShape<I>, MessageShape<O>>, input: I) {
    super(call);
    this.#duplex = call;
    this.#input = input;
  }

  write(request: MessageInitShape<I>): boolean {
    return this.#duplex.write(create(this.#input, request));
  }

  /** Resolves when the transport took the request. */
  async sent(request: MessageInitShape<I>): Promise<void> {
    const message = create(this.#input, request);
    await new Promise<void>((resolve, reject) => {
      this.#duplex.write(message, (error: Error | null | undefined) => (error ? reject(error) : resolve()));
    });
  }

  end(): void {
    this.#duplex.end();
  }

  async only(): Promise<MessageShape<O>> {
    const message = await this.next();
    if (message === null) throw new Error('the call ended without an answer');
    return message;
  }
}

export class FetchStream extends Stream<typeof FetchRequestSchema, typeof FetchService.method.fetch.output> {
  open(read: MessageInitShape<typeof OpenReadSchema>): void {
    this.write({ request: { case: 'open', value: read } });
  }

  grant(stream: number, records: number | bigint, bytes: number | bigint): void {
    const credit = { records: BigInt(records), bytes: BigInt(bytes) };
    this.write({ request: { case: 'credit', value: { stream, credit } } });
  }

  closeRead(stream: number): void {
    this.write({ request: { case: 'close', value: { stream } } });
  }
}
