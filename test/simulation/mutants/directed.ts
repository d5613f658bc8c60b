// Scenarios for faults that need more chance than random seeds have. Each throws where something is wrong; on the source as it is none does.

import { comparePositions, textOf } from '../../../server/base/position.ts';
import { theCore } from '../../raft/lone.ts';
import { scenarios } from '../../raft/scenarios.ts';
import { LogWorld } from '../../storage/log-world.ts';

/** One replica and a test that plays all the others: every rule of the core on its own. */
const rulesOfTheCore = (): Promise<void> => {
  for (const group of Object.values(scenarios)) {
    for (const [name, scenario] of Object.entries(group)) {
      try {
        scenario(theCore);
      } catch (fault) {
        const [why = ''] = (fault instanceof Error ? fault.message : String(fault)).split('\n');
        return Promise.reject(new Error(`${name}: ${why}`));
      }
    }
  }
  return Promise.resolve();
};

/** A write is at the disk when the log is cut: what the disk then says of it is no news of the log as it is. */
const writeUnderWayAtACut = async (): Promise<void> => {
  const world = await LogWorld.start({ seed: 'write under way at a cut' });
  await world.appendDurably({}, 1);
  const kept = world.log.end;
  let isUnderWay = false;
  world.disk.judge = ({ kind, path }) => {
    if (kind !== 'sync' || !path.endsWith('.log')) return { kind: 'usual' };
    isUnderWay = true;
    return { kind: 'slow', delayMs: 50 };
  };
  world.append({ name: 'cut' }, 1);
  await world.scheduler.driveUntil(() => isUnderWay);
  world.notices = [];
  await world.drive(world.log.cut(kept));
  const beyond = world.notices.find(({ position }) => comparePositions(position, kept) > 0);
  if (beyond !== undefined) throw new Error(`${textOf(beyond.position)} is durable in a log cut to ${textOf(kept)}`);
};

export const directed = {
  'the rules of the core, one by one': rulesOfTheCore,
  'a write under way at a cut': writeUnderWayAtACut,
} as const;

export type Directed = keyof typeof directed;
