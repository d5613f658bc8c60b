// What is known to be damaged in a log: offset ranges that are neither served nor cut. Everything on both sides stays
// readable.

import type { Offset } from '@sluice/protocol/ids';

export interface DamagedRange {
  /** First offset that cannot be read. */
  readonly from: Offset;
  /** First readable offset behind it. */
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
    this.#ranges.push(range);
    this.#ranges.sort((left, right) => left.from - right.from);
  }

  /** The range that covers the offset, or null. */
  covering(offset: Offset): DamagedRange | null {
    return this.#ranges.find(range => range.from <= offset && offset < range.to) ?? null;
  }

  /** Where reading behind the damage in that file can begin at the latest, for an offset at or behind `to`; 0 where nothing is damaged. */
  resumePosition(file: string, offset: Offset): number {
    let position = 0;
    for (const range of this.#ranges) {
      if (range.file === file && range.to <= offset) position = Math.max(position, range.toPosition ?? 0);
    }
    return position;
  }

  /** Forgets what lies wholly below the offset, after the log start moved. */
  dropBelow(offset: Offset): void {
    for (let index = this.#ranges.length - 1; index >= 0; index--) {
      if (this.#ranges[index]!.to <= offset) this.#ranges.splice(index, 1);
    }
  }
}
