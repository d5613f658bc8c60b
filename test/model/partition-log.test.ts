// The log of a partition against its model: random lists of operations, with crashes at any step of any of them.
//
//   npm test -- test/model                             as many lists as fit into some seconds
//   SLUICE_MODEL_RUNS=10000 npm test -- test/model     the full count
//   SLUICE_MODEL_SEED=…                                the seed that a failure printed

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { operation, runList, setting } from './partition-log-run.ts';

const runs = Number(process.env['SLUICE_MODEL_RUNS'] ?? 800);
const seed = process.env['SLUICE_MODEL_SEED'];

describe('the log of a partition', () => {
  test(`does what the model does, in ${runs} lists of operations with crashes`, {
    timeout: 60_000 + runs * 200,
  }, async () => {
    const details = await fc.check(
      fc.asyncProperty(setting, fc.array(operation, { minLength: 5, maxLength: 60 }), (how, operations) =>
        runList(how, operations),
      ),
      { numRuns: runs, ...(seed === undefined ? {} : { seed: Number(seed) }) },
    );
    const cause = details.errorInstance instanceof Error ? details.errorInstance.stack : details.errorInstance;
    expect(details.failed ? `${fc.defaultReportMessage(details)}\n${String(cause)}` : null).toBeNull();
    expect(details.numRuns).toBe(runs);
  });

  test.each([
    ['records', /\.log$/],
    ['the store', /store-\d/],
  ])('differs on a disk that forgets syncs of %s: the lists can find what they look for', async (_, losesSyncsOf) => {
    const details = await fc.check(
      fc.asyncProperty(setting, fc.array(operation, { minLength: 5, maxLength: 60 }), (how, operations) =>
        runList(how, operations, { losesSyncsOf }),
      ),
      { numRuns: 400, endOnFailure: true },
    );
    expect(details.failed).toBe(true);
  });
});
