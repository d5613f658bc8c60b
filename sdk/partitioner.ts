// Which partition a record goes to when it does not say so itself, as Kafka's clients choose.

import { partitionForKey } from '@sluice/protocol/record';
import type { Partitioner } from './producer.ts';
import type { Random } from './runtime.ts';
import { SluiceError } from './sluice-error.ts';

export interface Choice {
  readonly topic: string;
  readonly partitionCount: number;
  readonly key: Uint8Array | string | null;
}

export class PartitionChooser {
  readonly #partitioner: Partitioner;
  readonly #random: Random;
  /** Where records without a key go until that partition's batch is full; -1: choose anew. */
  #sticky = -1;
  #turn = -1;

  constructor(partitioner: Partitioner, random: Random) {
    this.#partitioner = partitioner;
    this.#random = random;
  }

  choose({ topic, partitionCount, key }: Choice): number {
    if (typeof this.#partitioner === 'function') {
      const chosen = this.#partitioner({ topic, partitionCount, key: key === null ? null : keyBytes(key) });
      if (Number.isInteger(chosen) && chosen >= 0 && chosen < partitionCount) return chosen;
      throw new SluiceError('PARTITION_NOT_FOUND', `the partitioner chose ${chosen} of ${partitionCount} partitions`);
    }
    if (key !== null) return partitionCount === 1 ? 0 : partitionForKey(keyBytes(key), partitionCount);
    if (this.#partitioner === 'round-robin') {
      this.#turn = (this.#turn + 1) % partitionCount;
      return this.#turn;
    }
    if (this.#sticky < 0 || this.#sticky >= partitionCount) {
      this.#sticky = Math.floor(this.#random.fraction() * partitionCount);
    }
    return this.#sticky;
  }

  /** The partition's batch is complete: records without a key may go elsewhere. */
  batchCompleted(partition: number): void {
    if (partition === this.#sticky) this.#sticky = -1;
  }
}

function keyBytes(key: Uint8Array | string): Uint8Array {
  return typeof key === 'string' ? Buffer.from(key, 'utf8') : key;
}
