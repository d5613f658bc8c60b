import { nodeId } from '@sluice/protocol/ids';
import { expect, test } from 'vitest';
import { BROKER_SESSION_MS, CONTROLLER_TICK_MS } from '../../server/base/limits.ts';
import type { Logger } from '../../server/base/logger.ts';
import { Controller } from '../../server/coordinator/controller.ts';
import { LeaderDirectory } from '../../server/coordinator/leader-directory.ts';
import type { MetadataCommand } from '../../server/coordinator/metadata-command.ts';
import { ReplicatedState } from '../../server/coordinator/replicated-state.ts';
import { ClusterState } from '../../server/state/cluster/cluster-state.ts';
import type { ClusterRecord } from '../../server/state/cluster/record.ts';
import { decodeClusterRecord, encodeClusterRecord } from '../../server/state/cluster/record-codec.ts';
import { offset } from '@sluice/protocol/ids';
import { NodeClock, Stall } from '../simulation/node-clock.ts';
import { SeededRandom } from '../simulation/random.ts';
import { Scheduler } from '../simulation/scheduler.ts';
import { registrationOf, replicaOf, startOf, topicIdOf } from '../state/cluster/cluster-world.ts';
import { OTHER, ScriptedGroup } from './scripted-group.ts';

const silent: Logger = { debug() {}, info() {}, warn() {}, error() {}, fatal() {} };

/** A controller whose commands are committed at once, and the two brokers of its cluster. */
const world = async () => {
  const scheduler = new Scheduler(new SeededRandom('controller'));
  const stall = new Stall();
  const clock = new NodeClock(scheduler, { rate: 1, stall });
  const group = new ScriptedGroup();
  const state = new ReplicatedState<ClusterState, ClusterRecord>({
    clock,
    logger: silent,
    machine: {
      name: 'metadata',
      restore: () => Promise.resolve({ state: new ClusterState(), next: offset(0) }),
      replay: (cluster, record) => {
        cluster.replay(record);
        return cluster;
      },
      encode: record => ({ key: null, value: encodeClusterRecord(record) }),
      decode: record => {
        const read = decodeClusterRecord(record.value!);
        return read.ok ? read.value : null;
      },
    },
    unreadable: detail => {
      throw new Error(detail);
    },
  });
  group.listener = state.listener;
  state.attach(group, group);
  const controller = new Controller({
    state,
    leaders: new LeaderDirectory(),
    clock,
    logger: silent,
    topicDefaults: {},
    leadership: () => null,
    transfer: () => Promise.resolve(true),
  });
  controller.start();
  const lead = async (term: number): Promise<void> => {
    group.lead(term);
    group.commit();
    await scheduler.advance(0);
  };
  const say = async (command: MetadataCommand) => {
    const answer = controller.execute(command);
    group.commit();
    return scheduler.drive(answer);
  };
  const beat = (node: number) => {
    const request = { nodeId: nodeId(node), incarnation: startOf(node), readiness: 'ready' } as const;
    return say({ verb: 'heartbeat', request });
  };
  /** Time passes while nobody speaks. */
  const pass = async (ms: number): Promise<void> => {
    await scheduler.advance(ms);
    group.commit();
    await scheduler.advance(0);
  };
  const fenced = (): readonly number[] =>
    [...(state.state?.image.brokers.entries() ?? [])].filter(([, broker]) => broker.fenced).map(([id]) => id);
  await lead(1);
  await say({ verb: 'found', request: { clusterId: 'c', voters: [replicaOf(1)] } });
  for (const node of [1, 2]) {
    await say({ verb: 'register', request: { clusterId: 'c', registration: registrationOf(node) } });
    await beat(node);
  }
  return { scheduler, stall, group, state, controller, lead, say, beat, pass, fenced };
};

const MARGIN_MS = 2 * CONTROLLER_TICK_MS;

test('a broker that is silent for longer than its session is fenced, and not before', async () => {
  const w = await world();
  await w.pass(BROKER_SESSION_MS - MARGIN_MS);
  expect(w.fenced()).toEqual([]);
  await w.beat(1);
  await w.pass(2 * MARGIN_MS);
  expect(w.fenced()).toEqual([2]);
  await w.beat(2);
  expect(w.fenced()).toEqual([]);
});

test('a controller that stood still fences nobody for it: a late tick is one tick, judged after what arrived', async () => {
  const w = await world();
  await w.pass(BROKER_SESSION_MS - MARGIN_MS);
  w.stall.begin();
  await w.scheduler.advance(20 * BROKER_SESSION_MS);
  w.stall.end();
  await w.pass(0);
  expect(w.fenced()).toEqual([]);
  for (const node of [1, 2]) await w.beat(node);
  await w.pass(BROKER_SESSION_MS - MARGIN_MS);
  expect(w.fenced()).toEqual([]);
  await w.pass(2 * MARGIN_MS);
  expect(w.fenced()).toEqual([1, 2]);
});

test('a new leadership gives everybody the full time', async () => {
  const w = await world();
  await w.pass(BROKER_SESSION_MS - MARGIN_MS);
  w.group.follow(2, OTHER);
  await w.pass(10 * BROKER_SESSION_MS);
  await w.lead(3);
  await w.pass(BROKER_SESSION_MS - MARGIN_MS);
  expect(w.fenced()).toEqual([]);
  await w.pass(2 * MARGIN_MS);
  expect(w.fenced()).toEqual([1, 2]);
});

test('a heartbeat of an earlier start keeps nobody alive', async () => {
  const w = await world();
  const registration = registrationOf(2, { start: 1 });
  await w.say({ verb: 'register', request: { clusterId: 'c', registration } });
  const request = { nodeId: nodeId(2), incarnation: startOf(2, 1), readiness: 'ready' } as const;
  await w.say({ verb: 'heartbeat', request });
  for (let passed = 0; passed <= BROKER_SESSION_MS; passed += MARGIN_MS) {
    await w.beat(1);
    expect((await w.beat(2)).result).toMatchObject({ ok: false, problem: { facts: { reason: 'stale-incarnation' } } });
    await w.pass(MARGIN_MS);
  }
  await w.pass(MARGIN_MS);
  expect(w.fenced()).toEqual([2]);
});

test('a topic that is created again by the same request is the same topic; an id that was spent is refused', async () => {
  const w = await world();
  const create = (name: string, id: number) =>
    w.say({ verb: 'createTopic', request: { topicId: topicIdOf(id), name, partitionCount: 1 } });
  const first = await create('orders', 1);
  expect(await create('orders', 1)).toMatchObject({ result: first.result });
  expect((await create('orders', 2)).result).toMatchObject({ ok: false, problem: { code: 'TOPIC_EXISTS' } });
  expect((await create('others', 1)).result).toMatchObject({ ok: false, problem: { code: 'TOPIC_EXISTS' } });
  await w.say({ verb: 'deleteTopic', request: { name: 'orders' } });
  expect((await create('orders', 1)).result).toMatchObject({ ok: false, problem: { code: 'TOPIC_EXISTS' } });
  expect(await create('orders', 3)).toMatchObject({ result: { ok: true } });
});

test('where it does not lead it only says who does', async () => {
  const w = await world();
  w.group.follow(2, OTHER);
  const answer = await w.say({ verb: 'deleteTopic', request: { name: 'orders' } });
  expect(answer.result).toMatchObject({ ok: false, problem: { code: 'NOT_LEADER', facts: { leader: 2 } } });
});
