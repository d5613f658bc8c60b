import { type ErrorCode, refused } from '@sluice/protocol/errors';
import { leaderEpoch, offset } from '@sluice/protocol/ids';
import { describe, expect, test } from 'vitest';
import { METADATA_PAUSE_MS, STATE_ANSWERS_MAX } from '../../server/base/limits.ts';
import type { Logger } from '../../server/base/logger.ts';
import { type Answered, ReplicatedState } from '../../server/coordinator/replicated-state.ts';
import type { ProposeRefusal } from '../../server/replication/replicated-log.ts';
import { decided } from '../../server/state/decision.ts';
import { SimulatedClock } from '../simulation/clock.ts';
import { SeededRandom } from '../simulation/random.ts';
import { Scheduler } from '../simulation/scheduler.ts';
import { OTHER, ScriptedGroup } from './scripted-group.ts';

const silent: Logger = { debug() {}, info() {}, warn() {}, error() {}, fatal() {} };

/** A list of words; one of them is from the future. */
const world = () => {
  const scheduler = new Scheduler(new SeededRandom('state'));
  const group = new ScriptedGroup();
  const unreadable: string[] = [];
  let readies = 0;
  let restores = 0;
  const state = new ReplicatedState<string[], string>({
    clock: new SimulatedClock(scheduler),
    logger: silent,
    machine: {
      name: 'the list',
      restore: () => {
        restores++;
        return Promise.resolve({ state: [], next: offset(0) });
      },
      replay: (words, word) => {
        words.push(word);
        return words;
      },
      encode: word => ({ key: null, value: word }),
      decode: record => {
        const word = Buffer.from(record.value ?? []).toString();
        return word === 'future' ? null : word;
      },
    },
    ready: () => readies++,
    unreadable: detail => unreadable.push(detail),
  });
  group.listener = state.listener;
  state.attach(group, group);
  return { scheduler, group, state, unreadable, counts: () => ({ readies, restores }) };
};

type World = ReturnType<typeof world>;

const settle = (w: World): Promise<void> => w.scheduler.advance(0);

const led = async (term = 1): Promise<World> => {
  const w = world();
  w.group.lead(term);
  w.group.commit();
  await settle(w);
  return w;
};

const add = (w: World, ...words: readonly string[]) =>
  w.state.submit(list => decided(words, [...list, ...words].join(' ')));

/** What it settled to so far. */
const watched = <T>(promise: Promise<T>): { value: T | null } => {
  const box: { value: T | null } = { value: null };
  void promise.then(value => {
    box.value = value;
  });
  return box;
};

const codeOf = (answered: Answered<unknown, ErrorCode> | null): string =>
  answered === null ? 'waits' : answered.result.ok ? 'ok' : answered.result.problem.code;

describe('an answer', () => {
  test('leaves when what it says is committed, and the next command sees the state before that', async () => {
    const w = await led();
    const [first, second] = [watched(add(w, 'a')), watched(add(w, 'b', 'c'))];
    await settle(w);
    expect([first.value, second.value]).toEqual([null, null]);
    w.group.commit(offset(1));
    await settle(w);
    expect(first.value?.result).toEqual({ ok: true, value: 'a' });
    expect(second.value).toBe(null);
    w.group.commit(offset(2));
    await settle(w);
    expect(second.value).toBe(null);
    w.group.commit(offset(3));
    await settle(w);
    expect(second.value).toMatchObject({ result: { ok: true, value: 'a b c' }, end: 3 });
  });

  test('that is a refusal waits for what it was judged on', async () => {
    const w = await led();
    void add(w, 'a');
    const refusal = watched(w.state.submit(list => refused('TOPIC_EXISTS', list.join())));
    const read = watched(w.state.read(list => list.length));
    await settle(w);
    expect([refusal.value, read.value]).toEqual([null, null]);
    w.group.commit();
    await settle(w);
    expect(refusal.value?.result).toMatchObject({ ok: false, problem: { code: 'TOPIC_EXISTS', detail: 'a' } });
    expect(read.value?.result).toEqual({ ok: true, value: 1 });
  });

  test('that wrote nothing waits for a read round as well, in whichever order they come', async () => {
    const w = await led();
    w.group.heldReads = [];
    void add(w, 'a');
    const [early, late] = [watched(w.state.read(list => list.length)), watched(w.state.read(list => list.length))];
    const [one, two] = w.group.heldReads;
    w.state.listener.readsConfirmed([one!]);
    await settle(w);
    expect(early.value).toBe(null);
    w.group.commit();
    await settle(w);
    expect([codeOf(early.value), late.value]).toEqual(['ok', null]);
    w.state.listener.readsConfirmed([two!]);
    await settle(w);
    expect(codeOf(late.value)).toBe('ok');
  });

  test('is refused where too many wait', async () => {
    const w = await led();
    for (let count = 0; count < STATE_ANSWERS_MAX; count++) void w.state.submit(() => decided(['a'], null));
    expect(codeOf(await add(w, 'b'))).toBe('THROTTLED');
    w.group.commit();
    const next = watched(add(w, 'b'));
    w.group.commit();
    await settle(w);
    expect(codeOf(next.value)).toBe('ok');
  });
});

describe('an append that is refused', () => {
  test('changes nothing, and says why', async () => {
    const w = await led();
    const codes: Record<ProposeRefusal, string> = {
      'not-leader': 'NOT_LEADER',
      transferring: 'COORDINATOR_LOADING',
      busy: 'COORDINATOR_LOADING',
      throttled: 'THROTTLED',
      backlog: 'THROTTLED',
      full: 'DISK_FULL',
      failed: 'STORAGE_FAILED',
      closed: 'SHUTTING_DOWN',
    };
    for (const [refusal, code] of Object.entries(codes)) {
      w.group.refusal = refusal as ProposeRefusal;
      expect(codeOf(await add(w, 'a'))).toBe(code);
    }
    expect(w.state.state).toEqual([]);
  });
});

describe('leadership', () => {
  test('elsewhere is said, with who has it', async () => {
    const w = world();
    expect(codeOf(await add(w, 'a'))).toBe('NOT_LEADER');
    w.group.follow(3, OTHER);
    expect((await add(w, 'a')).result).toMatchObject({ ok: false, problem: { facts: { leader: 2, term: 3 } } });
    expect(w.state.state).toBe(null);
  });

  test('that begins loads all up to its committed start, and answers nothing before', async () => {
    const w = world();
    w.group.appendRecords('a', 'b');
    w.group.appendControl();
    w.group.appendRecords('c');
    w.group.lead(2);
    expect(codeOf(await add(w, 'x'))).toBe('COORDINATOR_LOADING');
    // Commits of earlier terms do not make a state.
    w.state.listener.committed({ epoch: leaderEpoch(1), offset: offset(2) });
    await settle(w);
    expect(codeOf(await add(w, 'x'))).toBe('COORDINATOR_LOADING');
    w.group.commit();
    await settle(w);
    expect(w.state.state).toEqual(['a', 'b', 'c']);
    expect(w.counts().readies).toBe(1);
    const answer = watched(add(w, 'd'));
    w.group.commit();
    await settle(w);
    expect(answer.value?.result).toEqual({ ok: true, value: 'a b c d' });
  });

  test('that is lost throws the state away: what was written has an unknown outcome, what was not has none', async () => {
    const w = await led();
    w.group.heldReads = [];
    const written = watched(add(w, 'a'));
    const read = watched(w.state.read(list => list.length));
    w.group.follow(2, OTHER);
    await settle(w);
    expect(written.value?.result).toMatchObject({
      ok: false,
      problem: { code: 'REQUEST_TIMED_OUT', facts: { outcome: 'unknown' } },
    });
    expect(codeOf(read.value)).toBe('NOT_LEADER');
    expect(w.state.state).toBe(null);
    // It was cut, and what came instead is what the next leadership knows.
    w.group.cut(offset(0));
    w.group.appendRecords('other');
    w.group.lead(3);
    w.group.commit();
    await settle(w);
    expect(w.state.state).toEqual(['other']);
  });

  test('that returns at once under a later term begins anew', async () => {
    const w = await led();
    const written = watched(add(w, 'a'));
    // Both within one turn: only the newest role is told, and then that the older one is lost.
    w.group.lead(5);
    w.state.listener.leadershipLost(leaderEpoch(1));
    await settle(w);
    expect(codeOf(written.value)).toBe('REQUEST_TIMED_OUT');
    w.group.commit();
    await settle(w);
    expect(w.state.state).toEqual(['a']);
    expect(w.state.epoch).toBe(5);
  });

  test('that ends while it loads leaves no state behind', async () => {
    const w = world();
    w.group.appendRecords('a');
    w.group.lead(1);
    w.group.commit();
    w.group.follow(2, OTHER);
    await settle(w);
    expect(w.state.state).toBe(null);
    expect(w.counts().readies).toBe(0);
  });

  test('reads its log again when that failed, from the beginning', async () => {
    const w = world();
    w.group.appendRecords('a');
    w.group.readFault = { kind: 'failed' };
    w.group.lead(1);
    w.group.commit();
    await settle(w);
    expect(w.state.state).toBe(null);
    await w.scheduler.advance(METADATA_PAUSE_MS * 2);
    expect(w.state.state).toEqual(['a']);
    expect(w.counts().restores).toBe(2);
  });

  test('waits for what others made durable before this replica did', async () => {
    const w = world();
    w.group.appendRecords('a');
    w.group.durableOffset = offset(0);
    w.group.lead(1);
    w.group.commit();
    await settle(w);
    expect(w.state.state).toBe(null);
    w.group.durableOffset = offset(1);
    await w.scheduler.advance(METADATA_PAUSE_MS * 2);
    expect(w.state.state).toEqual(['a']);
  });

  test('does not go on over a record that this release does not know', async () => {
    const w = world();
    w.group.appendRecords('a', 'future');
    w.group.lead(1);
    w.group.commit();
    await settle(w);
    expect(w.unreadable).toHaveLength(1);
    expect(codeOf(await add(w, 'b'))).toBe('COORDINATOR_LOADING');
  });

  test('does not outlive the broker', async () => {
    const w = await led();
    const written = watched(add(w, 'a'));
    w.state.close();
    await settle(w);
    expect(codeOf(written.value)).toBe('REQUEST_TIMED_OUT');
    expect(codeOf(await add(w, 'b'))).toBe('SHUTTING_DOWN');
    w.group.lead(2);
    w.group.commit();
    await settle(w);
    expect(w.state.state).toBe(null);
  });
});
