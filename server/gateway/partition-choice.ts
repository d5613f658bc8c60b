// Which partition a record goes to when the client did not say: as Kafka's clients choose, murmur2 of the key, and for
// records without a key one partition for a whole request, the next request taking the next one.
//
// One object a door: the turn is state of the door, not of the module.

import type { RecordSpans } from '@sluice/protocol/record';
import { murmur2, partitionForKey, toPositive } from '@sluice/protocol/record';

export class PartitionChoice {
  #turn = 0;

  /** The partition for all keyless records of one request. */
  nextSticky(partitionCount: number): number {
    this.#turn = (this.#turn + 1) % 0x7fffffff;
    return this.#turn % partitionCount;
  }

  forKey(key: Uint8Array | string, partitionCount: number): number {
    if (partitionCount === 1) return 0;
    return partitionForKey(typeof key === 'string' ? Buffer.from(key, 'utf8') : key, partitionCount);
  }

  /** The same for a key that lies in bytes. */
  forKeySpan({ keyBytes, keyStart, keyEnd }: RecordSpans, partitionCount: number): number {
    if (partitionCount === 1) return 0;
    return toPositive(murmur2(keyBytes, keyStart, keyEnd)) % partitionCount;
  }
}
