// Flipped bits in every kind of file: each is told, or changes nothing that anybody is given.
//
//   SLUICE_BIT_FLIPS=100000 npm test -- test/storage/bit-flips.test.ts     the full count, with its table; otherwise a share

import { describe, expect, test } from 'vitest';
import { flipMany, type Outcome, targetsOf } from './bit-flips.ts';

const flips = Number(process.env['SLUICE_BIT_FLIPS'] ?? 1_100);
const outcomes: readonly Outcome[] = ['whole', 'damaged', 'cut', 'refused'];

describe('a flipped bit', () => {
  test(`is told or means nothing: ${flips} of them`, { timeout: 60_000 + flips * 60 }, async () => {
    const targets = await targetsOf();
    const share = Math.ceil(flips / targets.length);
    const rows: string[] = [];
    const seen = new Map<string, ReadonlyMap<Outcome, number>>();
    for (const target of targets) {
      const counts = await flipMany(target, share);
      seen.set(target.what, counts);
      rows.push([target.what.padEnd(24), ...outcomes.map(each => String(counts.get(each) ?? 0).padStart(8))].join(' '));
    }
    if (process.env['SLUICE_BIT_FLIPS'] !== undefined) {
      const head = ['flipped in'.padEnd(24), ...outcomes.map(each => each.padStart(8))].join(' ');
      process.stdout.write(`${[head, ...rows].join('\n')}\n`);
    }
    const of = (what: string): Outcome[] => [...(seen.get(what)?.keys() ?? [])].sort();
    expect(of('.log')).toEqual(['damaged', 'whole']);
    expect(of('.log after a kill')).toEqual(['cut', 'damaged', 'whole']);
    for (const derived of [
      '.index',
      '.timeindex',
      '.index after a kill',
      '.timeindex after a kill',
      'checkpoint',
      'store',
    ]) {
      expect(of(derived), derived).toEqual(['whole']);
    }
    for (const small of ['catalogue', 'meta']) expect(of(small), small).toContain('refused');
    expect(of('partition.metadata')).toEqual(['refused']);
  });
});
