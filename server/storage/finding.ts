// What an examination of files found, for a person.
//
//   damage    records are lost or cannot be read, or the broker refuses to start; nothing of it heals by itself
//   derived   something that is built again from what is whole; nothing is lost
//   note      no fault: what a crash leaves behind, and what the next start does about it

import type { Offset } from '@sluice/protocol/ids';

export type Grade = 'damage' | 'derived' | 'note';

export interface Finding {
  readonly grade: Grade;
  readonly file: string;
  readonly position: number | null;
  /** The first offset concerned and the one behind the last. */
  readonly offsets: { readonly from: Offset; readonly to: Offset } | null;
  /** What it means, in words. */
  readonly meaning: string;
  /** What to do about it. */
  readonly advice: string;
}
