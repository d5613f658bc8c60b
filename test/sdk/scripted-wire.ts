// The far side of a connection, played by the test line by line: which produce requests came, and what is answered to
// them. It knows nothing of logs or offsets; for anything a broker decides, the tests use a real one.

import {
  create,
  type DescMethodServerStreaming,
  type DescMethodUnary,
  type DescMessage,
  type MessageShape,
} from '@bufbuild/protobuf';
import {
  LinkFailure,
  type CallFailure,
  type Connection,
  type Duplex,
  type Incoming,
  type ProduceFrame,
  type StreamSink,
  type Transport,
} from '@sluice/client/internal';
import { BatchView, decodeRecords } from '@sluice/protocol/record';
import {
  InitProducerResponseSchema,
  MetadataSchema,
  ProducerService,
  ProduceResponseSchema,
  type Metadata,
  type ProduceResponse,
} from '@sluice/protocol/services';

export class ScriptedStream implements Duplex<ProduceFrame> {
  readonly frames: ProduceFrame[] = [];
  /** What `write` answers. */
  takesMore = true;
  isEnded = false;
  readonly #sink: StreamSink<ProduceResponse>;

  constructor(sink: StreamSink<ProduceResponse>) {
    this.#sink = sink;
  }

  write(frame: ProduceFrame): boolean {
    // As a real one, it is done with the memory when this returns.
    this.frames.push({ ...frame, batches: new Uint8Array(frame.batches) });
    return this.takesMore;
  }

  end(): void {
    this.isEnded = true;
  }

  cancel(): void {
    this.isEnded = true;
  }

  drain(): void {
    this.takesMore = true;
    this.#sink.onDrain?.();
  }

  /** The values of a request's records, as text. */
  values(index: number): string[] {
    const decoded = decodeRecords(this.frames[index]!.batches);
    if (!decoded.ok) throw new Error('not a batch');
    return decoded.records.map(record => Buffer.from(record.value!).toString());
  }

  ack(index: number, baseOffset: number, appendTimestamp?: number): void {
    const { id, batches } = this.frames[index]!;
    const timestampMs = appendTimestamp ?? new BatchView(batches).maxTimestamp;
    const value = { baseOffset: BigInt(baseOffset), count: 1, timestampMs: BigInt(timestampMs) };
    this.#sink.onMessage(create(ProduceResponseSchema, { id: BigInt(id), result: { case: 'ack', value } }));
  }

  refuse(index: number, code: string, facts: Record<string, string> = {}): void {
    const { id } = this.frames[index]!;
    const value = { code, detail: 'as the script says', retriable: false, facts };
    this.#sink.onMessage(create(ProduceResponseSchema, { id: BigInt(id), result: { case: 'error', value } }));
  }

  break(failure: CallFailure | null = new LinkFailure('script:1', 'call', 'cut')): void {
    this.#sink.onEnd(failure);
  }
}

export class ScriptedWire implements Transport {
  readonly streams: ScriptedStream[] = [];
  isReachable = true;
  /** Says nothing about topics. */
  isSilent = false;
  /** What every watch of topics is answered with. */
  refusal: CallFailure | null = null;
  attempts = 0;
  /** Of producers, given out in this order. */
  readonly identities: (number | CallFailure)[] = [7];
  metadata: Metadata;

  constructor(topic: { readonly name: string; readonly partitionCount: number; readonly maxMessageBytes?: number }) {
    this.metadata = create(MetadataSchema, {
      clusterId: 'script',
      brokers: [{ nodeId: 1, grpcAddress: 'script:1' }],
      topics: [
        {
          name: topic.name,
          topicId: 'one',
          maxMessageBytes: topic.maxMessageBytes ?? 1_048_588,
          partitions: Array.from({ length: topic.partitionCount }, (_, partition) => ({ partition, leader: 1 })),
        },
      ],
    });
  }

  connect(address: string): Promise<Connection> {
    this.attempts++;
    if (!this.isReachable) return Promise.reject(new LinkFailure(address, 'connect', 'the script says no'));
    return Promise.resolve({
      address,
      isOpen: true,
      unary: <I extends DescMessage, O extends DescMessage>(method: DescMethodUnary<I, O>) => {
        if (method.parent.typeName !== ProducerService.typeName || this.identities.length === 0) {
          return Promise.reject(new LinkFailure(address, 'call', 'not in the script'));
        }
        const identity = this.identities.shift()!;
        if (identity instanceof Error) return Promise.reject(identity);
        const answer = create(InitProducerResponseSchema, { producerId: BigInt(identity), producerEpoch: 0 });
        return Promise.resolve(answer as MessageShape<DescMessage> as MessageShape<O>);
      },
      subscribe: <I extends DescMessage, O extends DescMessage>(
        _method: DescMethodServerStreaming<I, O>,
        _request: unknown,
        sink: StreamSink<MessageShape<O>>,
      ): Incoming => {
        queueMicrotask(() => {
          if (this.refusal !== null) sink.onEnd(this.refusal);
          else if (!this.isSilent) sink.onMessage(this.metadata as MessageShape<DescMessage> as MessageShape<O>);
        });
        return { cancel: () => sink.onEnd(null) };
      },
      duplex: () => {
        throw new Error('not in the script');
      },
      produce: sink => {
        const stream = new ScriptedStream(sink);
        this.streams.push(stream);
        return stream;
      },
      close() {},
    });
  }

  get stream(): ScriptedStream {
    return this.streams.at(-1)!;
  }
}
