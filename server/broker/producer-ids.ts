// Producer ids that this node gives out, of blocks that the cluster gave to it: no id is given out twice, and most are given without
// asking anybody. What is left of a block at a stop is never used.

import { accepted, type Result } from '@sluice/protocol/errors';
import type { ProducerIdBlock } from '../state/cluster/producer-ids.ts';
import type { InitProducerCode, ProducerIdentity } from './broker.ts';

export class ProducerIds {
  readonly #allocate: () => Promise<Result<ProducerIdBlock>>;
  #next = 0;
  #end = 0;
  /** One question serves all that wait. */
  #asked: Promise<Result<ProducerIdBlock>> | null = null;

  constructor(allocate: () => Promise<Result<ProducerIdBlock>>) {
    this.#allocate = allocate;
  }

  async take(): Promise<Result<ProducerIdentity, InitProducerCode>> {
    while (this.#next === this.#end) {
      this.#asked ??= this.#ask();
      const block = await this.#asked;
      if (!block.ok) return block as Result<never, InitProducerCode>;
    }
    return accepted({ producerId: this.#next++, producerEpoch: 0 });
  }

  async #ask(): Promise<Result<ProducerIdBlock>> {
    const block = await this.#allocate();
    this.#asked = null;
    if (block.ok) {
      this.#next = block.value.first;
      this.#end = block.value.first + block.value.count;
    }
    return block;
  }
}
