// The system's randomness.

import { randomUUID } from 'node:crypto';
import type { Random } from '../random.ts';

export const realRandom: Random = {
  uuid: () => randomUUID(),
  fraction: () => Math.random(),
};
