// node test/raft/run-walks.ts FIRST COUNT [STEPS]: walks without the test runner, for long runs.
import { LogShape } from '../../server/raft/log-shape.ts';
import { RaftGroup } from '../../server/raft/raft-group.ts';
import { Walk, type WalkReport } from './walk.ts';

const [first = '0', count = '100', steps = '2000'] = process.argv.slice(2);
const totals = new Map<keyof WalkReport, number>();
let failed = 0;
for (let seed = Number(first); seed < Number(first) + Number(count); seed++) {
  try {
    const report = new Walk({ seed: String(seed), core: { RaftGroup, LogShape }, steps: Number(steps) }).run();
    for (const name of Object.keys(report) as (keyof WalkReport)[]) {
      totals.set(name, (totals.get(name) ?? 0) + report[name]);
    }
  } catch (error) {
    process.stdout.write(`${String(error)}\n`);
    if (process.env['STACK'] !== undefined && error instanceof Error) {
      process.stdout.write(`${String(error.cause instanceof Error ? error.cause.stack : error.stack)}\n`);
    }
    if (++failed >= 10) break;
  }
}
process.stdout.write(`${failed} failed; ${JSON.stringify(Object.fromEntries(totals))}\n`);
