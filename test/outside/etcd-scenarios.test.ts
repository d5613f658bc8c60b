// The 28 scenario scripts of etcd-io/raft: their commands on our core. Two judgements:
//
// - Where a script prints roles or logs, ours are compared with them: role, term, leader and membership of each node, and the
//   entries of a log in order, each with its term. Where they differ, the reason stands below; a reason that is not needed
//   fails as well.
// - After each command, what changed of each node is compared with what was recorded (etcd-scenarios/). Those records are
//   ours; SLUICE_RECORD_SCENARIOS=1 writes them anew, to be read as a diff.
//
// What differs everywhere and is therefore not compared: offsets (their no-op takes an index, our epoch start none) and
// the order of messages.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { casesOf, etcdDataMissing, type EtcdCase } from './etcd-cases.ts';
import { Replay } from './etcd-replay.ts';
import { skipLoudly } from './tool.ts';

const SCRIPTS = 28;
const records = new URL('etcd-scenarios/', import.meta.url).pathname;
const isRecording = process.env['SLUICE_RECORD_SCENARIOS'] === '1';

const missing = etcdDataMissing();
if (missing !== null) skipLoudly('etcd-raft, scenarios', missing);
const scripts = Map.groupBy(missing === null ? casesOf('') : [], one => one.file);

const inForce = 'a membership is in force from the log on, theirs from its commit';
const alone = 'a leader that is removed does not count itself, so that the change needs both others';
const handsOver = 'a leader that is removed goes when that is committed, and asks the furthest voter to campaign';
const noForgetting = 'a leader is forgotten by silence or when its node is gone, there is no order for it';

/** Where what they print is not what ours is, and why. */
const reasons: Readonly<Record<string, string>> = {
  'confchange_v1_remove_leader.txt:36': inForce,
  'confchange_v1_remove_leader.txt:246': handsOver,
  'confchange_v1_remove_leader_stepdown.txt:37': inForce,
  'confchange_v1_remove_leader_stepdown.txt:113': alone,
  'confchange_v2_replace_leader_stepdown.txt:163': handsOver,
  'confchange_v2_replace_leader_stepdown.txt:187': handsOver,
  'forget_leader.txt:39': noForgetting,
  'forget_leader.txt:50': noForgetting,
  'forget_leader.txt:62': noForgetting,
  'forget_leader.txt:187': noForgetting,
  'forget_leader_prevote_checkquorum.txt:94': noForgetting,
  'forget_leader_prevote_checkquorum.txt:154': noForgetting,
  'forget_leader_prevote_checkquorum.txt:192': noForgetting,
  'forget_leader_prevote_checkquorum.txt:231': noForgetting,
};

/** What the script prints and what we have, in one form; null where it prints neither roles nor a log. */
function compared(one: EtcdCase, replay: Replay): { theirs: string[]; ours: string[] } | null {
  const lines = one.expected.trim().split('\n');
  if (one.command === 'raft-state') return { theirs: lines, ours: replay.states() };
  if (one.command !== 'raft-log') return null;
  const theirs = lines.flatMap(line => {
    const match = /^(\d+)\/\d+ Entry(\w+) ?"?([^"]*)"?$/.exec(line);
    if (match === null) return [];
    const [, term = '', kind = '', text = ''] = match;
    return [`${term} ${kind.startsWith('Conf') ? 'membership' : text}`.trim()];
  });
  return { theirs, ours: replay.entries(Number(one.words[0]?.name)) };
}

function replayed(cases: readonly EtcdCase[]): { record: string; differences: string[]; unneeded: string[] } {
  const replay = new Replay();
  const record: string[] = [];
  const differences: string[] = [];
  const unneeded: string[] = [];
  let before: string[] = [];
  for (const one of cases) {
    replay.carryOut(one);
    const now = replay.told();
    const news = now.filter((line, index) => line !== before[index]);
    before = now;
    if (news.length > 0) record.push(`after line ${one.line}`, ...news.map(line => `  ${line}`));
    const both = compared(one, replay);
    if (both === null) continue;
    const place = `${one.file}:${one.line}`;
    const isSame = both.theirs.join('\n') === both.ours.join('\n');
    if (!isSame && reasons[place] === undefined) {
      differences.push(`${place}: ${both.ours.join(' | ')} instead of ${both.theirs.join(' | ')}`);
    }
    if (isSame && reasons[place] !== undefined) unneeded.push(place);
  }
  return { record: `${record.join('\n')}\n`, differences, unneeded };
}

describe.skipIf(missing !== null)('scenarios of etcd-raft', () => {
  test('are all there', () => {
    expect(scripts.size).toBe(SCRIPTS);
  });

  test.each([...scripts.keys()])('%s', file => {
    const { record, differences, unneeded } = replayed(scripts.get(file) ?? []);
    expect([differences, unneeded]).toEqual([[], []]);
    const path = `${records}${file}`;
    if (isRecording) {
      mkdirSync(records, { recursive: true });
      writeFileSync(path, record);
    }
    expect(existsSync(path) ? readFileSync(path, 'utf8') : null).toBe(record);
  });
});
