// How a seed fails: by what a simulation finds wrong, or by what the code under test throws and nobody catches.

export class SimulationFailure extends Error {
  override readonly name = 'SimulationFailure';
}

export const textOf = (fault: unknown): string =>
  fault instanceof Error ? (fault.stack ?? fault.message) : JSON.stringify(fault);

/** What nobody catches in the code under test fails the seed, not the process. */
export const catchingAll = async <T>(work: (failed: () => unknown) => Promise<T>): Promise<T> => {
  let thrown: unknown = null;
  const note = (fault: unknown): void => {
    thrown ??= fault ?? 'nothing was thrown, yet it was';
  };
  const events = ['unhandledRejection', 'uncaughtException'] as const;
  const before = events.map(event => process.listeners(event as 'uncaughtException'));
  for (const event of events) process.removeAllListeners(event).on(event, note);
  try {
    return await work(() => thrown);
  } finally {
    for (const [index, event] of events.entries()) {
      process.removeAllListeners(event);
      for (const listener of before[index]!) process.on(event, listener);
    }
  }
};
