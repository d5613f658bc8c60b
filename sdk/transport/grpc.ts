// The transport over gRPC (grpc-js, HTTP/2). One connection is one channel of its own: reconnecting is the business of
// whoever asked, so that waits come from the injected clock and nothing is repeated behind anybody's back.
//
// Streams are read from the moment they open: an unread grpc-js stream buffers without bound. Who wants less sends
// less credit.

import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import type {
  DescMessage,
  DescMethod,
  DescMethodBiDiStreaming,
  DescMethodServerStreaming,
  DescMethodUnary,
  MessageInitShape,
  MessageShape,
} from '@bufbuild/protobuf';
import {
  Client,
  Metadata,
  connectivityState,
  credentials,
  type ClientDuplexStream,
  type ServiceError,
} from '@grpc/grpc-js';
import { ProduceResponseSchema, ProduceService } from '@sluice/protocol/services';
import { onAbort } from '../abort.ts';
import { failureOfStatus } from './status.ts';
import {
  LinkFailure,
  type Connection,
  type Duplex,
  type Incoming,
  type ProduceFrame,
  type StreamSink,
  type Transport,
} from './transport.ts';
import { encodeProduceFrame, produceFrameBytesMax } from './wire.ts';

export interface GrpcTransportOptions {
  readonly clientId: string;
  readonly token: string | undefined;
}

/** Receive window a stream: the default of 64 KiB limits the throughput, not only the processor. */
const WINDOW_BYTES = 4 * 1024 * 1024;
/** Above the largest piece of a fetch, which is at least one batch however large. */
const MESSAGE_BYTES_MAX = 128 * 1024 * 1024;
const KEEPALIVE_MS = 20_000;
const KEEPALIVE_TIMEOUT_MS = 10_000;

const CHANNEL_OPTIONS = {
  'grpc-node.flow_control_window': WINDOW_BYTES,
  'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
  'grpc.max_send_message_length': MESSAGE_BYTES_MAX,
  'grpc.keepalive_time_ms': KEEPALIVE_MS,
  'grpc.keepalive_timeout_ms': KEEPALIVE_TIMEOUT_MS,
  'grpc.keepalive_permit_without_calls': 1,
  'grpc.enable_retries': 0,
  'grpc.enable_http_proxy': 0,
  'grpc.service_config_disable_resolution': 1,
  'grpc.use_local_subchannel_pool': 1,
} as const;

export class GrpcTransport implements Transport {
  readonly #options: GrpcTransportOptions;

  constructor(options: GrpcTransportOptions) {
    this.#options = options;
  }

  connect(address: string, signal?: AbortSignal): Promise<Connection> {
    const { clientId, token } = this.#options;
    const metadata = new Metadata();
    metadata.set('sluice-client-id', clientId);
    if (token !== undefined) metadata.set('authorization', `Bearer ${token}`);
    const client = new Client(address, credentials.createInsecure(), CHANNEL_OPTIONS);
    return new Promise((resolve, reject) => {
      const stop = onAbort(signal, reason => {
        client.close();
        reject(reason);
      });
      const channel = client.getChannel();
      const look = (): void => {
        if (signal?.aborted === true) return;
        const state = channel.getConnectivityState(true);
        if (state === connectivityState.READY) {
          stop();
          resolve(new GrpcConnection(address, client, metadata));
        } else if (state === connectivityState.TRANSIENT_FAILURE || state === connectivityState.SHUTDOWN) {
          stop();
          client.close();
          reject(new LinkFailure(address, 'connect', 'nobody answers there'));
        } else {
          channel.watchConnectivityState(state, Infinity, look);
        }
      };
      look();
    });
  }
}

class GrpcConnection implements Connection {
  readonly address: string;
  readonly #client: Client;
  readonly #metadata: Metadata;
  #isClosed = false;

  constructor(address: string, client: Client, metadata: Metadata) {
    this.address = address;
    this.#client = client;
    this.#metadata = metadata;
  }

  get isOpen(): boolean {
    return !this.#isClosed && this.#client.getChannel().getConnectivityState(false) === connectivityState.READY;
  }

  unary<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    signal: AbortSignal | undefined,
  ): Promise<MessageShape<O>> {
    return new Promise((resolve, reject) => {
      let stop = (): void => {};
      const call = this.#client.makeUnaryRequest(
        pathOf(method),
        writerOf(method.input),
        readerOf(method.output),
        request,
        this.#metadata,
        (error: ServiceError | null, response?: MessageShape<O>) => {
          stop();
          if (error === null) resolve(response!);
          else reject(signal?.aborted === true ? signal.reason : failureOfStatus(this.address, error));
        },
      );
      stop = onAbort(signal, () => call.cancel());
    });
  }

  subscribe<I extends DescMessage, O extends DescMessage>(
    method: DescMethodServerStreaming<I, O>,
    request: MessageInitShape<I>,
    sink: StreamSink<MessageShape<O>>,
  ): Incoming {
    const call = this.#client.makeServerStreamRequest(
      pathOf(method),
      writerOf(method.input),
      readerOf(method.output),
      request,
      this.#metadata,
    );
    connect(this.address, call, sink);
    return { cancel: () => call.cancel() };
  }

  duplex<I extends DescMessage, O extends DescMessage>(
    method: DescMethodBiDiStreaming<I, O>,
    sink: StreamSink<MessageShape<O>>,
  ): Duplex<MessageInitShape<I>> {
    const write = writerOf(method.input);
    return this.#open(method, write, readerOf(method.output), sink);
  }

  produce(sink: StreamSink<MessageShape<typeof ProduceResponseSchema>>): Duplex<ProduceFrame> {
    const { produce } = ProduceService.method;
    const write = (frame: ProduceFrame): Buffer =>
      encodeProduceFrame(frame, frame.allocate(produceFrameBytesMax(frame)));
    return this.#open(produce, write, readerOf(ProduceResponseSchema), sink);
  }

  close(): void {
    this.#isClosed = true;
    this.#client.close();
  }

  #open<Request, Response>(
    method: DescMethod,
    write: (request: Request) => Buffer,
    read: (bytes: Buffer) => Response,
    sink: StreamSink<Response>,
  ): Duplex<Request> {
    const call: ClientDuplexStream<Request, Response> = this.#client.makeBidiStreamRequest(
      pathOf(method),
      write,
      read,
      this.#metadata,
    );
    connect(this.address, call, sink);
    call.on('drain', () => sink.onDrain?.());
    return {
      write: request => call.write(request),
      end: () => call.end(),
      cancel: () => call.cancel(),
    };
  }
}

/** From a stream's events to its sink; exactly one `onEnd`. */
function connect<Response>(address: string, call: NodeJS.EventEmitter, sink: StreamSink<Response>): void {
  let hasEnded = false;
  const end = (failure: Parameters<StreamSink<Response>['onEnd']>[0]): void => {
    if (hasEnded) return;
    hasEnded = true;
    sink.onEnd(failure);
  };
  call.on('data', (message: Response) => {
    if (!hasEnded) sink.onMessage(message);
  });
  call.on('error', (error: ServiceError) => end(failureOfStatus(address, error)));
  call.on('end', () => end(null));
}

function pathOf(method: DescMethod): string {
  return `/${method.parent.typeName}/${method.name}`;
}

function writerOf<D extends DescMessage>(schema: D): (request: MessageInitShape<D>) => Buffer {
  return request => {
    const bytes = toBinary(schema, create(schema, request));
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  };
}

function readerOf<D extends DescMessage>(schema: D): (bytes: Buffer) => MessageShape<D> {
  return bytes => fromBinary(schema, bytes);
}
