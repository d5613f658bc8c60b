// From the error code of a failed bind to what the command line can explain.

import { ListenFailure } from './gateway.ts';

const reasons: ReadonlyMap<string, ListenFailure['reason']> = new Map<string, ListenFailure['reason']>([
  ['EADDRINUSE', 'in-use'],
  ['EACCES', 'not-permitted'],
  ['EPERM', 'not-permitted'],
  ['EADDRNOTAVAIL', 'not-available'],
  ['ENOTFOUND', 'not-available'],
  ['EAI_AGAIN', 'not-available'],
]);

export const listenFailure = (address: string, error: NodeJS.ErrnoException): ListenFailure =>
  new ListenFailure(address, reasons.get(error.code ?? '') ?? 'failed', error);
