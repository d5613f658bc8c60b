// Connections to one broker, and calls over them. A transport never retries: whoever calls knows what a repetition may
// do twice.
//
// What goes wrong is told in two ways only:
//   SluiceError   the broker answered: a refusal with its code
//   LinkFailure   there was no answer. `connect`: nothing was sent. `call`: what was sent may have been handled

import type { DescMethodBiDiStreaming, DescMethodServerStreaming, DescMethodUnary } from '@bufbuild/protobuf';
import type { MessageInitShape, MessageShape, DescMessage } from '@bufbuild/protobuf';
import type { ProduceResponseSchema } from '@sluice/protocol/services';
import type { SluiceError } from '../sluice-error.ts';

export class LinkFailure extends Error {
  override readonly name = 'LinkFailure';
  readonly address: string;
  readonly stage: 'connect' | 'call';

  constructor(address: string, stage: LinkFailure['stage'], cause: unknown) {
    super(`${address}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
    this.address = address;
    this.stage = stage;
  }
}

export type CallFailure = SluiceError | LinkFailure;

/** What a stream tells its owner. Nothing comes after `onEnd`. */
export interface StreamSink<Response> {
  onMessage(message: Response): void;
  /** Writing may go on after `write` answered false. */
  onDrain?(): void;
  /** Null: the broker ended it without a complaint. Also called after `cancel`. */
  onEnd(failure: CallFailure | null): void;
}

export interface Incoming {
  cancel(): void;
}

export interface Duplex<Request> extends Incoming {
  /** False: the connection has enough for now, wait for `onDrain`. The message was taken all the same. */
  write(request: Request): boolean;
  /** Nothing more will be written; answers still come. */
  end(): void;
}

/** A produce request as the fast path writes it: no message object in between. */
export interface ProduceFrame {
  /** Gives the memory that the request is written into, at least that many bytes; used until the request is answered. */
  allocate(bytes: number): Buffer;
  readonly id: number;
  readonly topic: string;
  readonly partition: number;
  /** The number of the proto's Acks. */
  readonly acks: number;
  readonly timeoutMs: number;
  readonly batches: Uint8Array;
}

export interface Connection {
  readonly address: string;
  /** False when it was lost or closed. */
  readonly isOpen: boolean;
  unary<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    signal: AbortSignal | undefined,
  ): Promise<MessageShape<O>>;
  subscribe<I extends DescMessage, O extends DescMessage>(
    method: DescMethodServerStreaming<I, O>,
    request: MessageInitShape<I>,
    sink: StreamSink<MessageShape<O>>,
  ): Incoming;
  duplex<I extends DescMessage, O extends DescMessage>(
    method: DescMethodBiDiStreaming<I, O>,
    sink: StreamSink<MessageShape<O>>,
  ): Duplex<MessageInitShape<I>>;
  produce(sink: StreamSink<MessageShape<typeof ProduceResponseSchema>>): Duplex<ProduceFrame>;
  close(): void;
}

export interface Transport {
  /** Resolves when the connection stands. Rejects with a LinkFailure of stage `connect`, or when the signal aborts. */
  connect(address: string, signal?: AbortSignal): Promise<Connection>;
}
