// What is known to be damaged in a log: offset ranges that are neither served nor cut. Everything on both sides stays
// readable.

import type { Offset } from '@sluice/protocol/ids';

export interface DamagedRange {
  /** First offset that cannot be read. */
  readonly from: Offset;
  /** First readable offset behind it; the same where nothing but epoch starts is damaged. */
  readonly to: Offset;
  readonly file: string;
  readonly position: number;
  /** Where the batch at `to` begins in the same file; null when it begins in another one, or nowhere yet. */
  readonly toPosition: number | null;
  readonly reason: string;
}

export class DamageMap {
  readonly #ranges: DamagedRange[] = [];

  get ranges(): readonly DamagedRange[] {
    return this.#ranges;
  }

  add(range: DamagedRange): void {
    if (this.#ranges.some(known => known.from <= range.from && known.to >= range.to)) return;
    const before = this.#ranges.findIndex(known => known.file === range.file && known.to === range.from);
    const known = this.#ranges[before];
    // Found in two steps: what is broken, and what is not there behind it.
    if (known !== undefined && (known.toPosition === null || known.toPosition === range.position)) {
      this.#ranges[before] = { ...known, to: range.to, toPosition: range.toPosition };
      return;
    }
    this.#ranges.push(range);
    this.#ranges.sort((left, right) => left.from - right.from);
  }

  /** The range that covers the offset, or null. */
  covering(offset: Offset): DamagedRange | null {
    return this.#ranges.find(range => range.from <= offset && offset < range.to) ?? null;
  }

  /** The first batch behind the last damage in that file below an offset: where reading can begin. Null where nothing is damaged. */
  resumeBefore(file: string, offset: number): { readonly position: number; readonly offset: Offset } | null {
    let resume: { readonly position: number; readonly offset: Offset } | null = null;
    for (const range of this.#ranges) {
      if (range.file !== file || range.to > offset || range.toPosition === null) continue;
      if (resume === null || range.toPosition > resume.position)
        resume = { position: range.toPosition, offset: range.to };
    }
    return resume;
  }

  /** Forgets what lies behind the offset, after a cut. */
  dropAbove(offset: Offset): void {
    for (let index = this.#ranges.length - 1; index >= 0; index--) {
      if (this.#ranges[index]!.from >= offset) this.#ranges.splice(index, 1);
    }
  }

  /** The file was written anew and is whole between the offsets, both included: epoch starts stand at either. */
  repaired({ file, from, to }: { readonly file: string; readonly from: Offset; readonly to: Offset }): void {
    for (let index = this.#ranges.length - 1; index >= 0; index--) {
      const range = this.#ranges[index]!;
      const isOther = range.file !== file && (range.from === range.to || range.to <= from || range.from >= to);
      if (isOther || range.to < from || range.from > to) continue;
      if (range.from < from) this.#ranges[index] = { ...range, to: from, toPosition: null };
      else if (range.to > to) this.#ranges[index] = { ...range, from: to };
      else this.#ranges.splice(index, 1);
    }
  }

  clear(): void {
    this.#ranges.length = 0;
  }

  /** Forgets what lies wholly below the offset, after the log start moved. */
  dropBelow(offset: Offset): void {
    for (let index = this.#ranges.length - 1; index >= 0; index--) {
      if (this.#ranges[index]!.to <= offset) this.#ranges.splice(index, 1);
    }
  }
}
