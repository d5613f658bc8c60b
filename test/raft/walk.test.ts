// Random walks over the whole core. SLUICE_RAFT_WALKS=N walks more; a failure names its seed, and
// `node test/raft/run-walks.ts SEED 1` walks it again.

import { describe, expect, test } from 'vitest';
import { LogShape } from '../../server/raft/log-shape.ts';
import { RaftGroup } from '../../server/raft/raft-group.ts';
import { Walk, type WalkReport } from './walk.ts';

const WALKS = Number(process.env['SLUICE_RAFT_WALKS'] ?? 100);
const core = { RaftGroup, LogShape };

describe('a group of replicas under every kind of trouble', () => {
  test('keeps what it promised, and agrees when the trouble is over', { timeout: 60_000 + WALKS * 100 }, () => {
    const totals = new Map<string, number>();
    for (let seed = 0; seed < WALKS; seed++) {
      const report = new Walk({ seed: String(seed), core }).run();
      for (const [name, count] of Object.entries(report)) totals.set(name, (totals.get(name) ?? 0) + count);
    }
    // Walks in which nothing happens prove nothing.
    const least: Partial<Record<keyof WalkReport, number>> = {
      committed: 20,
      terms: 1,
      snapshots: 0.05,
      crashes: 1,
      changes: 0.2,
      cuts: 0.1,
      reads: 2,
      naps: 0.05,
    };
    for (const [name, each] of Object.entries(least)) {
      expect(totals.get(name), name).toBeGreaterThanOrEqual(each * WALKS * 0.5);
    }
  });

  test('walks the same way twice from the same seed', () => {
    const first = new Walk({ seed: 'twice', core }).run();
    expect(new Walk({ seed: 'twice', core }).run()).toEqual(first);
  });
});
