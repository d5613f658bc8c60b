// What nodes ask of each other: the table of kinds, and what an answer says for certain.

import { nodeId } from '@sluice/protocol/ids';
import { describe, expect, test } from 'vitest';
import { PEER_REQUESTS_PER_KIND_MAX } from '../../server/base/limits.ts';
import type { PeerIdentity } from '../../server/io/peer-link.ts';
import { askPeer, type PeerAnswer, PeerRequests } from '../../server/replication/peer-request.ts';
import { SimulatedNetwork } from '../simulation/network.ts';
import { SeededRandom } from '../simulation/random.ts';
import { Scheduler } from '../simulation/scheduler.ts';

const ECHO = 7;
const HELD = 8;

const identity = (id: number): PeerIdentity => ({
  nodeId: nodeId(id),
  directory: `0000000${id}-0000-4000-8000-000000000000`,
  incarnation: 1,
  clusterId: 'c',
});

/** One node that asks another one. */
const asker = async (): Promise<(kind: number, body: string) => Promise<PeerAnswer>> => {
  const random = new SeededRandom('requests');
  const scheduler = new Scheduler(random.fork('order'));
  const network = new SimulatedNetwork({ scheduler, random: random.fork('network') });
  const requests = new PeerRequests();
  requests.register(ECHO, (from, body) => Promise.resolve(Buffer.concat([Uint8Array.of(from.nodeId), body])));
  requests.register(HELD, () => new Promise(() => undefined));
  const [one, two] = [1, 2].map(id => network.join({ address: `n${id}:1`, local: identity(id), secret: 's' }));
  const nothing = { frame: () => undefined, up: () => undefined, down: () => undefined, refused: () => undefined };
  const call = requests.handle.bind(requests);
  one!.start({ ...nothing, admit: () => null, call });
  two!.start({ ...nothing, admit: () => null, call });
  one!.open(nodeId(2), 'n2:1');
  await scheduler.driveUntil(() => one!.state(nodeId(2)).kind === 'up');
  return (kind, body) =>
    scheduler.drive(askPeer(one!, { to: nodeId(2), kind, body: Buffer.from(body) }, { timeoutMs: 1_000 }));
};

describe('requests of peers', () => {
  test('reach the handler of their kind, which knows who asks', async () => {
    const ask = await asker();
    expect(await ask(ECHO, 'word')).toEqual({ kind: 'answer', body: new Uint8Array(Buffer.from('\u0001word')) });
  });

  test('of a kind that nobody knows are certainly not carried out', async () => {
    const ask = await asker();
    expect(await ask(99, '')).toEqual({ kind: 'not-sent', reason: 'unknown-kind' });
  });

  test('that nobody answers in time have an unknown outcome', async () => {
    const ask = await asker();
    expect(await ask(HELD, '')).toEqual({ kind: 'unknown', reason: 'timed-out' });
  });

  test('of one kind are bounded, and others go on', async () => {
    const requests = new PeerRequests();
    requests.register(HELD, () => new Promise(() => undefined));
    requests.register(ECHO, (_from, body) => Promise.resolve(body));
    const { signal } = new AbortController();
    const ask = (kind: number): Promise<Uint8Array> => requests.handle(identity(1), Uint8Array.of(kind), signal);
    for (let count = 0; count < PEER_REQUESTS_PER_KIND_MAX; count++) void ask(HELD);
    expect(await ask(HELD)).toEqual(Uint8Array.of(2));
    expect(await ask(ECHO)).toEqual(Uint8Array.of(0));
  });

  test('have one handler a kind', () => {
    const requests = new PeerRequests();
    requests.register(ECHO, (_from, body) => Promise.resolve(body));
    expect(() => requests.register(ECHO, (_from, body) => Promise.resolve(body))).toThrow('have a handler');
  });
});
