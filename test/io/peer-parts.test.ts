// Parts of the real peer links alone: bytes on the wire, the handshake without a connection, signs of life, parts of calls.

import { randomBytes } from 'node:crypto';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { nodeId } from '@sluice/protocol/ids';
import { CallPart_Kind } from '@sluice/protocol/peer';
import { AssertionFailure } from '../../server/base/assert.ts';
import {
  PEER_BACKOFF_MS_MAX,
  PEER_BACKOFF_MS_MIN,
  PEER_CALL_PART_BYTES,
  PEER_FRAME_BYTES_MAX,
  PEER_LONG_CALLS_MAX,
  PEER_PING_MS,
  PEER_REFUSAL_LINES_MAX,
} from '../../server/base/limits.ts';
import { PEER_PROTOCOL_VERSION } from '../../server/io/real/peer-link/admission.ts';
import { Backoff } from '../../server/io/real/peer-link/backoff.ts';
import {
  DialHandshake,
  ListenHandshake,
  NONCE_BYTES,
  SESSION_BYTES,
  type HandshakeSide,
  type HandshakeStep,
} from '../../server/io/real/peer-link/handshake.ts';
import { LifeWatch } from '../../server/io/real/peer-link/life-watch.ts';
import { PartQueue } from '../../server/io/real/peer-link/part-queue.ts';
import { RefusalLog } from '../../server/io/real/peer-link/refusal-log.ts';
import { decodeMessage, decodePart, encodeFrame, encodePing } from '../../server/io/real/peer-link/wire.ts';
import { SimulatedClock } from '../simulation/clock.ts';
import { SeededRandom } from '../simulation/random.ts';
import { Scheduler } from '../simulation/scheduler.ts';
import { bytesOf, directoryOf, identityOf, text } from './peer-worlds.ts';

describe('messages', () => {
  test('have the bytes that the protocol says', () => {
    // The checksum is the well-known one of these nine digits: e3069283.
    expect(encodeFrame(bytesOf('123456789')).toString('hex')).toBe('1a100d839206e31209313233343536373839');
    expect(encodePing().toString('hex')).toBe('2a00');
  });

  test('frames in any pieces come back as they were', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { minLength: 1, maxLength: 5 }), pieces => {
        const whole = Buffer.concat(pieces);
        fc.pre(whole.length > 0);
        const message = decodeMessage(encodeFrame(pieces));
        expect(message.kind === 'frame' && Buffer.compare(message.payload, whole)).toBe(0);
      }),
    );
  });

  test('a frame with any bit changed never comes out as another one', () => {
    const good = encodeFrame(bytesOf('a frame of some bytes'));
    let bad = 0;
    for (let bit = 0; bit < good.length * 8; bit++) {
      const changed = Buffer.from(good);
      changed[bit >> 3]! ^= 1 << (bit & 7);
      const message = decodeMessage(changed);
      // What a changed bit of the framing leaves readable is still what was sent.
      if (message.kind === 'frame') expect(text(message.payload), `bit ${bit}`).toBe('a frame of some bytes');
      else bad++;
    }
    expect(bad).toBeGreaterThan(good.length * 8 - 10);
  });

  test('a payload is a view of what arrived', () => {
    const bytes = encodeFrame(bytesOf('abc'));
    const message = decodeMessage(bytes);
    expect(message.kind === 'frame' && message.payload.buffer === bytes.buffer).toBe(true);
  });

  test('frames have their limits', () => {
    expect(() => encodeFrame(new Uint8Array(PEER_FRAME_BYTES_MAX + 1))).toThrow(AssertionFailure);
    expect(() => encodeFrame([])).toThrow(AssertionFailure);
  });
});

describe('the handshake', () => {
  const sideOf = (id: number, secret = 'a secret'): HandshakeSide => ({
    local: { ...identityOf({ id }), protocolVersion: PEER_PROTOCOL_VERSION },
    secret: Buffer.from(secret),
    nonce: randomBytes(NONCE_BYTES),
    admit: () => null,
  });
  const attempt = { lane: 'control', session: '00'.repeat(SESSION_BYTES) } as const;
  const dial = (side: HandshakeSide): DialHandshake => new DialHandshake(side, { expected: nodeId(2), attempt });

  const said = (step: HandshakeStep): Buffer => {
    if (step.kind === 'bad' || step.bytes === null) throw new Error(`${step.kind} says nothing`);
    return step.bytes;
  };

  test('opens at both ends, with who the other one is', () => {
    const [dialler, listener] = [dial(sideOf(1)), new ListenHandshake(sideOf(2))];
    const proof = said(dialler.take(said(listener.take(dialler.hello))));
    const there = listener.take(proof);
    expect(there).toMatchObject({ kind: 'open', peer: identityOf({ id: 1 }), attempt });
    expect(dialler.take(said(there))).toMatchObject({ kind: 'open', peer: identityOf({ id: 2 }) });
  });

  test('what was heard once opens nothing a second time', () => {
    const [dialler, listener] = [dial(sideOf(1)), new ListenHandshake(sideOf(2))];
    const proof = said(dialler.take(said(listener.take(dialler.hello))));
    expect(listener.take(proof).kind).toBe('open');
    const later = new ListenHandshake(sideOf(2));
    later.take(dialler.hello);
    expect(later.take(proof)).toMatchObject({ kind: 'refused', refusal: { reason: 'secret' }, isProven: false });
  });

  test('a proof sent back to the one that made it proves nothing', () => {
    const dialler = dial(sideOf(1));
    const listener = new ListenHandshake(sideOf(2));
    const proof = said(dialler.take(said(listener.take(dialler.hello))));
    expect(dialler.take(proof)).toMatchObject({ kind: 'refused', refusal: { reason: 'secret' } });
  });

  test('a listener that was not asked before the proof learns of no reason of the owner', () => {
    let asked = 0;
    const listener = new ListenHandshake({
      ...sideOf(2),
      admit() {
        asked++;
        return { reason: 'not-admitted', detail: 'a matter of the owner' };
      },
    });
    const stranger = dial(sideOf(1, 'another secret'));
    const step = listener.take(said(stranger.take(said(listener.take(stranger.hello)))));
    expect(step).toMatchObject({ kind: 'refused', refusal: { reason: 'secret' } });
    expect(asked).toBe(0);
  });

  test('a Hello that was changed on its way is not proven', () => {
    const [dialler, listener] = [dial(sideOf(1)), new ListenHandshake(sideOf(2))];
    const forged = Buffer.from(dialler.hello.toString('latin1').replace(directoryOf(1), directoryOf(9)), 'latin1');
    const proof = said(dialler.take(said(listener.take(forged))));
    expect(listener.take(proof)).toMatchObject({ kind: 'refused', refusal: { reason: 'secret' } });
  });
});

describe('signs of life', () => {
  const watch = () => {
    const scheduler = new Scheduler(new SeededRandom('life'));
    const clock = new SimulatedClock(scheduler);
    const seen: string[] = [];
    const life = new LifeWatch({ clock, ask: () => seen.push('ask'), lost: () => seen.push('lost') });
    return { scheduler, seen, life };
  };

  test('that come in time keep the peer', async () => {
    const { scheduler, seen, life } = watch();
    for (let look = 0; look < 20; look++) {
      await scheduler.advance(PEER_PING_MS);
      life.heard();
    }
    expect(new Set(seen)).toEqual(new Set(['ask']));
  });

  test('that do not come lose the peer, once, within an election timeout', async () => {
    const { scheduler, seen, life } = watch();
    life.heard();
    await scheduler.advance(1_200);
    expect(seen).toEqual(['ask', 'ask', 'ask', 'lost']);
    await scheduler.advance(5_000);
    expect(seen.at(-1)).toBe('lost');
    expect(seen).toHaveLength(4);
  });

  test('of a lane that ended are not looked for', async () => {
    const { scheduler, seen, life } = watch();
    life.stop();
    await scheduler.advance(5_000);
    expect(seen).toEqual([]);
  });

  test('that wait behind a stall of this process are heard before it looks', async () => {
    const scheduler = new Scheduler(new SeededRandom('stall'));
    const clock = new SimulatedClock(scheduler);
    const seen: string[] = [];
    let input: (() => void) | null = null;
    // A process that stood still: its timer is due, and what came meanwhile is handled right after it.
    const life = new LifeWatch({
      clock: {
        wallMs: () => clock.wallMs(),
        monotonicMs: () => clock.monotonicMs(),
        schedule: (delayMs, action) =>
          clock.schedule(delayMs, () => {
            action();
            input?.();
          }),
        defer: action => clock.defer(action),
      },
      ask: () => seen.push('ask'),
      lost: () => seen.push('lost'),
    });
    await scheduler.advance(PEER_PING_MS * 3);
    input = () => life.heard();
    await scheduler.advance(PEER_PING_MS * 3);
    expect(seen).not.toContain('lost');
  });
});

describe('parts of calls', () => {
  const queue = (pendingBytes = 0) => {
    const lane = {
      pendingBytes,
      written: [] as { call: number; at: number; bytes: number }[],
      write(message: Buffer): void {
        const frame = decodeMessage(message);
        const part = frame.kind === 'frame' ? decodePart(frame.payload) : null;
        if (part === null) throw new Error('no part');
        lane.written.push({ call: part.call, at: part.at, bytes: part.bytes.length });
      },
    };
    return { lane, parts: new PartQueue(lane) };
  };
  const kind = CallPart_Kind.REQUEST;

  test('of long ones cross in turn, few at once, and short ones between them', () => {
    const { lane, parts } = queue(Infinity);
    for (let call = 1; call <= 5; call++) parts.put({ call, kind, bytes: new Uint8Array(2 * PEER_CALL_PART_BYTES) });
    for (let call = 11; call <= 12; call++) parts.put({ call, kind, bytes: new Uint8Array(10) });
    expect(parts.queuedBytes).toBe(10 * PEER_CALL_PART_BYTES + 20);
    lane.pendingBytes = 0;
    parts.pump();
    expect(parts.queuedBytes).toBe(0);
    expect(lane.written.findIndex(({ call }) => call === 12)).toBeLessThan(4);
    const open = new Set<number>();
    for (const { call, at, bytes } of lane.written) {
      if (call > 10) continue;
      open.add(call);
      expect(open.size).toBeLessThanOrEqual(PEER_LONG_CALLS_MAX);
      if (at + bytes === 2 * PEER_CALL_PART_BYTES) open.delete(call);
    }
    expect(open.size).toBe(0);
  });

  test('that were dropped do not cross, and are not counted', () => {
    const { lane, parts } = queue(Infinity);
    parts.put({ call: 1, kind, bytes: new Uint8Array(100) });
    parts.put({ call: 2, kind, bytes: new Uint8Array(100) });
    expect([parts.drop(1), parts.drop(1)]).toEqual([true, false]);
    expect(parts.queuedBytes).toBe(100);
    lane.pendingBytes = 0;
    parts.pump();
    expect(lane.written.map(({ call }) => call)).toEqual([2]);
  });

  test('a call has left when its last part is given away, and not before', () => {
    const { lane, parts } = queue(Infinity);
    let left = 0;
    parts.put({ call: 1, kind, bytes: new Uint8Array(10), left: () => left++ });
    expect(left).toBe(0);
    lane.pendingBytes = 0;
    parts.pump();
    expect(left).toBe(1);
  });
});

describe('what is bounded', () => {
  test('waits between attempts grow, are drawn, and are never shorter than half of the first', () => {
    const backoff = new Backoff(new SeededRandom('wait'));
    const waits = Array.from({ length: 12 }, () => backoff.nextMs());
    expect(Math.min(...waits)).toBeGreaterThanOrEqual(PEER_BACKOFF_MS_MIN / 2);
    expect(Math.max(...waits)).toBeLessThanOrEqual(PEER_BACKOFF_MS_MAX);
    expect(waits.at(-1)).toBeGreaterThanOrEqual(PEER_BACKOFF_MS_MAX / 2);
    expect(new Set(waits).size).toBe(waits.length);
  });

  test('strangers get few lines in the log, the same one only one, and all are counted', async () => {
    const scheduler = new Scheduler(new SeededRandom('log'));
    const lines: unknown[] = [];
    const add = (fields: unknown): void => void lines.push(fields);
    const logger = { debug: add, info: add, warn: add, error: add, fatal: add };
    const log = new RefusalLog(logger, new SimulatedClock(scheduler));
    const refusal = { reason: 'secret', detail: 'no' } as const;
    for (let id = 0; id < 100; id++)
      for (let time = 0; time < 2; time++)
        log.refused({ refusal, peer: identityOf({ id }), remoteAddress: '10.0.0.1:1' });
    expect(lines).toHaveLength(PEER_REFUSAL_LINES_MAX);
    await scheduler.advance(60_000);
    log.refused({ refusal, peer: identityOf({ id: 1 }), remoteAddress: '10.0.0.1:1' });
    expect(lines.slice(PEER_REFUSAL_LINES_MAX)).toMatchObject([{ count: 160 }, { peer: 1 }]);
  });
});
