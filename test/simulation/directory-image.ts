// One directory twice: its names as everybody sees them, and as the disk has them. Between two syncs of the directory the
// changes stand in a list; at a crash each survives or not, on its own, in the order in which they were made.

import type { FileImage } from './file-image.ts';
import type { SeededRandom } from './random.ts';

export type Image = FileImage | DirectoryImage;

type NameChange =
  | { readonly kind: 'link'; readonly name: string; readonly image: Image }
  | { readonly kind: 'unlink'; readonly name: string }
  | { readonly kind: 'rename'; readonly from: string; readonly to: string; readonly image: Image };

const apply = (names: Map<string, Image>, change: NameChange): void => {
  switch (change.kind) {
    case 'link':
      names.set(change.name, change.image);
      break;
    case 'unlink':
      names.delete(change.name);
      break;
    case 'rename':
      names.delete(change.from);
      names.set(change.to, change.image);
      break;
  }
};

export class DirectoryImage {
  readonly kind = 'directory';
  #cached = new Map<string, Image>();
  #durable = new Map<string, Image>();
  /** Numbered, so that a sync takes with it only what was there when it began. */
  #changes: { readonly sequence: number; readonly change: NameChange }[] = [];
  #sequence = 0;

  get names(): ReadonlyMap<string, Image> {
    return this.#cached;
  }

  get durableNames(): ReadonlyMap<string, Image> {
    return this.#durable;
  }

  get sequence(): number {
    return this.#sequence;
  }

  link(name: string, image: Image): void {
    this.#change({ kind: 'link', name, image });
  }

  unlink(name: string): void {
    this.#change({ kind: 'unlink', name });
  }

  rename(from: string, to: string): void {
    const image = this.#cached.get(from);
    if (image === undefined) throw new RangeError(`no name ${from}`);
    this.#change({ kind: 'rename', from, to, image });
  }

  /** Makes durable what was changed up to `sequence`. */
  endSync(sequence: number): void {
    while (this.#changes[0] !== undefined && this.#changes[0].sequence <= sequence) {
      const first = this.#changes.shift();
      if (first !== undefined) apply(this.#durable, first.change);
    }
  }

  /** This directory and all below it become what the crash left. */
  crash(random: SeededRandom, survival: number): void {
    for (const { change } of this.#changes) if (random.chance(survival)) apply(this.#durable, change);
    this.#changes = [];
    this.#cached = new Map(this.#durable);
    for (const image of this.#cached.values()) image.crash(random, survival);
  }

  #change(change: NameChange): void {
    apply(this.#cached, change);
    this.#changes.push({ sequence: ++this.#sequence, change });
  }
}
