// Where a reader stands, as text.
//
//   CURSOR                         between two frames: the broker's own cursor
//   CURSOR~PARTITION.OFFSET~…      within the frame after that cursor: of these partitions, what is below the offset was
//                                  taken already
//
// The broker names a cursor behind each frame and none within; so a program that stops in the middle of a frame goes on at
// the frame's beginning, and what it had is left out.

import { SluiceError } from '../sluice-error.ts';

export interface Position {
  readonly cursor: string;
  readonly taken: ReadonlyMap<number, number>;
}

export const positionText = (cursor: string, taken: ReadonlyMap<number, number>): string =>
  [cursor, ...[...taken].map(([partition, offset]) => `${partition}.${offset}`)].join('~');

export function readPosition(text: string): Position {
  const [cursor = '', ...parts] = text.split('~');
  const taken = new Map<number, number>();
  for (const part of parts) {
    const match = /^(\d{1,10})\.(\d{1,16})$/.exec(part);
    if (match === null) throw new SluiceError('INVALID_CURSOR', `${JSON.stringify(text)} is not a cursor`);
    taken.set(Number(match[1]), Number(match[2]));
  }
  if (cursor === '') throw new SluiceError('INVALID_CURSOR', 'a cursor cannot be empty');
  return { cursor, taken };
}
