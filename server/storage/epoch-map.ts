// Which leader epoch wrote which offsets: epoch -> first offset, epochs and offsets never falling.
//
//   leader-epoch-checkpoint (Kafka's format):  0 LF  number of entries LF  {epoch SP start offset LF}
//
// Batches before the first entry belong to epoch 0.

import { isOffset, type LeaderEpoch, type Offset } from '@sluice/protocol/ids';

/** An int32 in every batch. */
const EPOCH_MAX = 0x7fffffff;

export interface EpochStart {
  readonly epoch: LeaderEpoch;
  readonly startOffset: Offset;
}

export class EpochMap {
  #entries: EpochStart[] = [];

  get latest(): number {
    return this.#entries.at(-1)?.epoch ?? 0;
  }

  get entries(): readonly EpochStart[] {
    return this.#entries;
  }

  /** True when the epoch is new and the checkpoint has to be written before the batch. */
  note(epoch: LeaderEpoch, startOffset: Offset): boolean {
    if (this.#entries.length > 0 && epoch <= this.latest) return false;
    this.#entries.push({ epoch, startOffset });
    return true;
  }

  /** The epoch of the batch that covers the offset. */
  epochAt(offset: Offset): number {
    let epoch = 0;
    for (const entry of this.#entries) {
      if (entry.startOffset > offset) break;
      epoch = entry.epoch;
    }
    return epoch;
  }

  /**
   * Whether a batch of the epoch may begin at the offset. An epoch start spans no offset, so the epoch after it may begin
   * at the same one.
   */
  fits(epoch: number, offset: Offset): boolean {
    const next = this.#entries.findIndex(entry => entry.epoch > epoch);
    const own = (next < 0 ? this.#entries.length : next) - 1;
    const entry = this.#entries[own];
    if (entry === undefined ? epoch !== 0 : entry.epoch !== epoch) return false;
    if (entry !== undefined && offset <= entry.startOffset) return offset === entry.startOffset;
    const following = this.#entries[own + 1];
    return following === undefined || offset < following.startOffset;
  }

  /** Drops epochs that begin at or above the offset; true when there were any, and the checkpoint has to be written again. */
  cut(offset: Offset): boolean {
    const kept = this.#entries.filter(entry => entry.startOffset < offset);
    const isShorter = kept.length < this.#entries.length;
    this.#entries = kept;
    return isShorter;
  }

  format(): string {
    const lines = this.#entries.map(entry => `${entry.epoch} ${entry.startOffset}\n`);
    return `0\n${lines.length}\n${lines.join('')}`;
  }

  /** Null for text that is not a checkpoint. */
  static parse(text: string): EpochMap | null {
    const [version, count, ...lines] = text.split('\n');
    if (version !== '0' || lines.at(-1) !== '' || Number(count) !== lines.length - 1) return null;
    const map = new EpochMap();
    for (const line of lines.slice(0, -1)) {
      const match = /^(\d{1,10}) (\d{1,16})$/.exec(line);
      if (match === null) return null;
      const [epoch, startOffset] = [Number(match[1]), Number(match[2])];
      if (epoch > EPOCH_MAX || !isOffset(startOffset)) return null;
      map.#entries.push({ epoch: epoch as LeaderEpoch, startOffset });
    }
    const rises = map.#entries.every((entry, index) => {
      const before = map.#entries[index - 1];
      return before === undefined || (entry.epoch > before.epoch && entry.startOffset >= before.startOffset);
    });
    return rises ? map : null;
  }
}
