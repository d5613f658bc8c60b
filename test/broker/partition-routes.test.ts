// Which node is asked, and in which order, while leadership moves.

import { expect, test } from 'vitest';
import type { ProduceResult } from '../../server/broker/parked-answers.ts';
import { type BrokerNode, BrokerWorld, request, TOPIC_ID } from './broker-world.ts';

const NAME = { topicId: TOPIC_ID, partition: 0 };

/** `put`: the names of the requests, whenever one is put to a node. */
const ask = (node: BrokerNode, name: string, put: string[] = []): Promise<ProduceResult> =>
  node.routes.askInOrder(NAME, node.clock.monotonicMs() + 20_000, service => {
    put.push(name);
    return service.produce({ ...NAME, ...request({ name }) });
  });

test('requests that wait for a leader are not overtaken by those that come when it serves', async () => {
  const world = await BrokerWorld.of('in-line', 1, 2, 3);
  const leader = await world.replicate({ voters: [1, 2] });
  const heir = world.node(world.node(1).partition() === leader ? 2 : 1);
  const asking = world.node(3);
  await world.until(() => leader.inSyncNodes.length === 2);
  // The heir is elected long before it knows what was acknowledged before it.
  heir.disk.judge = call =>
    call.kind === 'sync' && call.path.endsWith('.log') ? { kind: 'slow', delayMs: 350 } : { kind: 'usual' };
  expect(leader.transferTo(heir.nodeId)).toBe(true);
  await world.until(() => asking.routes.leaderOf(NAME).nodeId === heir.nodeId);
  expect(heir.partition().isServing).toBe(false);
  const put: string[] = [];
  const answers = [ask(asking, 'a', put), ask(asking, 'b', put)];
  await world.scheduler.advance(30);
  expect(asking.routes.hasLine(NAME)).toBe(true);
  answers.push(ask(asking, 'c', put));
  await world.until(() => heir.partition().isServing);
  answers.push(ask(asking, 'd', put));
  const [first, ...others] = await world.drive(Promise.all(answers));
  expect(first).toMatchObject({ ok: true, value: { baseOffset: 0 } });
  expect(others.map(answer => answer.ok)).toEqual([true, true, true]);
  // The simulated link may turn round what is put at one time; so what counts is when it was.
  expect(put.slice(-4)).toEqual(['a', 'b', 'c', 'd']);
  expect(asking.routes.hasLine(NAME)).toBe(false);
});

test('who stands in line is told when its time is over, and when the node stops', async () => {
  const world = await BrokerWorld.of('out-of-line', 1, 2);
  const node = world.node(1);
  const short = node.routes.askInOrder(NAME, node.clock.monotonicMs() + 300, service =>
    service.produce({ ...NAME, ...request() }),
  );
  const others = [ask(node, 'a'), ask(node, 'b')];
  expect(await world.drive(short)).toMatchObject({ problem: { code: 'NOT_LEADER', facts: { partition: 0 } } });
  expect(node.routes.hasLine(NAME)).toBe(true);
  node.routes.drain();
  for (const answer of await world.drive(Promise.all(others))) {
    expect(answer).toMatchObject({ problem: { code: 'SHUTTING_DOWN' } });
  }
  expect(node.routes.hasLine(NAME)).toBe(false);
});
