// A line of input that cannot become a record: where it is and what is wrong with it. Thrown by what reads and parses
// lines; `produce` says with it how many records were written before.

export class BadLine extends Error {
  override readonly name = 'BadLine';
  /** The first line is 1. */
  readonly line: number;
  readonly reason: string;
  /** A code of the error table where the broker or the client refused the record, else null. */
  readonly code: string | null;

  constructor(line: number, reason: string, refused?: { readonly code: string }) {
    super(`line ${line}: ${reason}`, { cause: refused });
    this.line = line;
    this.reason = reason;
    this.code = refused?.code ?? null;
  }
}
