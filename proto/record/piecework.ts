// Compressing and inflating that is done here, in JavaScript, a piece at a time: whoever has the event loop to care for
// lets it turn between two pieces, whoever does not takes them all at once. Also why inflating is refused.
//
// A piece is 256 KiB of what is read and written together: a third of a millisecond to a whole one.

/** The work of one call of `advance`, give or take one repeat, or one block when compressing. */
export const PIECE_BYTES = 262_144;

export interface Piecework {
  /** Does one piece. False when nothing is left to be done. */
  advance(): boolean;
  /** Why nothing more can be done; null while all is well. */
  readonly fault: string | null;
  /** The result once nothing is left. */
  readonly output: Uint8Array;
}

export type InflateFault =
  | { kind: 'decompressed-size'; bytesMax: number; detail: string }
  | { kind: 'decompress'; detail: string };

export type OpenedInflation = { ok: true; inflation: Piecework } | { ok: false; fault: InflateFault };

export function tooLarge(bytesMax: number): { ok: false; fault: InflateFault } {
  const detail = `the records inflate to more than ${bytesMax} bytes`;
  return { ok: false, fault: { kind: 'decompressed-size', bytesMax, detail } };
}

export function malformed(detail: string): { ok: false; fault: InflateFault } {
  return { ok: false, fault: { kind: 'decompress', detail } };
}
