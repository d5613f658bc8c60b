// The fetch stream of one reader to one broker, with the reads that it carries.
//
//   idle ──a read is attached──▶ connecting ──▶ open ──stream ended──▶ waiting ──▶ idle
//                                    └───────not reachable──────────────▶┘
//
// Reads of a stream that is gone go back to the reader, which attaches them anew: their leader may be another by then.

import type { MessageInitShape } from '@bufbuild/protobuf';
import { FetchService, type FetchRequestSchema, type FetchResponse } from '@sluice/protocol/services';
import { Backoff } from './backoff.ts';
import type { Links } from './links.ts';
import type { GrantedCredit, PartitionRead, Piece, ReadCarrier } from './partition-read.ts';
import type { Runtime, Timer } from './runtime.ts';
import { SluiceError } from './sluice-error.ts';
import { errorOfProblem } from './transport/problem.ts';
import { LinkFailure, type CallFailure, type Duplex } from './transport/transport.ts';

export interface FetchHost {
  received(piece: Piece): void;
  ended(read: PartitionRead): void;
  /** The read is detached: attach it again, now. */
  lost(read: PartitionRead): void;
  /** The read is detached and was refused. */
  refused(read: PartitionRead, error: SluiceError): void;
  fail(error: unknown): void;
}

type FetchStream = Duplex<MessageInitShape<typeof FetchRequestSchema>>;

export class FetchChannel implements ReadCarrier {
  readonly address: string;
  readonly #host: FetchHost;
  readonly #links: Links;
  readonly #runtime: Runtime;
  readonly #backoff: Backoff;
  #state: 'idle' | 'connecting' | 'open' | 'waiting' | 'closed' = 'idle';
  #stream: FetchStream | null = null;
  #rest: Timer | null = null;
  #nextStream = 1;
  /** Attached and open on the stream. */
  readonly #reads = new Map<number, PartitionRead>();
  /** Attached, waiting for the stream. */
  readonly #waiting = new Set<PartitionRead>();

  constructor(address: string, host: FetchHost, links: Links, runtime: Runtime) {
    this.address = address;
    this.#host = host;
    this.#links = links;
    this.#runtime = runtime;
    this.#backoff = new Backoff(runtime.random);
  }

  attach(read: PartitionRead): void {
    read.channel = this;
    if (this.#state === 'open') {
      this.#open(read);
      return;
    }
    this.#waiting.add(read);
    // oxlint-disable-next-line typescript/no-floating-promises -- ends by itself, and never rejects
    if (this.#state === 'idle') this.#connect();
  }

  grant(read: PartitionRead, credit: GrantedCredit): void {
    // A read that is not open gets a whole window when it is.
    if (!this.#reads.has(read.stream)) return;
    this.#stream?.write({
      request: {
        case: 'credit',
        value: { stream: read.stream, credit: { bytes: BigInt(credit.bytes), records: BigInt(credit.records) } },
      },
    });
  }

  close(): void {
    this.#state = 'closed';
    this.#rest?.cancel();
    this.#reads.clear();
    this.#waiting.clear();
    this.#stream?.cancel();
    this.#stream = null;
  }

  async #connect(): Promise<void> {
    this.#state = 'connecting';
    try {
      const connection = await this.#links.toward(this.address);
      if (this.#isClosed()) return;
      this.#stream = connection.duplex(FetchService.method.fetch, {
        onMessage: response => this.#answered(response),
        onEnd: failure => this.#ended(failure),
      });
      this.#state = 'open';
      const reads = [...this.#waiting];
      this.#waiting.clear();
      for (const read of reads) this.#open(read);
    } catch (error) {
      if (error instanceof LinkFailure) this.#wait();
      else this.#host.fail(error);
    }
  }

  #open(read: PartitionRead): void {
    const stream = this.#nextStream++;
    read.stream = stream;
    read.isDraining = false;
    this.#reads.set(stream, read);
    this.#stream!.write({ request: { case: 'open', value: read.openRequest(stream) } });
  }

  #answered(response: FetchResponse): void {
    const read = this.#reads.get(response.stream);
    if (read === undefined) return;
    read.highWatermark = Number(response.highWatermark);
    const { payload } = response;
    switch (payload.case) {
      case 'opened': {
        const end = read.options.isolation === 'read_committed' ? response.lastStableOffset : response.highWatermark;
        read.opened({ offset: Number(payload.value.offset), endOffset: Number(end) });
        break;
      }
      case 'batches': {
        this.#backoff.reset();
        read.backoff.reset();
        const piece = read.received(payload.value);
        if (piece === null) {
          const detail = `${read.options.topic}/${read.partition}: what the broker sent is not whole batches`;
          this.#host.fail(new SluiceError('CORRUPT_BATCH', detail));
        } else {
          this.#host.received(piece);
        }
        break;
      }
      case 'error':
        this.#detach(read);
        this.#host.refused(read, errorOfProblem(payload.value));
        break;
      case 'draining':
        read.isDraining = true;
        break;
      case 'end':
        this.#detach(read);
        if (read.isComplete || !read.isDraining) this.#host.ended(read);
        else this.#host.refused(read, new SluiceError('SHUTTING_DOWN', `${this.address} is stopping`));
        break;
      case 'records':
      case undefined:
        this.#host.fail(new SluiceError('INTERNAL', 'the broker sent something that was not asked for'));
        break;
    }
  }

  #detach(read: PartitionRead): void {
    this.#reads.delete(read.stream);
    read.channel = null;
  }

  #ended(failure: CallFailure | null): void {
    this.#stream = null;
    if (this.#isClosed()) return;
    if (failure instanceof SluiceError && !failure.retriable) {
      this.#host.fail(failure);
      return;
    }
    // They wait with the channel, not each by itself.
    for (const read of this.#reads.values()) this.#waiting.add(read);
    this.#reads.clear();
    this.#wait();
  }

  #wait(): void {
    this.#state = 'waiting';
    this.#rest = this.#runtime.clock.schedule(this.#backoff.nextMs(), () => {
      if (this.#isClosed()) return;
      this.#state = 'idle';
      const reads = [...this.#waiting];
      this.#waiting.clear();
      for (const read of reads) {
        read.channel = null;
        this.#host.lost(read);
      }
    });
  }

  /** A method, because the state changes while the compiler is not looking. */
  #isClosed(): boolean {
    return this.#state === 'closed';
  }
}
