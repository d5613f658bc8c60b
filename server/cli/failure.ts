// The one way in which a command gives up: what went wrong, in one line for a person, and the exit code.
//
//   error: TOPIC_NOT_FOUND: there is no topic "orders"; create it with `sluice topic create orders`
//
// Thrown anywhere in a command, rendered in one place (command-line.ts). Anything else that is thrown is a defect.

export type ExitCode = 1 | 2;

export interface FailureReport {
  readonly exitCode: ExitCode;
  /** A code of the error table; absent where no request was refused (a file is missing, a flag is wrong). */
  readonly code?: string | null;
  readonly message: string;
  readonly cause?: unknown;
}

export class CommandFailure extends Error {
  override readonly name = 'CommandFailure';
  readonly exitCode: ExitCode;
  readonly code: string | null;

  constructor({ exitCode, code = null, message, cause }: FailureReport) {
    super(message, { cause });
    this.exitCode = exitCode;
    this.code = code;
  }
}

/** Exit code 2: the command line itself is wrong. `help` is the command whose help shows what is right. */
export const usageFailure = (message: string, help: readonly string[] = []): CommandFailure =>
  new CommandFailure({ exitCode: 2, message: `${message}; see \`${['sluice', ...help, '--help'].join(' ')}\`` });

/** Exit code 1: the operation failed. */
export const failure = (message: string, cause?: unknown): CommandFailure =>
  new CommandFailure({ exitCode: 1, message, cause });

/** Exit code 1: a request was refused, with this code. */
export const refusal = (refused: { readonly code: string }, message: string): CommandFailure =>
  new CommandFailure({ exitCode: 1, code: refused.code, message, cause: refused });

/** The line for standard error. Control characters of foreign text must not reach a terminal, nor break the line. */
export const failureLine = (fault: CommandFailure): string => {
  const text = fault.code === null ? fault.message : `${fault.code}: ${fault.message}`;
  return `error: ${withoutControls(text)}\n`;
};

export const withoutControls = (text: string): string =>
  // oxlint-disable-next-line no-control-regex -- control characters are the point
  text.replaceAll(/[\u0000-\u001f\u007f-\u009f]+/g, ' ').trim();
