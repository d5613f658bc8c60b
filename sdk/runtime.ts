// What the client is given of the outside world: time, randomness, connections. `real-defaults.ts` has the real ones;
// tests bring their own.

import type { Clock, Random } from './clock.ts';
import type { Transport } from './transport/transport.ts';

export type { Clock, Random, Timer } from './clock.ts';

export interface Runtime {
  readonly clock: Clock;
  readonly random: Random;
  readonly transport: Transport;
}
