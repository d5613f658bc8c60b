// The simulated network itself: that a seed decides everything, and that what a test does to it happens.

import { describe, expect, test } from 'vitest';
import type { LinkSettings } from './network-settings.ts';
import { bytesOf, SimulatedWorld, text, type TestNode } from '../io/peer-worlds.ts';

const LONG_MS = 60_000;

/** So many nodes, each with a session to each other. */
const mesh = async (world: SimulatedWorld, count: number): Promise<readonly TestNode[]> => {
  const nodes: TestNode[] = [];
  for (let id = 1; id <= count; id++) nodes.push(await world.start({ id }));
  for (const from of nodes) for (const to of nodes) if (from !== to) from.links.open(to.id, to.links.address);
  await world.until(() => nodes.every(node => node.ups.length === count - 1));
  return nodes;
};

const send = (from: TestNode, to: TestNode, word: string): boolean => from.links.send(to.id, 'control', bytesOf(word));
const heard = (node: TestNode): string[] => node.frames.map(({ from, bytes }) => `${from.nodeId}: ${text(bytes)}`);

const rough: Partial<LinkSettings> = {
  breakChance: 0.01,
  refuseCallChance: 0.05,
  dropAnswerChance: 0.05,
  loseChance: 0.02,
  repeatChance: 0.02,
  reorderChance: 0.02,
};

/** A little life of everything at once. */
const life = async (
  seed: string,
): Promise<{ readonly trace: readonly string[]; readonly outcomes: readonly string[] }> => {
  const world = new SimulatedWorld(seed);
  world.network.settings = { ...world.network.settings, ...rough };
  const nodes = await mesh(world, 3);
  const outcomes: string[] = [];
  const draw = world.random.fork('life');
  for (let step = 0; step < 400; step++) {
    const [from, to] = draw.shuffled(nodes) as [TestNode, TestNode, TestNode];
    from.links.send(to.id, draw.pick(['control', 'bulk']), draw.bytes(1 + draw.below(2_000)));
    if (draw.chance(0.2)) {
      const call = from.links.call(to.id, draw.bytes(100), { timeoutMs: 20 });
      void call.then(outcome =>
        outcomes.push(outcome.kind === 'answer' ? 'answer' : `${outcome.kind} ${outcome.reason}`),
      );
    }
    if (draw.chance(0.01)) world.network.cut(from.id, to.id, draw.pick(['cut', 'silent']));
    if (draw.chance(0.01)) world.network.heal();
    if (draw.chance(0.01)) world.network.breakSessions(from.id, to.id);
    await world.scheduler.advance(draw.fraction() * 20);
  }
  await world.scheduler.advance(30_000);
  return { trace: world.trace, outcomes };
};

describe('a seed', () => {
  test('gives the same trace, and another seed another one', async () => {
    const [one, again, other] = [await life('one'), await life('one'), await life('other')];
    expect(one.trace.length).toBeGreaterThan(250);
    expect(again).toEqual(one);
    expect(other.trace).not.toEqual(one.trace);
    expect(new Set(one.outcomes).size).toBeGreaterThan(2);
  });

  test('leaves no call without its one outcome', async () => {
    for (let seed = 0; seed < 5; seed++) {
      const world = new SimulatedWorld(`calls ${seed}`);
      world.network.settings = { ...world.network.settings, ...rough, breakChance: 0.2 };
      const nodes = await mesh(world, 2);
      const draw = world.random.fork('calls');
      let settled = 0;
      for (let call = 0; call < 100; call++) {
        const [from, to] = draw.shuffled(nodes) as [TestNode, TestNode];
        void from.links.call(to.id, bytesOf('x'), { timeoutMs: LONG_MS }).then(() => settled++);
        from.links.send(to.id, 'bulk', bytesOf('y'));
        await world.scheduler.advance(draw.fraction());
      }
      await world.scheduler.advance(LONG_MS * 2);
      expect(settled).toBe(100);
    }
  });
});

describe('a cut', () => {
  test('in one direction stops that direction alone, and then the sessions that need it', async () => {
    const world = new SimulatedWorld('one way');
    const [a, b] = (await mesh(world, 2)) as [TestNode, TestNode];
    world.network.cut(a.id, b.id);
    expect(send(a, b, 'lost')).toBe(true);
    expect(send(b, a, 'arrives')).toBe(true);
    await world.until(() => a.frames.length === 1);
    await world.until(() => a.downs.length === 1 && b.downs.length === 1);
    await world.scheduler.advance(60_000);
    expect(heard(b)).toEqual([]);
    expect([a.ups.length, b.ups.length]).toEqual([1, 1]);
    world.network.heal(a.id, b.id);
    await world.until(() => a.ups.length === 2 && b.ups.length === 2);
    expect(heard(b)).toEqual([]);
  });

  test('that is healed soon loses nothing', async () => {
    const world = new SimulatedWorld('soon');
    const [a, b] = (await mesh(world, 2)) as [TestNode, TestNode];
    world.network.cut(a.id, b.id);
    for (let word = 0; word < 50; word++) send(a, b, `${word}`);
    await world.scheduler.advance(100);
    expect(heard(b)).toEqual([]);
    world.network.heal();
    await world.until(() => b.frames.length === 50);
    await world.scheduler.advance(10_000);
    expect(heard(b)).toEqual(Array.from({ length: 50 }, (_, word) => `1: ${word}`));
    expect(a.downs).toEqual([]);
  });

  test('that is silent swallows and leaves the sessions', async () => {
    const world = new SimulatedWorld('silent');
    const [a, b] = (await mesh(world, 2)) as [TestNode, TestNode];
    world.network.cut(a.id, b.id, 'silent');
    send(a, b, 'lost');
    send(b, a, 'arrives');
    await world.scheduler.advance(60_000);
    world.network.heal();
    send(a, b, 'arrives too');
    await world.until(() => b.frames.length === 1);
    expect([heard(a), heard(b)]).toEqual([['2: arrives'], ['1: arrives too']]);
    expect([...a.downs, ...b.downs]).toEqual([]);
  });

  test('may leave a node in the middle that reaches both sides', async () => {
    const world = new SimulatedWorld('middle');
    const [a, b, c] = (await mesh(world, 3)) as [TestNode, TestNode, TestNode];
    world.network.partition([a.id], [c.id]);
    await world.until(() => a.downs.length === 1 && c.downs.length === 1);
    expect([send(a, b, 'x'), send(b, c, 'x'), send(c, b, 'x'), send(b, a, 'x')]).toEqual([true, true, true, true]);
    expect([send(a, c, 'x'), send(c, a, 'x')]).toEqual([false, false]);
    await world.until(() => b.frames.length === 2 && a.frames.length === 1 && c.frames.length === 1);
    await world.scheduler.advance(10_000);
    expect(b.downs).toEqual([]);
    world.network.heal();
    await world.until(() => a.links.state(c.id).kind === 'up' && c.links.state(a.id).kind === 'up');
  });
});

describe('a link', () => {
  test('that is slow takes its time, and has no room meanwhile', async () => {
    const world = new SimulatedWorld('slow');
    const [a, b] = (await mesh(world, 2)) as [TestNode, TestNode];
    world.network.setLink(a.id, b.id, { bytesPerMs: 1_000 });
    const startMs = world.scheduler.nowMs;
    expect(a.links.send(b.id, 'bulk', new Uint8Array(1_000_000))).toBe(true);
    expect(a.links.send(b.id, 'bulk', new Uint8Array(1_000_000))).toBe(true);
    expect(a.links.hasRoom(b.id, 'bulk')).toBe(false);
    await world.until(() => b.frames.length === 1);
    expect(world.scheduler.nowMs - startMs).toBeGreaterThanOrEqual(1_000);
    expect(a.links.hasRoom(b.id, 'bulk')).toBe(true);
  });

  test.each<[string, Partial<LinkSettings>, (numbers: readonly number[]) => boolean]>([
    ['loses frames', { loseChance: 0.1 }, numbers => numbers.length < 300 && new Set(numbers).size === numbers.length],
    ['repeats frames', { repeatChance: 0.1 }, numbers => numbers.length > 300 && new Set(numbers).size === 300],
    [
      'reorders frames',
      { reorderChance: 0.1 },
      numbers => numbers.length === 300 && numbers.some((number, at) => at > 0 && number < numbers[at - 1]!),
    ],
  ])('that %s does so, and its session stays', async (_what, settings, judge) => {
    const world = new SimulatedWorld('worse');
    const [a, b] = (await mesh(world, 2)) as [TestNode, TestNode];
    world.network.setLink(a.id, b.id, settings);
    for (let number = 0; number < 300; number++) {
      expect(send(a, b, `${number}`)).toBe(true);
      await world.scheduler.advance(0.1);
    }
    await world.scheduler.advance(1_000);
    expect(judge(b.frames.map(({ bytes }) => Number(text(bytes))))).toBe(true);
    expect(a.downs).toEqual([]);
  });

  test('that is reset while nothing passes is noticed all the same', async () => {
    const world = new SimulatedWorld('reset in a cut');
    const [a, b] = (await mesh(world, 2)) as [TestNode, TestNode];
    world.network.partition([a.id], [b.id]);
    world.network.breakSessions(a.id, b.id);
    await world.scheduler.advance(50);
    world.network.heal();
    await world.until(() => a.ups.length === 2);
    send(a, b, 'again');
    await world.until(() => b.frames.length === 1);
  });

  test('that breaks loses what is under way and all behind it, never what is before', async () => {
    for (let seed = 0; seed < 20; seed++) {
      const world = new SimulatedWorld(`break ${seed}`);
      const [a, b] = (await mesh(world, 2)) as [TestNode, TestNode];
      world.network.setLink(a.id, b.id, { breakChance: 0.02 });
      for (let number = 0; number < 300 && a.downs.length === 0; number++) {
        send(a, b, `${number}`);
        await world.scheduler.advance(0.1);
      }
      await world.scheduler.advance(10);
      const numbers = b.frames.map(({ bytes }) => Number(text(bytes)));
      const sessionEnd = numbers.length;
      if (a.downs.length > 0)
        expect(numbers.slice(0, sessionEnd)).toEqual(Array.from({ length: sessionEnd }, (_, at) => at));
    }
  });
});

describe('a life that ended', () => {
  test('hears nothing and settles nothing, and its peers notice', async () => {
    const world = new SimulatedWorld('dead');
    const [a, b, c] = (await mesh(world, 3)) as [TestNode, TestNode, TestNode];
    let settled = 0;
    for (const node of [b, c]) void a.links.call(node.id, bytesOf('x'), { timeoutMs: 100 }).then(() => settled++);
    send(b, a, 'x');
    await world.kill(a);
    send(c, a, 'x');
    await world.until(() => b.downs.length === 1 && c.downs.length === 1);
    await world.scheduler.advance(60_000);
    expect(settled).toBe(0);
    expect([a.frames, a.downs]).toEqual([[], []]);
    const again = await world.start({ id: 1, incarnation: 2, address: a.links.address });
    await world.until(() => b.ups.length === 3 && c.ups.length === 3);
    send(b, again, 'welcome');
    await world.until(() => again.frames.length === 1);
  });
});
