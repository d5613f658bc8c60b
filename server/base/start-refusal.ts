// Why a broker refuses to start, in words that say what to do. The command line prints the message and exits with 1.

export type StartRefusalReason =
  | 'data-directory-in-use'
  | 'data-directory-version'
  | 'data-directory-not-writable'
  | 'data-directory-full'
  | 'data-directory-damaged'
  | 'settings';

export class StartRefusal extends Error {
  override readonly name = 'StartRefusal';
  readonly reason: StartRefusalReason;

  constructor(reason: StartRefusalReason, message: string, cause?: unknown) {
    super(message, { cause });
    this.reason = reason;
  }
}
