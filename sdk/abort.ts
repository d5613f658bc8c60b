// AbortSignal, as the client uses it: an aborted call rejects with the signal's own reason, as Node's do.

/** Runs `action` when the signal aborts, at once when it has. The answer stops listening. */
export function onAbort(signal: AbortSignal | undefined, action: (reason: unknown) => void): () => void {
  if (signal === undefined) return () => {};
  if (signal.aborted) {
    action(signal.reason);
    return () => {};
  }
  const listener = (): void => action(signal.reason);
  signal.addEventListener('abort', listener, { once: true });
  return () => signal.removeEventListener('abort', listener);
}

/** The promise, or the signal's reason if that comes first. The work behind the promise goes on. */
export function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const stop = onAbort(signal, reject);
    promise.then(resolve, reject).finally(stop);
  });
}
