// Every rule of replication that lies in the core, on the core as it is. The scenarios are in scenarios.ts.

import { describe, test } from 'vitest';
import { theCore } from './lone.ts';
import { scenarios } from './scenarios.ts';

describe.each(Object.entries(scenarios))('%s', (_, group) => {
  test.each(Object.entries(group))('%s', (_name, scenario) => {
    scenario(theCore);
  });
});
