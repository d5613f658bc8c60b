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

/** Asked to end before it served anybody: nothing is wrong, and nothing is left behind. */
export class StartInterrupted extends Error {
  override readonly name = 'StartInterrupted';

  constructor() {
    super('the broker was asked to end while it started');
  }
}
