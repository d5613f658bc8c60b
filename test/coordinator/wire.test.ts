import { nodeId, offset } from '@sluice/protocol/ids';
import { encodeBatch, stampBatch } from '@sluice/protocol/record';
import { describe, expect, test } from 'vitest';
import {
  decodePrepare,
  decodePrepareAnswer,
  decodeStanding,
  encodePrepare,
  encodePrepareAnswer,
  encodeStanding,
} from '../../server/coordinator/founding-message.ts';
import { decodeKeptImage, encodeKeptImage } from '../../server/coordinator/image-snapshots.ts';
import { decodeTransfer, encodeTransfer } from '../../server/coordinator/leader-transfers.ts';
import { readMembership, writeMembership } from '../../server/coordinator/membership.ts';
import {
  type CommandAnswer,
  decodeCommand,
  decodeCommandAnswer,
  encodeCommand,
  encodeCommandAnswer,
  type MetadataVerb,
} from '../../server/coordinator/metadata-command.ts';
import {
  decodePullAnswer,
  decodePullRequest,
  encodePullAnswer,
  encodePullRequest,
  type PullAnswer,
} from '../../server/coordinator/pull-message.ts';
import { isContiguous, recordsOf } from '../../server/coordinator/record-log.ts';
import { commands, coordinatorDecoders } from '../fuzz/coordinator-decoders.ts';
import { fuzzDecoders } from '../fuzz/decoder-run.ts';
import { SimulatedDisk } from '../simulation/disk.ts';
import { SeededRandom } from '../simulation/random.ts';
import { Scheduler } from '../simulation/scheduler.ts';
import { ClusterWorld, directoryOf, plain, replicaOf, topicIdOf } from '../state/cluster/cluster-world.ts';

const hint = { leader: nodeId(3), term: 7 };
/** With bytes as text, whatever they are a view of. */
const hexOf = (answer: PullAnswer | null): unknown => {
  if (answer?.kind === 'records')
    return { ...answer, batches: answer.batches.map(each => Buffer.from(each).toString('hex')) };
  return answer?.kind === 'chunk' ? { ...answer, bytes: Buffer.from(answer.bytes).toString('hex') } : answer;
};
const json = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value));

describe('what crosses between nodes', () => {
  test('is the same command at the other end', () => {
    for (const command of commands) expect(decodeCommand(encodeCommand(command))).toEqual(command);
  });

  test('is no command when something is missing, or of another kind', () => {
    for (const command of commands) {
      for (const member of Object.keys(command.request)) {
        const isOptional = ['partitionCount', 'replicationFactor', 'config'].includes(member);
        if (isOptional && command.verb !== 'createInternalTopic') continue;
        if (member === 'config') continue;
        const { [member]: _, ...rest } = command.request as unknown as Record<string, unknown>;
        expect(decodeCommand(json({ verb: command.verb, request: rest }))).toBe(null);
        expect(decodeCommand(json({ verb: command.verb, request: { ...rest, [member]: {} } }))).toBe(null);
      }
    }
    expect(decodeCommand(json({ verb: 'later', request: {} }))).toBe(null);
    expect(decodeCommand(json(null))).toBe(null);
    expect(decodeCommand(Uint8Array.of(0xff))).toBe(null);
    // The state machine asserts the names of internal topics.
    const request = { topicId: topicIdOf(1), name: 'orders', partitionCount: 1 };
    expect(decodeCommand(json({ verb: 'createInternalTopic', request }))).toBe(null);
  });

  test('is the same answer', () => {
    const problem = { code: 'NOT_LEADER', detail: 'elsewhere', facts: { leader: 2, why: null, sure: true } } as const;
    const cases: readonly [MetadataVerb, CommandAnswer['result']][] = [
      ['found', { ok: true, value: null }],
      ['heartbeat', { ok: true, value: { fenced: false } }],
      ['createTopic', { ok: true, value: { topicId: topicIdOf(4) } }],
      ['allocateProducerIds', { ok: true, value: { first: 1_000, count: 1_000 } }],
      ['alterTopic', { ok: false, problem }],
    ];
    for (const [verb, result] of cases) {
      for (const each of [hint, { leader: null, term: 0 }]) {
        const answer = { result, end: 12, hint: each };
        expect(decodeCommandAnswer(verb, encodeCommandAnswer(answer))).toEqual(answer);
      }
    }
    const wrong = encodeCommandAnswer({ result: { ok: true, value: null }, end: 1, hint });
    expect(decodeCommandAnswer('createTopic', wrong)).toBe(null);
    // A code of a later release is told as something that went wrong there.
    const later = json({ ok: false, problem: { code: 'NEW', detail: 'd', facts: {} }, end: 1, leader: null, term: 1 });
    expect(decodeCommandAnswer('found', later)?.result).toMatchObject({ problem: { code: 'INTERNAL' } });
  });

  test('is the same question and answer of those that follow', () => {
    const request = { next: offset(2 ** 40), waitMs: 5_000, snapshot: offset(3), chunk: 2 };
    expect(decodePullRequest(encodePullRequest(request))).toEqual(request);
    const batch = encodeBatch([{ key: null, value: 'v', timestamp: 1 }]);
    const answers: readonly PullAnswer[] = [
      { kind: 'not-served', hint: { leader: null, term: 0 } },
      { kind: 'records', hint, batches: [] },
      { kind: 'records', hint, batches: [batch, batch] },
      { kind: 'chunk', hint, snapshot: offset(9), chunk: 4, bytes: Uint8Array.of(1, 2, 3) },
    ];
    for (const answer of answers) {
      const decoded = decodePullAnswer(Uint8Array.from(encodePullAnswer(answer)));
      expect(hexOf(decoded)).toEqual(hexOf(answer));
    }
    const damaged = Uint8Array.from(encodePullAnswer(answers[2]!));
    damaged[damaged.length - 1]! ^= 1;
    expect(decodePullAnswer(damaged)).toBe(null);
  });

  test('is the same standing, promise and transfer', () => {
    const standing = {
      clusterId: 'c',
      directoryId: directoryOf(1),
      standing: 'founded',
      listed: [1, 2],
      voters: [replicaOf(1)],
    } as const;
    expect(decodeStanding(encodeStanding(standing))).toEqual(standing);
    const membership = { clusterId: 'c', voters: [replicaOf(1)], nodes: [{ nodeId: nodeId(2), address: 'h:1' }] };
    expect(decodePrepare(encodePrepare(membership))).toEqual(membership);
    expect(decodePrepare(encodePrepare({ ...membership, clusterId: '' }))).toBe(null);
    const answer = { accepted: true, detail: '' };
    expect(decodePrepareAnswer(encodePrepareAnswer(answer))).toEqual(answer);
    const transfer = { topicId: topicIdOf(1), partition: 7, to: nodeId(2) };
    expect(decodeTransfer(encodeTransfer(transfer))).toEqual(transfer);
  });

  test('is answered whatever it is', async () => {
    const outcome = await fuzzDecoders(coordinatorDecoders, { seed: 'coordinator', inputs: 20_000 });
    expect(outcome.findings).toEqual([]);
  });
});

describe('batches of the log', () => {
  const batchAt = (base: number, ...values: readonly string[]): Uint8Array => {
    const batch = encodeBatch(values.map(value => ({ key: null, value, timestamp: 1 })));
    stampBatch(batch, { baseOffset: base, leaderEpoch: 1 });
    return batch;
  };

  test('give the records from an offset on', () => {
    const { records, next } = recordsOf([batchAt(4, 'a', 'b', 'c'), batchAt(7, 'd')], offset(5));
    expect(records.map(record => Buffer.from(record.value!).toString())).toEqual(['b', 'c', 'd']);
    expect(next).toBe(8);
  });

  test('leave nothing out, or are not taken', () => {
    const [first, second] = [batchAt(4, 'a', 'b'), batchAt(6, 'c')];
    expect(isContiguous([first, second], offset(5))).toBe(true);
    expect(isContiguous([], offset(5))).toBe(true);
    expect(isContiguous([first, second], offset(3))).toBe(false);
    expect(isContiguous([first, batchAt(7, 'c')], offset(4))).toBe(false);
    expect(isContiguous([first, first], offset(4))).toBe(false);
  });
});

describe('a kept image', () => {
  test('is read as it was written', () => {
    const { image } = ClusterWorld.ofCount(4);
    const read = decodeKeptImage(encodeKeptImage({ image, next: offset(17) }));
    expect(read.kind).toBe('image');
    if (read.kind !== 'image') return;
    expect(plain(read.kept.image)).toEqual(plain(image));
    expect(read.kept.next).toBe(17);
  });

  test('is damaged when any bit of it differs, or a part is missing', () => {
    const { image } = ClusterWorld.ofCount(2);
    const bytes = Uint8Array.from(encodeKeptImage({ image, next: offset(17) }));
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const changed = Uint8Array.from(bytes);
      changed[bit >> 3]! ^= 1 << (bit & 7);
      expect(decodeKeptImage(changed).kind).not.toBe('image');
    }
    for (let length = 0; length < bytes.length; length++) {
      expect(decodeKeptImage(bytes.subarray(0, length)).kind).toBe('damaged');
    }
    expect(decodeKeptImage(Uint8Array.from([...bytes, 0])).kind).toBe('damaged');
  });
});

describe('a membership', () => {
  test('is kept whole, and a damaged one refuses the start', async () => {
    const scheduler = new Scheduler(new SeededRandom('membership'));
    const simulated = new SimulatedDisk({ scheduler, random: new SeededRandom('disk') });
    const disk = simulated.mount();
    await scheduler.drive(disk.makeDirectory('/data'));
    expect(await scheduler.drive(readMembership(disk, '/data'))).toBe(null);
    const membership = { clusterId: 'c', voters: [replicaOf(1)], nodes: [{ nodeId: nodeId(2), address: 'h:1' }] };
    await scheduler.drive(writeMembership(disk, '/data', membership));
    expect(await scheduler.drive(readMembership(disk, '/data'))).toEqual(membership);
    const text = Buffer.from(simulated.contents('/data/cluster.json')).toString();
    const at = text.indexOf('"c"');
    simulated.rot('/data/cluster.json', at + 1, byte => byte + 1);
    await expect(scheduler.drive(readMembership(disk, '/data'))).rejects.toThrow(
      /cluster.json is not as it was written/,
    );
  });
});
