// Assertions stay on in production: a broken invariant means that memory cannot be trusted, so the process must end
// before it writes anything else. Nobody catches an AssertionFailure; main.ts logs it and exits with code 70.
//
// Outside input is never asserted: it is refused with a code of the error table.

export class AssertionFailure extends Error {
  override readonly name = 'AssertionFailure';
}

export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionFailure(message);
}

/** For the end of an exhaustive switch: the compiler proves that it is not reached. */
export const unreachable = (value: never): never => {
  throw new AssertionFailure(`unreachable: ${JSON.stringify(value)}`);
};
