// The produce and fetch streams as any gRPC client sees them: generated messages on grpc-js, nothing of the SDK.

import { create, fromBinary, toBinary, type MessageInitShape } from '@bufbuild/protobuf';
import { Client, credentials, type ClientDuplexStream } from '@grpc/grpc-js';
import {
  FetchRequestSchema,
  FetchResponseSchema,
  ProduceRequestSchema,
  ProduceResponseSchema,
  type FetchRequest,
  type FetchResponse,
  type OpenReadSchema,
  type ProduceRequest,
  type ProduceResponse,
} from '@sluice/protocol/services';

const MESSAGE_BYTES_MAX = 32 * 1024 * 1024;

export type Answer = ProduceResponse['result'];

export class GrpcClient {
  private readonly client: Client;

  /** HOST:PORT */
  constructor(address: string) {
    this.client = new Client(address, credentials.createInsecure(), {
      'grpc.max_receive_message_length': MESSAGE_BYTES_MAX,
      'grpc.max_send_message_length': MESSAGE_BYTES_MAX,
      'grpc-node.flow_control_window': 4 * 1024 * 1024,
    });
  }

  produce(): ProduceStream {
    return new ProduceStream(
      this.client.makeBidiStreamRequest(
        '/sluice.v1.ProduceService/Produce',
        (request: ProduceRequest) => Buffer.from(toBinary(ProduceRequestSchema, request)),
        (bytes: Buffer) => fromBinary(ProduceResponseSchema, bytes),
      ),
    );
  }

  /** From the start of the read to where the partition ended when it began. */
  readToEnd(read: MessageInitShape<typeof OpenReadSchema>): AsyncGenerator<FetchResponse> {
    return this.read({ ...read, untilEnd: true });
  }

  /** One read without credit: the transport holds it back. Throws what comes in band as a problem. */
  async *read(read: MessageInitShape<typeof OpenReadSchema>): AsyncGenerator<FetchResponse> {
    const call = this.client.makeBidiStreamRequest(
      '/sluice.v1.FetchService/Fetch',
      (request: FetchRequest) => Buffer.from(toBinary(FetchRequestSchema, request)),
      (bytes: Buffer) => fromBinary(FetchResponseSchema, bytes),
    );
    const open = { ...read, stream: 1 };
    call.write(create(FetchRequestSchema, { request: { case: 'open', value: open } }));
    try {
      for await (const each of call) {
        const response = each as FetchResponse;
        if (response.payload.case === 'error') throw new Error(JSON.stringify(response.payload.value));
        if (response.payload.case === 'end') return;
        yield response;
      }
      throw new Error('the stream ended before the read did');
    } finally {
      call.cancel();
    }
  }

  close(): void {
    this.client.close();
  }
}

/** Requests are answered by id. When the stream breaks, everything unanswered rejects: its outcome is unknown. */
export class ProduceStream {
  private readonly call: ClientDuplexStream<ProduceRequest, ProduceResponse>;
  private readonly waiting = new Map<bigint, { resolve: (answer: Answer) => void; reject: (error: Error) => void }>();
  private nextId = 1n;
  private broken: Error | null = null;

  constructor(call: ClientDuplexStream<ProduceRequest, ProduceResponse>) {
    this.call = call;
    call.on('data', (response: ProduceResponse) => {
      this.waiting.get(response.id)?.resolve(response.result);
      this.waiting.delete(response.id);
    });
    call.on('error', error => this.break(error));
    call.on('end', () => this.break(new Error('the produce stream ended')));
  }

  send(request: MessageInitShape<typeof ProduceRequestSchema>): Promise<Answer> {
    if (this.broken !== null) return Promise.reject(this.broken);
    const id = this.nextId++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.call.write(create(ProduceRequestSchema, { ...request, id }));
    });
  }

  /** No more requests; what was sent is still answered. */
  end(): void {
    this.call.end();
  }

  private break(error: Error): void {
    this.broken ??= error;
    for (const { reject } of this.waiting.values()) reject(error);
    this.waiting.clear();
  }
}
