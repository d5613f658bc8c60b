// What server/io/peer-link.ts promises, of the real links and of the simulated ones alike.

import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { AssertionFailure } from '../../server/base/assert.ts';
import { PEER_CALL_BYTES_MAX, PEER_FRAME_BYTES_MAX } from '../../server/base/limits.ts';
import { PEER_PROTOCOL_VERSION } from '../../server/io/real/peer-link/admission.ts';
import type { Lane, PeerRefusalReason } from '../../server/io/peer-link.ts';
import { nodeId } from '@sluice/protocol/ids';
import {
  answerText,
  bytesOf,
  directoryOf,
  RealWorld,
  SimulatedWorld,
  text,
  type NodeOptions,
  type TestNode,
  type World,
} from './peer-worlds.ts';

const MIB = 1024 * 1024;
const LONG_MS = 30_000;

const worlds: readonly (readonly [string, () => World])[] = [
  ['real', () => new RealWorld()],
  ...['a', 'b', 'c'].map(seed => [`simulated, seed ${seed}`, () => new SimulatedWorld(seed)] as const),
];

describe.each(worlds)('peer links, %s', (_name, create) => {
  let world: World;

  beforeEach(() => {
    world = create();
  });

  afterEach(() => world.stop());

  /** Two nodes, the first with a session to the second. */
  const pair = async (
    first: Partial<NodeOptions> = {},
    second: Partial<NodeOptions> = {},
  ): Promise<readonly [TestNode, TestNode]> => {
    const a = await world.start({ id: 1, ...first });
    const b = await world.start({ id: 2, ...second });
    a.links.open(b.id, b.links.address);
    await world.until(() => a.ups.length === 1);
    return [a, b];
  };

  /** Sends all, waiting for room as often as it must. */
  const sendAll = (from: TestNode, to: TestNode, lane: Lane, frames: readonly Uint8Array[]): void => {
    let next = 0;
    const pump = (): void => {
      while (next < frames.length && from.links.send(to.id, lane, frames[next]!)) next++;
      if (next < frames.length) from.links.whenDrained(to.id, lane, pump);
    };
    pump();
  };

  const numbered = (count: number, byteLength: (index: number) => number): Uint8Array[] =>
    Array.from({ length: count }, (_, index) => {
      const frame = new Uint8Array(byteLength(index)).fill(index);
      new DataView(frame.buffer).setUint32(0, index);
      return frame;
    });

  describe('sessions', () => {
    test('a session is up at its dialling end, with who the peer is', async () => {
      const [a, b] = await pair({ clusterId: 'c' }, { incarnation: 7, clusterId: 'c' });
      const identity = { nodeId: b.id, directory: directoryOf(2), incarnation: 7, clusterId: 'c' };
      expect(a.ups).toEqual([identity]);
      expect(a.links.state(b.id)).toEqual({ kind: 'up', identity });
      expect(b.ups).toEqual([]);
      expect(b.links.state(a.id)).toEqual({ kind: 'closed' });
    });

    test('nothing is told and nothing sent within a call', async () => {
      const a = await world.start({ id: 1 });
      const b = await world.start({ id: 2 });
      a.links.open(b.id, b.links.address);
      expect(a.links.state(b.id)).toEqual({ kind: 'connecting', refusal: null });
      expect(a.links.send(b.id, 'control', bytesOf('x'))).toBe(false);
      expect(a.links.hasRoom(b.id, 'control')).toBe(false);
      await world.until(() => a.ups.length === 1);
      expect(a.links.hasRoom(b.id, 'control')).toBe(true);
      let isDrained = false;
      a.links.whenDrained(b.id, 'control', () => {
        isDrained = true;
        world.poke();
      });
      expect(isDrained).toBe(false);
      await world.until(() => isDrained);
    });

    test('each direction is a session of its own', async () => {
      const [a, b] = await pair();
      b.links.open(a.id, a.links.address);
      await world.until(() => b.ups.length === 1);
      a.links.send(b.id, 'control', bytesOf('to b'));
      b.links.send(a.id, 'control', bytesOf('to a'));
      await world.until(() => a.frames.length === 1 && b.frames.length === 1);
      a.links.forget(b.id);
      expect(b.links.send(a.id, 'control', bytesOf('still'))).toBe(true);
      await world.until(() => a.frames.length === 2);
    });

    test('a session that was forgotten is gone without a word, and its calls with it', async () => {
      const [a, b] = await pair({}, { call: () => new Promise(() => {}) });
      const outcome = a.links.call(b.id, bytesOf('x'), { timeoutMs: LONG_MS });
      a.links.forget(b.id);
      expect((await world.settle(outcome)).kind).not.toBe('answer');
      expect(a.links.state(b.id)).toEqual({ kind: 'closed' });
      expect(a.links.send(b.id, 'control', bytesOf('x'))).toBe(false);
      a.links.open(b.id, b.links.address);
      await world.until(() => a.ups.length === 2);
      expect(a.downs).toEqual([]);
    });

    test('a peer that is started again is met as its next incarnation, by both', async () => {
      const [a, b] = await pair({}, { incarnation: 1 });
      a.links.send(b.id, 'bulk', bytesOf('before'));
      await world.until(() => b.frames.length === 1);
      await world.kill(b);
      await world.until(() => a.downs.length === 1);
      expect(a.downs[0]).toMatchObject({ nodeId: 2, incarnation: 1 });
      expect(a.links.state(b.id).kind).toBe('connecting');
      const again = await world.start({ id: 2, incarnation: 2, address: b.links.address });
      await world.until(() => a.ups.length === 2);
      expect(a.ups[1]).toMatchObject({ nodeId: 2, incarnation: 2 });
      again.links.open(a.id, a.links.address);
      await world.until(() => again.ups.length === 1);
      again.links.send(a.id, 'control', bytesOf('from its second life'));
      await world.until(() => a.frames.length === 1);
      expect(a.frames[0]?.from).toMatchObject({ nodeId: 2, incarnation: 2 });
    });

    test('a peer that comes later than its dialler is reached', async () => {
      const a = await world.start({ id: 1 });
      const b = await world.start({ id: 2 });
      await world.kill(b);
      a.links.open(b.id, b.links.address);
      const later = await world.start({ id: 2, incarnation: 2, address: b.links.address });
      await world.until(() => a.ups.length === 1);
      expect(later.links.address).toBe(b.links.address);
    });

    test('another address ends the session to the old one', async () => {
      const [a, b] = await pair();
      const moved = await world.start({ id: 2, directory: directoryOf(2, 1) });
      a.links.open(b.id, moved.links.address);
      await world.until(() => a.ups.length === 2);
      expect(a.ups[1]).toMatchObject({ directory: directoryOf(2, 1) });
      a.links.send(b.id, 'control', bytesOf('x'));
      await world.until(() => moved.frames.length === 1);
      expect(b.frames).toEqual([]);
    });
  });

  describe('frames', () => {
    test.each(['control', 'bulk'] as const)('of the %s lane arrive whole and in order', async lane => {
      const [a, b] = await pair();
      const frames = numbered(300, index => 4 + ((index * 7919) % 60_000));
      sendAll(a, b, lane, frames);
      await world.until(() => b.frames.length === frames.length);
      expect(b.frames.every(({ bytes }, index) => Buffer.compare(bytes, frames[index]!) === 0)).toBe(true);
      expect(b.frames.every(frame => frame.lane === lane && frame.from.nodeId === 1)).toBe(true);
    });

    test('of the largest size and of one byte arrive', async () => {
      const [a, b] = await pair();
      const frames = [new Uint8Array([5]), new Uint8Array(PEER_FRAME_BYTES_MAX).fill(6)];
      sendAll(a, b, 'bulk', frames);
      await world.until(() => b.frames.length === 2);
      expect(b.frames.map(({ bytes }) => bytes.length)).toEqual([1, PEER_FRAME_BYTES_MAX]);
      expect(b.frames[1]?.bytes.every(byte => byte === 6)).toBe(true);
    });

    test('come joined that were given in pieces', async () => {
      const [a, b] = await pair();
      a.links.send(b.id, 'bulk', [bytesOf('head '), new Uint8Array(), bytesOf('tail')]);
      await world.until(() => b.frames.length === 1);
      expect(text(b.frames[0]!.bytes)).toBe('head tail');
    });

    test('beyond the limit, or empty, are the caller’s mistake', async () => {
      const [a, b] = await pair();
      expect(() => a.links.send(b.id, 'bulk', new Uint8Array(PEER_FRAME_BYTES_MAX + 1))).toThrow(AssertionFailure);
      expect(() => a.links.send(b.id, 'bulk', [])).toThrow(AssertionFailure);
    });

    test('are refused while the receiver holds the lane, and only on that lane', async () => {
      const held = Promise.withResolvers<void>();
      const [a, b] = await pair({}, { frame: (_from, lane) => (lane === 'bulk' ? held.promise : undefined) });
      const frame = new Uint8Array(MIB);
      const isBulk = ({ lane }: { readonly lane: Lane }): boolean => lane === 'bulk';
      let accepted = 0;
      const fill = (): void => {
        while (accepted < 200 && a.links.send(b.id, 'bulk', frame)) accepted++;
        if (accepted < 200) a.links.whenDrained(b.id, 'bulk', fill);
      };
      fill();
      // What is on the way fills until there is no room. No event says that none will come, but the control lane passes
      // meanwhile, and bulk stands still for as long as a hundred messages of it.
      for (let still = 0, last = 0; still < 100; still = accepted === last ? still + 1 : 0) {
        last = accepted;
        const seen = b.frames.length;
        a.links.send(b.id, 'control', bytesOf('ping'));
        await world.until(() => b.frames.length > seen);
      }
      expect(accepted).toBeLessThan(60);
      expect(a.links.hasRoom(b.id, 'bulk')).toBe(false);
      expect(b.frames.filter(isBulk)).toHaveLength(1);
      held.resolve();
      await world.until(() => b.frames.filter(isBulk).length === 200);
    });

    test('find no room while the lane has not drained, and are told when it has', async () => {
      const [a, b] = await pair();
      let accepted = 0;
      while (a.links.send(b.id, 'bulk', new Uint8Array(MIB / 2))) accepted++;
      expect(accepted).toBe(2);
      expect(a.links.hasRoom(b.id, 'bulk')).toBe(false);
      expect(a.links.hasRoom(b.id, 'control')).toBe(true);
      let drained = 0;
      a.links.whenDrained(b.id, 'bulk', () => {
        drained++;
        world.poke();
      });
      await world.until(() => drained === 1);
      expect(a.links.hasRoom(b.id, 'bulk')).toBe(true);
      await world.until(() => b.frames.length === accepted);
      expect(drained).toBe(1);
    });

    test('find no room without a session, and are told when there is one', async () => {
      const a = await world.start({ id: 1 });
      const b = await world.start({ id: 2 });
      const order: string[] = [];
      a.links.open(b.id, b.links.address);
      a.links.whenDrained(b.id, 'control', () => {
        order.push(`drained after ${a.ups.length} up`);
        world.poke();
      });
      await world.until(() => order.length > 0);
      expect(order).toEqual(['drained after 1 up']);
    });
  });

  describe('calls', () => {
    test('are answered, each with its own answer, in whatever order', async () => {
      const waiting: (() => void)[] = [];
      const [a, b] = await pair(
        {},
        {
          call: (from, request) =>
            new Promise(resolve => {
              waiting.push(() => resolve(bytesOf(`${text(request)} from ${from.nodeId}`)));
              if (waiting.length === 100) for (const answer of waiting.toReversed()) answer();
            }),
        },
      );
      const outcomes = Array.from({ length: 100 }, (_, index) =>
        a.links.call(b.id, bytesOf(`call ${index}`), { timeoutMs: LONG_MS }),
      );
      const answers = await world.settle(Promise.all(outcomes));
      expect(answers.map(answerText)).toEqual(answers.map((_, index) => `call ${index} from 1`));
    });

    test('may be empty, and as large as the limit, both ways', async () => {
      const [a, b] = await pair({}, { call: (_from, request) => Promise.resolve(request) });
      const large = new Uint8Array(PEER_CALL_BYTES_MAX);
      for (let at = 0; at < large.length; at += 4096) large[at] = at / 4096;
      const outcomes = await world.settle(
        Promise.all(
          [large, new Uint8Array(), large].map(request => a.links.call(b.id, request, { timeoutMs: LONG_MS })),
        ),
      );
      const lengths = outcomes.map(outcome => (outcome.kind === 'answer' ? outcome.bytes.length : outcome.reason));
      expect(lengths).toEqual([large.length, 0, large.length]);
      for (const outcome of [outcomes[0], outcomes[2]])
        expect(outcome?.kind === 'answer' && Buffer.compare(outcome.bytes, large)).toBe(0);
      expect(() => a.links.call(b.id, new Uint8Array(PEER_CALL_BYTES_MAX + 1), { timeoutMs: 1 })).toThrow(
        AssertionFailure,
      );
    });

    test('without a session are not sent', async () => {
      const a = await world.start({ id: 1 });
      const outcomes = [a.links.call(nodeId(2), bytesOf('x'), { timeoutMs: LONG_MS })];
      const b = await world.start({ id: 2 });
      await world.kill(b);
      a.links.open(b.id, b.links.address);
      outcomes.push(a.links.call(b.id, bytesOf('x'), { timeoutMs: LONG_MS }));
      expect((await world.settle(Promise.all(outcomes))).map(answerText)).toEqual([
        'not-sent: no-session',
        'not-sent: no-session',
      ]);
    });

    test('have an unknown outcome when the peer dies while it carries them out', async () => {
      let isGiven = false;
      const [a, b] = await pair(
        {},
        {
          call() {
            isGiven = true;
            return new Promise(() => {});
          },
        },
      );
      const outcome = a.links.call(b.id, bytesOf('x'), { timeoutMs: LONG_MS });
      await world.until(() => isGiven);
      await world.kill(b);
      expect(await world.settle(outcome)).toEqual({ kind: 'unknown', reason: 'session-ended' });
    });

    test.each(['the peer dies', 'the session is forgotten'] as const)(
      'that have not arrived when %s are never begun',
      async how => {
        const begun: number[] = [];
        const [a, b] = await pair(
          {},
          {
            call(_from, request) {
              begun.push(request.length);
              return new Promise(() => {});
            },
          },
        );
        // More than the transport takes in one turn: the last ones wait in the queue of the link.
        const outcomes = Array.from({ length: 3 }, () =>
          a.links.call(b.id, new Uint8Array(16 * MIB), { timeoutMs: LONG_MS }),
        );
        if (how === 'the peer dies') await world.kill(b);
        else a.links.forget(b.id);
        const settled = await world.settle(Promise.all(outcomes));
        expect(begun).toEqual([]);
        expect(settled.map(({ kind }) => kind)).not.toContain('answer');
        // A dead peer is noticed late where its machine died with it: all may have left by then.
        if (how !== 'the peer dies') expect(settled.at(-1)).toEqual({ kind: 'not-sent', reason: 'no-session' });
      },
    );

    test('that take too long have an unknown outcome, and the handler is told', async () => {
      let isTold = false;
      const [a, b] = await pair(
        {},
        {
          call: (_from, request, signal) =>
            new Promise(resolve => {
              signal.addEventListener('abort', () => {
                isTold = true;
                world.poke();
                resolve(request);
              });
            }),
        },
      );
      const outcome = a.links.call(b.id, bytesOf('x'), { timeoutMs: 50 });
      expect(await world.settle(outcome)).toEqual({ kind: 'unknown', reason: 'timed-out' });
      await world.until(() => isTold);
    });

    test('that are cancelled end at once, and the handler is told', async () => {
      let given = 0;
      let told = 0;
      const [a, b] = await pair(
        {},
        {
          call(_from, _request, signal) {
            given++;
            return new Promise(() => {
              signal.addEventListener('abort', () => {
                told++;
                world.poke();
              });
            });
          },
        },
      );
      const controller = new AbortController();
      const { signal } = controller;
      const outcome = a.links.call(b.id, bytesOf('x'), { timeoutMs: LONG_MS, signal });
      await world.until(() => given === 1);
      controller.abort();
      expect(await world.settle(outcome)).toEqual({ kind: 'unknown', reason: 'cancelled' });
      await world.until(() => told === 1);
      const late = a.links.call(b.id, bytesOf('x'), { timeoutMs: LONG_MS, signal });
      expect(await world.settle(late)).toEqual({ kind: 'not-sent', reason: 'cancelled' });
    });

    test('of a dialler that is gone are told to the handler', async () => {
      let given = 0;
      let told = 0;
      const [a, b] = await pair(
        {},
        {
          call(_from, _request, signal) {
            given++;
            return new Promise(() => {
              signal.addEventListener('abort', () => {
                told++;
                world.poke();
              });
            });
          },
        },
      );
      void a.links.call(b.id, bytesOf('x'), { timeoutMs: LONG_MS });
      await world.until(() => given === 1);
      await world.kill(a);
      await world.until(() => told === 1);
    });

    test('beyond the number that may wait are not sent', async () => {
      const [a, b] = await pair({}, { call: () => new Promise(() => {}) });
      const outcomes = Array.from({ length: 4_096 }, () => a.links.call(b.id, bytesOf('x'), { timeoutMs: LONG_MS }));
      const outcome = a.links.call(b.id, bytesOf('x'), { timeoutMs: LONG_MS });
      expect(await world.settle(outcome)).toEqual({ kind: 'not-sent', reason: 'crowded' });
      a.links.forget(b.id);
      const kinds = new Set((await world.settle(Promise.all(outcomes))).map(({ kind }) => kind));
      expect(kinds.has('answer')).toBe(false);
    });
  });

  describe('refusals', () => {
    const refused = async (
      first: Partial<NodeOptions>,
      second: Partial<NodeOptions>,
      open?: number,
    ): Promise<readonly [TestNode, TestNode, PeerRefusalReason | undefined]> => {
      const a = await world.start({ id: 1, ...first });
      const b = await world.start({ id: 2, directory: directoryOf(2, 1), ...second });
      const to = nodeId(open ?? 2);
      a.links.open(to, b.links.address);
      await world.until(() => a.refusals.length + a.ups.length > 0);
      expect(a.ups).toEqual([]);
      expect(a.links.state(to)).toEqual({ kind: 'connecting', refusal: a.refusals[0]?.refusal });
      expect(a.links.send(to, 'control', bytesOf('x'))).toBe(false);
      return [a, b, a.refusals[0]?.refusal.reason];
    };

    const wiped = { reason: 'wiped-directory', detail: 'node 1 is known with another directory' } as const;

    test.each<[PeerRefusalReason, string, Partial<NodeOptions>, Partial<NodeOptions>, number?]>([
      ['protocol-version', 'another version', { protocolVersion: PEER_PROTOCOL_VERSION + 1 }, {}],
      ['cluster-id', 'another cluster', { clusterId: 'one' }, { clusterId: 'two' }],
      ['secret', 'another secret', { secret: 'right' }, { secret: 'wrong' }],
      ['secret', 'a secret that is missing here', { secret: null }, {}],
      ['secret', 'a secret that is missing there', {}, { secret: null }],
      ['own-node', 'the own id of another directory', {}, { id: 1 }, 1],
      ['wrong-node', 'another node than expected', {}, {}, 3],
      ['wiped-directory', 'what the owner there knows', {}, { admit: () => wiped }],
      ['wiped-directory', 'what the owner here knows', { admit: () => wiped }, {}],
    ])('%s: %s', async (reason, _what, first, second, open) => {
      expect((await refused(first, second, open))[2]).toBe(reason);
    });

    test('own-node: a node that dials itself', async () => {
      const a = await world.start({ id: 1 });
      a.links.open(nodeId(1), a.links.address);
      await world.until(() => a.refusals.length > 0);
      expect(a.refusals[0]?.refusal.reason).toBe('own-node');
    });

    test('duplicate-node: another directory with the id of a node that is connected', async () => {
      const [a, b] = await pair();
      const double = await world.start({ id: 1, directory: directoryOf(1, 1) });
      double.links.open(b.id, b.links.address);
      await world.until(() => double.refusals.length > 0);
      expect(double.refusals[0]?.refusal.reason).toBe('duplicate-node');
      // The first one is as it was; once it is gone, the other one may come.
      a.links.send(b.id, 'control', bytesOf('still here'));
      await world.until(() => b.frames.length === 1);
      await world.settle(a.links.close());
      await world.until(() => double.ups.length === 1);
    });

    test('stale-incarnation: an earlier life of a directory that is connected', async () => {
      const [, b] = await pair({ incarnation: 5 });
      const old = await world.start({ id: 1, incarnation: 4, address: b.links.address.replace(/\d+$/, '0') });
      old.links.open(b.id, b.links.address);
      await world.until(() => old.refusals.length > 0);
      expect(old.refusals[0]?.refusal.reason).toBe('stale-incarnation');
    });

    test('a later life ends the session of an earlier one', async () => {
      const [a, b] = await pair({ incarnation: 4 });
      const next = await world.start({ id: 1, incarnation: 5, address: b.links.address.replace(/\d+$/, '0') });
      next.links.open(b.id, b.links.address);
      await world.until(() => next.ups.length === 1 && a.downs.length === 1);
      await world.until(() => a.refusals.length === 1);
      expect(a.refusals[0]?.refusal.reason).toBe('stale-incarnation');
    });

    test('is told once, and the session comes when the reason is gone', async () => {
      let refusals = 0;
      const [a] = await refused(
        {},
        {
          admit() {
            if (refusals >= 3) return null;
            refusals++;
            return wiped;
          },
        },
      );
      await world.until(() => a.ups.length === 1);
      expect(refusals).toBe(3);
      expect(a.refusals).toHaveLength(1);
    });
  });

  describe('clusters', () => {
    test('a blank node and a node of a cluster may talk', async () => {
      const [a, b] = await pair({ clusterId: 'c' });
      expect(a.ups[0]?.clusterId).toBe('');
      b.links.open(a.id, a.links.address);
      await world.until(() => b.ups.length === 1);
      expect(b.ups[0]?.clusterId).toBe('c');
    });

    test('a node that joins a cluster keeps the sessions within it and ends the others', async () => {
      const [a, b] = await pair({ clusterId: 'c' });
      const other = await world.start({ id: 3, clusterId: 'd' });
      other.links.open(b.id, b.links.address);
      b.links.open(a.id, a.links.address);
      b.links.open(other.id, other.links.address);
      await world.until(() => other.ups.length === 1 && b.ups.length === 2);
      b.links.joinCluster('c');
      await world.until(() => b.refusals.length === 1 && other.refusals.length === 1);
      expect(b.refusals[0]).toMatchObject({ to: 3, refusal: { reason: 'cluster-id' } });
      expect(b.downs.map(({ nodeId }) => nodeId)).toEqual([3]);
      expect(other.downs.map(({ nodeId }) => nodeId)).toEqual([2]);
      expect(a.downs).toEqual([]);
    });
  });
});
