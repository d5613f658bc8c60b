// What was made from a client and has not ended: producers, which are drained when the client is closed, and readers, which
// are closed at once.
//
// Guarantees: nothing is made from a client that is closed, and closing happens once.

import { SluiceError } from './sluice-error.ts';

interface Drained {
  drain(): Promise<void>;
}

interface Closed {
  close(): void;
}

export class OpenParts {
  readonly #producers = new Set<Drained>();
  readonly #readers = new Set<Closed>();
  #isClosed = false;

  /** `make` is given what the producer calls when it has ended. */
  producer<P extends Drained>(make: (onEnded: (producer: Drained) => void) => P): P {
    return this.#add(this.#producers, make);
  }

  /** The same of a reader. */
  reader<R extends Closed>(make: (onEnded: (reader: Closed) => void) => R): R {
    return this.#add(this.#readers, make);
  }

  /** `release` lets go of connections, when everything has ended. Rejects when a record was lost. */
  async close(release: () => void): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    for (const reader of this.#readers) reader.close();
    const drained = await Promise.allSettled([...this.#producers].map(producer => producer.drain()));
    release();
    for (const result of drained) if (result.status === 'rejected') throw result.reason;
  }

  #add<Part, Made extends Part>(parts: Set<Part>, make: (onEnded: (part: Part) => void) => Made): Made {
    if (this.#isClosed) throw new SluiceError('INVALID_REQUEST', 'the client is closed');
    const made = make(part => parts.delete(part));
    parts.add(made);
    return made;
  }
}
