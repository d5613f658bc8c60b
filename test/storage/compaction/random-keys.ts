// Records of few keys, some of which say that their key is gone; times mostly rise.

import type { SeededRandom } from '../../simulation/random.ts';
import type { KeyedRecord } from './keyed-log.ts';

export class RandomKeys {
  readonly #random: SeededRandom;
  readonly #world: { readonly clock: { wallMs(): number } };
  #count = 0;

  constructor(random: SeededRandom, world: { readonly clock: { wallMs(): number } }) {
    this.#random = random;
    this.#world = world;
  }

  records(count: number): readonly KeyedRecord[] {
    return Array.from({ length: count }, () => this.#record());
  }

  #record(): KeyedRecord {
    const random = this.#random;
    const key = random.chance(0.1) ? '' : `key ${random.below(25)}`.padEnd(random.pick([6, 6, 40]), '.');
    const text = `${this.#count++}`.padEnd(random.pick([4, 30, 200]), '.');
    const timestamp = this.#world.clock.wallMs() - random.below(100);
    return { key, value: random.chance(0.15) ? null : text, timestamp };
  }
}
