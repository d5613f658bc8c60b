// Peer links on real sockets when what lies between, or at the other end, is broken or hostile.

import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { CallPart_Kind } from '@sluice/protocol/peer';
import { PEER_PROTOCOL_VERSION } from '../../server/io/real/peer-link/admission.ts';
import { PEER_CALL_BYTES_MAX, PEER_FRAME_BYTES_MAX, PEER_UNPROVEN_CONNECTIONS_MAX } from '../../server/base/limits.ts';
import { SESSION_BYTES, type LaneName } from '../../server/io/real/peer-link/handshake.ts';
import {
  encodeFrame,
  encodeHello,
  encodePing,
  encodeProof,
  encodeRefusal,
  partFrame,
} from '../../server/io/real/peer-link/wire.ts';
import { answerText, bytesOf, directoryOf, identityOf, RealWorld, text, type TestNode } from '../io/peer-worlds.ts';
import { PeerProxy } from './peer-proxy.ts';
import { RawPeer, rawSocket } from './raw-peer.ts';

const MIB = 1024 * 1024;
const LONG_MS = 30_000;

let world: RealWorld;
let proxies: PeerProxy[];

beforeEach(() => {
  world = new RealWorld();
  proxies = [];
});

afterEach(async () => {
  await world.stop();
  for (const proxy of proxies) await proxy.close();
});

const proxyTo = async (node: TestNode): Promise<PeerProxy> => {
  const proxy = await PeerProxy.to(node.links.address);
  proxies.push(proxy);
  return proxy;
};

const messages = (node: TestNode, level: string): string[] =>
  node.log.filter(line => line.level === level).map(line => line.message);

describe('on the way', () => {
  test('a frame with a changed byte is never handed over, and its session begins again', async () => {
    const [a, b] = [await world.start({ id: 1 }), await world.start({ id: 2 })];
    const proxy = await proxyTo(b);
    a.links.open(b.id, proxy.address);
    await world.until(() => a.ups.length === 1);
    const marker = Buffer.from('the byte after this is changed:');
    let changed = 0;
    proxy.pass = (bytes, way) => {
      const at = bytes.indexOf(marker);
      if (way === 'back' || at < 0) return bytes;
      changed++;
      bytes[at + marker.length]! ^= 1;
      return bytes;
    };
    for (const frame of ['first', `${marker.toString()}x`, 'behind']) a.links.send(b.id, 'bulk', bytesOf(frame));
    await world.until(() => a.downs.length === 1);
    expect(changed).toBe(1);
    expect(b.frames.map(({ bytes }) => text(bytes))).toEqual(['first']);
    const line = b.log.find(({ level }) => level === 'warn');
    expect(line).toMatchObject({ message: 'a peer said what cannot be', fields: { peer: 1 } });
    expect(line?.fields['detail']).toContain('checksum');
    await world.until(() => a.ups.length === 2);
    a.links.send(b.id, 'bulk', bytesOf('again'));
    await world.until(() => b.frames.length === 2);
  });

  test.each([[['there']], [['back']], [['there', 'back']]] as const)(
    'a link that passes nothing (%s) ends the session at both ends, and comes back',
    async ways => {
      let given = 0;
      let told = 0;
      const a = await world.start({ id: 1 });
      const b = await world.start({
        id: 2,
        call(_from, _request, signal) {
          given++;
          return new Promise(() => {
            signal.addEventListener('abort', () => {
              told++;
              world.poke();
            });
          });
        },
      });
      const proxy = await proxyTo(b);
      a.links.open(b.id, proxy.address);
      await world.until(() => a.ups.length === 1);
      const outcome = a.links.call(b.id, bytesOf('x'), { timeoutMs: LONG_MS });
      await world.until(() => given === 1);
      for (const way of ways) proxy.silence(way);
      await world.until(() => a.downs.length === 1 && told === 1);
      expect(await outcome).toEqual({ kind: 'unknown', reason: 'session-ended' });
      proxy.heal();
      await world.until(() => a.ups.length === 2);
    },
  );

  test('the secret itself never passes', async () => {
    const secret = 'open sesame, said the one to the other';
    const [a, b] = [await world.start({ id: 1, secret }), await world.start({ id: 2, secret })];
    const proxy = await proxyTo(b);
    const passed: Buffer[] = [];
    proxy.pass = bytes => {
      passed.push(Buffer.from(bytes));
      return bytes;
    };
    a.links.open(b.id, proxy.address);
    await world.until(() => a.ups.length === 1);
    const all = Buffer.concat(passed).toString('latin1');
    expect(all).toContain(directoryOf(1));
    expect(all).not.toContain(secret);
  });
});

describe('refusals', () => {
  test.each([
    ['secret', { secret: 'another' }],
    ['cluster-id', { clusterId: 'another' }],
    ['protocol-version', { protocolVersion: 9 }],
  ] as const)(
    '%s: one line at each side, with the same sentence, however often it is tried',
    async (reason, options) => {
      const a = await world.start({ id: 1, clusterId: 'c' });
      let asked = 0;
      const b = await world.start({ id: 2, clusterId: 'c', ...options });
      const proxy = await proxyTo(b);
      proxy.pass = bytes => {
        if (bytes.includes(directoryOf(1))) asked++;
        world.poke();
        return bytes;
      };
      a.links.open(b.id, proxy.address);
      await world.until(() => asked >= 3);
      const refusals = (node: TestNode) => node.log.filter(({ message }) => message === 'a peer was refused');
      const [here, there] = [refusals(a), refusals(b)];
      expect(here).toHaveLength(1);
      expect(there).toHaveLength(1);
      expect(here[0]?.fields).toMatchObject({ peer: 2, reason });
      expect(there[0]?.fields).toMatchObject({ peer: 1, reason, detail: here[0]?.fields['detail'] });
    },
  );
});

describe('calls', () => {
  test('a short one overtakes long ones, both ways', async () => {
    const order: string[] = [];
    const a = await world.start({ id: 1 });
    const b = await world.start({ id: 2 });
    a.links.open(b.id, b.links.address);
    await world.until(() => a.ups.length === 1);
    const call = async (name: string, bytes: Uint8Array): Promise<void> => {
      const outcome = await a.links.call(b.id, bytes, { timeoutMs: LONG_MS });
      order.push(outcome.kind === 'answer' && outcome.bytes.length === bytes.length ? name : outcome.kind);
    };
    await Promise.all([
      call('long', new Uint8Array(17 * MIB)),
      call('long', new Uint8Array(17 * MIB)),
      call('short', bytesOf('x')),
    ]);
    expect(order).toEqual(['short', 'long', 'long']);
  });

  test('requests beyond the memory for them are refused before they begin', async () => {
    let given = 0;
    const a = await world.start({ id: 1 });
    const b = await world.start({
      id: 2,
      call() {
        given++;
        return new Promise(() => {});
      },
    });
    a.links.open(b.id, b.links.address);
    await world.until(() => a.ups.length === 1);
    const request = new Uint8Array(16 * MIB);
    for (let count = 1; count <= 8; count++) {
      void a.links.call(b.id, request, { timeoutMs: LONG_MS });
      await world.until(() => given === count);
    }
    const outcome = await a.links.call(b.id, bytesOf('x'), { timeoutMs: LONG_MS });
    expect(answerText(outcome)).toBe('not-sent: crowded');
    expect(given).toBe(8);
  });

  test('answers beyond the memory for them are dropped: the outcome is unknown', async () => {
    const waiting: (() => void)[] = [];
    const a = await world.start({ id: 1 });
    const b = await world.start({
      id: 2,
      call: () =>
        new Promise(resolve => {
          waiting.push(() => resolve(new Uint8Array(16 * MIB)));
        }),
    });
    a.links.open(b.id, b.links.address);
    await world.until(() => a.ups.length === 1);
    const outcomes = Array.from({ length: 6 }, () => a.links.call(b.id, bytesOf('x'), { timeoutMs: LONG_MS }));
    await world.until(() => waiting.length === 6);
    for (const answer of waiting) answer();
    const kinds = (await Promise.all(outcomes)).map(outcome =>
      outcome.kind === 'answer' ? 'answer' : answerText(outcome),
    );
    expect(kinds.filter(kind => kind === 'answer')).toHaveLength(4);
    expect(kinds.filter(kind => kind === 'unknown: crowded')).toHaveLength(2);
    const after = await a.links.call(b.id, bytesOf('x'), { timeoutMs: 1 });
    expect(after.kind).not.toBe('answer');
  });

  test('requests beyond what may wait to leave are not sent', async () => {
    const a = await world.start({ id: 1 });
    const b = await world.start({ id: 2 });
    a.links.open(b.id, b.links.address);
    await world.until(() => a.ups.length === 1);
    const request = new Uint8Array(17 * MIB);
    const outcomes = await Promise.all(
      Array.from({ length: 5 }, () => a.links.call(b.id, request, { timeoutMs: LONG_MS })),
    );
    expect(outcomes.map(({ kind }) => kind)).toEqual(['answer', 'answer', 'answer', 'not-sent', 'not-sent']);
  });
});

describe('hostile peers', () => {
  /** A node with a session from a good peer, which must not notice anything. */
  const served = async (): Promise<readonly [TestNode, () => Promise<void>]> => {
    const [good, node] = [await world.start({ id: 1 }), await world.start({ id: 2 })];
    good.links.open(node.id, node.links.address);
    await world.until(() => good.ups.length === 1);
    const expectServing = async (): Promise<void> => {
      const { length } = node.frames;
      expect(good.links.send(node.id, 'control', bytesOf('still here'))).toBe(true);
      await world.until(() => node.frames.length > length);
      expect(answerText(await good.links.call(node.id, bytesOf('x'), { timeoutMs: LONG_MS }))).toBe('x');
      expect(good.downs).toEqual([]);
    };
    return [node, expectServing];
  };

  test('bytes that are no HTTP/2 end at most their own connection', async () => {
    const [node, expectServing] = await served();
    const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    await fc.assert(
      fc.asyncProperty(fc.boolean(), fc.uint8Array({ minLength: 1, maxLength: 300 }), async (hasPreface, bytes) => {
        const socket = await rawSocket(node.links.address);
        await new Promise<void>(resolve => {
          socket.write(hasPreface ? Buffer.concat([preface, bytes]) : bytes, () => resolve());
        });
        socket.destroy();
      }),
      { numRuns: 100 },
    );
    await expectServing();
  });

  const hello = (fields: Parameters<typeof encodeHello>[0] = {}): Buffer =>
    encodeHello({
      protocolVersion: PEER_PROTOCOL_VERSION,
      nodeId: 7,
      directory: directoryOf(7),
      incarnation: 1n,
      nonce: randomBytes(32),
      expectedNodeId: 2,
      session: randomBytes(16),
      ...fields,
    });

  test.each<[string, readonly Buffer[]]>([
    ['nothing that is a message', [Buffer.from('hello?')]],
    ['an empty message', [Buffer.alloc(0)]],
    ['a frame first', [encodeFrame(bytesOf('x'))]],
    ['a ping first', [encodePing()]],
    ['a proof first', [encodeProof(randomBytes(32))]],
    ['two hellos', [hello(), hello()]],
    ['a hello and a frame', [hello(), encodeFrame(bytesOf('x'))]],
    ['a hello and a made-up proof', [hello(), encodeProof(randomBytes(32))]],
    ['a hello and an empty proof', [hello(), encodeProof(new Uint8Array())]],
    ['a hello and a refusal', [hello(), encodeRefusal({ reason: 'secret', detail: 'x'.repeat(10_000) })]],
    ['a short nonce', [hello({ nonce: new Uint8Array(3) })]],
    ['a hello of great length', [hello({ clusterId: 'x'.repeat(100_000) })]],
    ['a directory that is none', [hello({ directory: '../..' })]],
    ['an incarnation that is no safe integer', [hello({ incarnation: 2n ** 60n })]],
    ['an unknown lane', [hello({ lane: 9 as never })]],
    ['a message beyond the limit', [Buffer.alloc(PEER_FRAME_BYTES_MAX + 1_000)]],
  ])('a stranger who says %s is cut, and hears no proof', async (_what, said) => {
    const [node, expectServing] = await served();
    const peer = new RawPeer(node.links.address);
    for (const message of said) peer.say(message);
    await peer.ended;
    expect(peer.messages.map(({ kind }) => kind)).not.toContain('proof');
    await expectServing();
  });

  test('any bytes in any place of a handshake end at most their own connection', async () => {
    const [node, expectServing] = await served();
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.oneof(fc.uint8Array({ maxLength: 60 }), fc.constantFrom(hello(), encodeProof(randomBytes(32)))), {
          minLength: 1,
          maxLength: 4,
        }),
        async said => {
          const peer = new RawPeer(node.links.address);
          for (const message of said) peer.say(message);
          // A stranger who says too little would wait for its time to be over.
          peer.say(Buffer.from('the end'));
          await peer.ended;
          expect(peer.messages.map(({ kind }) => kind)).not.toContain('proof');
        },
      ),
      { numRuns: 60 },
    );
    await expectServing();
  });

  const part = (init: Parameters<typeof partFrame>[0]): Buffer => encodeFrame(partFrame(init));
  const { REQUEST, ANSWER, CANCEL, REFUSED, DROPPED } = CallPart_Kind;
  const badFrame = encodeFrame(bytesOf('something'));
  badFrame[badFrame.length - 1]! ^= 1;
  const ten = new Uint8Array(10);

  test.each<[string, LaneName, readonly Buffer[]]>([
    ['a wrong checksum', 'control', [badFrame]],
    ['a wrong checksum', 'bulk', [badFrame]],
    ['bytes that are no message', 'bulk', [Buffer.from('hello?')]],
    ['a hello', 'bulk', [hello()]],
    ['a ping', 'bulk', [encodePing()]],
    ['a proof', 'control', [encodeProof(randomBytes(32))]],
    ['a part that is none', 'calls', [encodeFrame(bytesOf('no part'))]],
    ['an answer to nothing', 'calls', [part({ call: 1, kind: ANSWER })]],
    ['a refusal of nothing', 'calls', [part({ call: 1, kind: REFUSED })]],
    ['a dropped answer', 'calls', [part({ call: 1, kind: DROPPED })]],
    ['a call of number 0', 'calls', [part({ call: 0, kind: REQUEST, total: 1, bytes: new Uint8Array(1) })]],
    [
      'a request beyond the limit',
      'calls',
      [part({ call: 1, kind: REQUEST, total: PEER_CALL_BYTES_MAX + 1, bytes: ten })],
    ],
    ['more than the whole request', 'calls', [part({ call: 1, kind: REQUEST, total: 9, bytes: ten })]],
    [
      'a gap in a request',
      'calls',
      [
        part({ call: 1, kind: REQUEST, total: 30, bytes: ten }),
        part({ call: 1, kind: REQUEST, total: 30, at: 15, bytes: ten }),
      ],
    ],
    [
      'another length in the middle of a request',
      'calls',
      [
        part({ call: 1, kind: REQUEST, total: 30, bytes: ten }),
        part({ call: 1, kind: REQUEST, total: 40, at: 10, bytes: ten }),
      ],
    ],
    [
      'an empty part in the middle of a request',
      'calls',
      [part({ call: 1, kind: REQUEST, total: 30, bytes: ten }), part({ call: 1, kind: REQUEST, total: 30, at: 10 })],
    ],
    [
      'the beginning of a request twice',
      'calls',
      [
        part({ call: 1, kind: REQUEST, total: 30, bytes: ten }),
        part({ call: 1, kind: REQUEST, total: 30, bytes: ten }),
      ],
    ],
  ])('a peer that says %s on its %s lane loses its session, and no more', async (_what, lane, said) => {
    const [node, expectServing] = await served();
    const identity = identityOf({ id: 7 });
    const opening = { identity, expected: identityOf({ id: 2 }), secret: 'a secret' };
    const session = randomBytes(SESSION_BYTES).toString('hex');
    const control = await RawPeer.open(node.links.address, { ...opening, lane: 'control', session });
    const peer = lane === 'control' ? control : await RawPeer.open(node.links.address, { ...opening, lane, session });
    expect(peer).not.toBeNull();
    for (const message of said) peer?.say(message);
    await Promise.all([peer?.ended, control?.ended]);
    expect(node.frames.filter(({ from }) => from.nodeId === 7)).toEqual([]);
    expect(messages(node, 'warn')).toEqual(['a peer said what cannot be']);
    await expectServing();
  });

  test('what belongs to a call that was given up is not held against anybody', async () => {
    const [node, expectServing] = await served();
    const opening = { identity: identityOf({ id: 7 }), expected: identityOf({ id: 2 }), secret: 'a secret' };
    const session = randomBytes(SESSION_BYTES).toString('hex');
    const control = await RawPeer.open(node.links.address, { ...opening, lane: 'control', session });
    const calls = await RawPeer.open(node.links.address, { ...opening, lane: 'calls', session });
    for (const message of [
      part({ call: 5, kind: CANCEL }),
      part({ call: 6, kind: REQUEST, total: 30, bytes: ten }),
      part({ call: 6, kind: CANCEL }),
      part({ call: 6, kind: REQUEST, total: 30, at: 10, bytes: ten }),
      part({ call: 7, kind: REQUEST, total: 10, bytes: ten }),
    ])
      calls?.say(message);
    const answer = await calls?.next();
    expect(answer?.kind).toBe('frame');
    expect(messages(node, 'warn')).toEqual([]);
    control?.close();
    await calls?.ended;
    await expectServing();
  });

  test('lanes of a session that is not there are not opened', async () => {
    const [node, expectServing] = await served();
    const opening = { identity: identityOf({ id: 7 }), expected: identityOf({ id: 2 }), secret: 'a secret' };
    for (const lane of ['bulk', 'calls'] as const)
      expect(await RawPeer.open(node.links.address, { ...opening, lane })).toBeNull();
    const control = await RawPeer.open(node.links.address, { ...opening, lane: 'control' });
    expect(control).not.toBeNull();
    expect(await RawPeer.open(node.links.address, { ...opening, lane: 'bulk' })).toBeNull();
    control?.close();
    await expectServing();
  });

  test('strangers who say nothing are few at once, and cut in time', async () => {
    const [node, expectServing] = await served();
    const silent = await Promise.all(
      Array.from({ length: PEER_UNPROVEN_CONNECTIONS_MAX }, () => rawSocket(node.links.address)),
    );
    const oneMore = await rawSocket(node.links.address);
    await once(oneMore, 'close');
    await expectServing();
    const late = await world.start({ id: 3 });
    late.links.open(node.id, node.links.address);
    for (const socket of silent) {
      socket.resume();
      if (!socket.closed) await once(socket, 'close');
    }
    await world.until(() => late.ups.length === 1);
    await expectServing();
  });
});
