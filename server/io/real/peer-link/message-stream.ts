// One gRPC stream of the peer protocol, from either side: messages in order, how much of what was written the transport has
// not taken, and one end.
//
// Guarantees: `ended` is called at most once, and nothing after it. A `message` that answers a promise is the last one until that is
// settled; meanwhile the transport stops reading (up to the stream's own buffer of 16 messages).
// Relies on grpc-js calling a write back when the socket took it: the client only does so with its retry buffer off.

/** What the streams of grpc-js' client and server have in common, as far as it is used here. */
export interface DuplexCall {
  on(event: 'data', listener: (bytes: Buffer) => void): unknown;
  on(event: 'error', listener: (error: Error) => void): unknown;
  on(event: 'cancelled' | 'end' | 'close', listener: () => void): unknown;
  write(bytes: Buffer, taken?: () => void): boolean;
  end(): unknown;
  pause(): unknown;
  resume(): unknown;
}

export interface StreamEvents {
  message(bytes: Buffer): void | Promise<void>;
  /** The transport took something. */
  taken(): void;
  ended(detail: string): void;
}

export class MessageStream {
  readonly #duplex: DuplexCall;
  readonly #cut: () => void;
  #events: StreamEvents | null;
  #pendingBytes = 0;

  /** `cut` ends the connection below at once; it is called more than once. */
  constructor(duplex: DuplexCall, cut: () => void, events: StreamEvents) {
    this.#duplex = duplex;
    this.#cut = cut;
    this.#events = events;
    duplex.on('data', (bytes: Buffer) => this.#message(bytes));
    duplex.on('error', error => this.#ended(error.message));
    duplex.on('cancelled', () => this.#ended('the peer is gone'));
    duplex.on('end', () => this.#ended('the peer ended the stream'));
    duplex.on('close', () => this.#ended('the stream is closed'));
  }

  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  get isEnded(): boolean {
    return this.#events === null;
  }

  write(bytes: Buffer): void {
    if (this.#events === null) return;
    this.#pendingBytes += bytes.length;
    this.#duplex.write(bytes, () => {
      this.#pendingBytes -= bytes.length;
      this.#events?.taken();
    });
  }

  /** Says a last thing and ends; the connection is cut when the other side has ended too. Nothing is told any more. */
  endWith(bytes: Buffer): void {
    if (this.#events === null) return;
    this.#events = null;
    this.#duplex.write(bytes);
    this.#duplex.end();
  }

  /** Ends at once; nothing is told any more. */
  cut(): void {
    this.#events = null;
    this.#cut();
  }

  #message(bytes: Buffer): void {
    const held = this.#events?.message(bytes);
    if (held === undefined) return;
    this.#duplex.pause();
    // A rejection is not caught here: it is the owner's broken invariant.
    void held.then(() => this.#duplex.resume());
  }

  #ended(detail: string): void {
    const events = this.#events;
    this.#events = null;
    this.#cut();
    events?.ended(detail);
  }
}
