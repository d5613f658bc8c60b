// Messages of all kinds come through the wire as they were; any other bytes are nothing, and never an exception.

import { leaderEpoch, offset, topicId } from '@sluice/protocol/ids';
import { encodeBatch, stampBatch } from '@sluice/protocol/record';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Message } from '../../server/raft/message.ts';
import type { Position } from '../../server/base/position.ts';
import type { Content } from '../../server/raft/replica.ts';
import { replicaId } from '../../server/raft/replica-id.ts';
import { splitHeads } from '../../server/replication/batch-heads.ts';
import { BulkAssembly, framesOf } from '../../server/replication/bulk-message.ts';
import { ByteWriter } from '../../server/replication/byte-writer.ts';
import type { GroupName } from '../../server/replication/group-name.ts';
import {
  readBulkMessage,
  readControlFrame,
  writeLeaderNotice,
  writeMessage,
  writeWake,
} from '../../server/replication/message-codec.ts';

const directory = (digit: string): string => `${digit.repeat(8)}-0000-4000-8000-000000000000`;
const ENDS = { from: replicaId(1, directory('a')), to: replicaId(2, directory('b')) };
const GROUP: GroupName = { topicId: topicId('01234567-89ab-4cde-8f01-23456789abcd'), partition: 7 };

const position: fc.Arbitrary<Position> = fc
  .tuple(fc.nat(0x7fffffff), fc.nat(Number.MAX_SAFE_INTEGER))
  .map(([epoch, at]) => ({ epoch: leaderEpoch(epoch), offset: offset(at) }));
const round = fc.nat(0xffffffff);
const answer = fc.constantFrom('yes' as const, 'if-all' as const, 'no' as const);

/** Everything that travels on the control lane. */
const control: fc.Arbitrary<Content> = fc.oneof(
  fc.record({ kind: fc.constant('pre-vote' as const), position }),
  fc.record({ kind: fc.constant('vote' as const), position, isTransfer: fc.boolean() }),
  fc.record({ kind: fc.constantFrom('pre-vote-answer' as const, 'vote-answer' as const), answer }),
  fc.record({ kind: fc.constant('append-matched' as const), position, commit: position }),
  fc.record({
    kind: fc.constant('append-rejected' as const),
    prev: position,
    hint: position,
    mayHaveLost: fc.boolean(),
  }),
  fc.record({ kind: fc.constant('heartbeat' as const), commit: position, readRound: round, isLast: fc.boolean() }),
  fc.record({ kind: fc.constant('heartbeat-answer' as const), commit: position, readRound: round }),
  fc.record({ kind: fc.constant('transfer' as const), commit: position, logStart: fc.nat().map(offset) }),
  fc.constant({ kind: 'outdated' as const }),
);

const TRANSFER: Content = {
  kind: 'transfer',
  commit: { epoch: leaderEpoch(2), offset: offset(5) },
  logStart: offset(4),
};

const addressed = (content: Content): Message => ({ ...content, ...ENDS, term: leaderEpoch(3), recovery: 1 });

const bytesOf = (messages: readonly Message[]): Uint8Array => {
  const writer = new ByteWriter(16);
  for (const message of messages) writeMessage(writer, { group: GROUP, message });
  return writer.finish().slice();
};

const batchAt = (baseOffset: number, count: number): Uint8Array => {
  const batch = new Uint8Array(
    encodeBatch(Array.from({ length: count }, () => ({ key: null, value: 'v', timestamp: 1 }))),
  );
  stampBatch(batch, { baseOffset, leaderEpoch: 3 });
  return batch;
};

describe('the control lane', () => {
  test('carries many messages in one frame', () => {
    fc.assert(
      fc.property(fc.array(control, { maxLength: 20 }), contents => {
        const messages = contents.map(addressed);
        const read = readControlFrame(bytesOf(messages), ENDS);
        expect(read).toEqual({
          messages: messages.map(message => ({ group: GROUP, message })),
          leaders: [],
          wakes: [],
        });
      }),
    );
  });

  test('gives nothing for a frame that is cut off anywhere', () => {
    const whole = bytesOf([addressed(TRANSFER), addressed({ kind: 'vote-answer', answer: 'yes' })]);
    const first = bytesOf([addressed(TRANSFER)]).length;
    for (let length = 1; length < whole.length; length++) {
      const read = readControlFrame(whole.subarray(0, length), ENDS);
      expect(read?.messages.length ?? null, `${length} bytes`).toBe(length === first ? 1 : null);
    }
  });

  test('carries what is said of leaders between them', () => {
    const writer = new ByteWriter(16);
    writeWake(writer, GROUP);
    writeMessage(writer, { group: GROUP, message: addressed(TRANSFER) });
    writeLeaderNotice(writer, { group: GROUP, term: leaderEpoch(9) });
    expect(readControlFrame(writer.finish().slice(), ENDS)).toEqual({
      messages: [{ group: GROUP, message: addressed(TRANSFER) }],
      leaders: [{ group: GROUP, term: 9 }],
      wakes: [GROUP],
    });
  });

  test('takes no batches', () => {
    const none = { epoch: leaderEpoch(0), offset: offset(0) };
    const append = addressed({ kind: 'append', prev: none, commit: none, logStart: offset(0), batches: [] });
    expect(readControlFrame(bytesOf([append]), ENDS)).toBeNull();
    expect(readBulkMessage(bytesOf([append]), ENDS)).toEqual({ kind: 'message', group: GROUP, message: append });
  });

  test('answers any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), bytes => {
        const read = readControlFrame(bytes, ENDS);
        expect(read === null || Array.isArray(read.messages)).toBe(true);
        readBulkMessage(bytes, ENDS);
      }),
      { numRuns: 2_000 },
    );
  });
});

describe('the bulk lane', () => {
  const batches = [batchAt(10, 2), batchAt(12, 1)];
  const heads = splitHeads(Buffer.concat(batches))!;
  const append = addressed({
    kind: 'append',
    prev: { epoch: leaderEpoch(3), offset: offset(10) },
    commit: { epoch: leaderEpoch(2), offset: offset(9) },
    logStart: offset(5),
    batches: heads,
  });

  test('carries batches as they are', () => {
    const whole = Buffer.concat([bytesOf([append]), ...batches]);
    expect(readBulkMessage(whole, ENDS)).toEqual({ kind: 'message', group: GROUP, message: append });
    expect(heads.map(({ kind, baseOffset, endOffset }) => [kind, baseOffset, endOffset])).toEqual([
      ['data', 10, 12],
      ['data', 12, 13],
    ]);
  });

  test('refuses a message with a damaged batch', () => {
    const whole = Buffer.concat([bytesOf([append]), ...batches]);
    whole[whole.length - 1]! ^= 1;
    expect(readBulkMessage(whole, ENDS)).toBeNull();
  });

  test('carries a snapshot with its configuration', () => {
    const snapshot = addressed({
      kind: 'snapshot',
      base: { epoch: leaderEpoch(2), offset: offset(100) },
      logStart: offset(120),
      configuration: {
        position: { epoch: leaderEpoch(3), offset: offset(130) },
        configuration: {
          voters: new Set([ENDS.from, ENDS.to]),
          outgoing: new Set([ENDS.from]),
          learners: new Set([replicaId(3, directory('c'))]),
          learnersNext: new Set(),
          autoLeave: true,
        },
      },
    });
    expect(readBulkMessage(bytesOf([snapshot]), ENDS)).toEqual({ kind: 'message', group: GROUP, message: snapshot });
  });

  test('cuts a message into frames of a MiB and puts it together again', () => {
    const pieces = [1, 2, 3].map(fill => new Uint8Array(400_000 + fill * 150_001).fill(fill));
    const frames = framesOf(pieces).map(frame => Buffer.concat(frame));
    expect(frames.every(frame => frame.length <= 1_048_576)).toBe(true);
    const assembly = new BulkAssembly();
    const taken = frames.map(frame => assembly.take(frame));
    expect(taken.slice(0, -1).every(message => message === null)).toBe(true);
    expect(Buffer.concat(pieces).equals(taken.at(-1)!)).toBe(true);
  });

  test('drops a message of which a frame is missing, and goes on with the next one', () => {
    const frames = framesOf([new Uint8Array(2_500_000).fill(1)]).map(frame => Buffer.concat(frame));
    const next = framesOf([Uint8Array.of(9)]).map(frame => Buffer.concat(frame));
    const assembly = new BulkAssembly();
    for (const lost of frames.keys()) {
      for (const [place, frame] of frames.entries()) if (place !== lost) expect(assembly.take(frame)).toBeNull();
      expect(assembly.take(next[0]!)).toEqual(Buffer.of(9));
    }
  });

  test('keeps no message that grows without end', () => {
    const assembly = new BulkAssembly();
    for (let place = 0; place < 20; place++) {
      const part = new Uint8Array(1_048_576);
      part[1] = place;
      part[2] = Number(place === 19);
      expect(assembly.take(part)).toBeNull();
    }
  });
});
