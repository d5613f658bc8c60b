// What the WebSocket door says when some records of a frame, or all, cannot be appended.

import { startBroker, type TestBroker } from 'sluice/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { call, expectStatus, post } from './http-call.ts';
import { TestSocket } from './web-socket-client.ts';

let broker: TestBroker;
beforeAll(async () => {
  broker = await startBroker();
});
afterAll(() => broker.stop());

/** Beyond message.timestamp.after.max.ms: the broker refuses it when it is appended, which no check of the frame can know. */
const FUTURE = 8_000_000_000_000;

const newTopic = async (name: string, partitionCount: number): Promise<void> => {
  expectStatus(await post(broker.http, '/v1/topics', { name, partition_count: partitionCount }), 201);
};

/** As `PARTITION VALUE`, in the order of partitions. */
const written = async (topic: string): Promise<string[]> => {
  const { records } = (await call(broker.http, `/v1/topics/${topic}/records`)).json as {
    records: { partition: number; value: unknown }[];
  };
  return records.map(({ partition, value }) => `${partition} ${String(value)}`).toSorted((a, b) => a.localeCompare(b));
};

describe('a frame whose records', () => {
  it('are refused in one of several partitions has the problem in their place, and the others are written', async () => {
    await newTopic('partly', 3);
    await using socket = await TestSocket.open(broker.http);
    const answer = await socket.ask({
      id: 1,
      op: 'produce',
      topic: 'partly',
      records: [
        { value: 'a', partition: 0 },
        { value: 'b', partition: 1, timestamp: FUTURE },
        { value: 'c', partition: 2 },
        { value: 'd', partition: 0 },
        // With the bad one in its batch.
        { value: 'e', partition: 1 },
      ],
    });
    const problem = { code: 'INVALID_TIMESTAMP', status: 400, retriable: false };
    expect(answer).toMatchObject({
      op: 'produced',
      offsets: [
        { partition: 0, offset: 0 },
        { partition: 1, problem },
        { partition: 2, offset: 0 },
        { partition: 0, offset: 1 },
        { partition: 1, problem },
      ],
    });
    expect(answer.offsets).toHaveLength(5);
    expect(await written('partly')).toEqual(['0 a', '0 d', '2 c']);
    // The partition that refused has not lost its order or its place.
    const next = await socket.ask({ id: 2, op: 'produce', topic: 'partly', records: [{ value: 'f', partition: 1 }] });
    expect(next).toMatchObject({ op: 'produced', offsets: [{ partition: 1, offset: 0 }] });
  });

  it('are refused alike everywhere is that problem', async () => {
    await newTopic('alike', 2);
    await using socket = await TestSocket.open(broker.http);
    const records = [0, 1].map(partition => ({ value: 1, partition, timestamp: FUTURE }));
    for (const [id, sent] of [records, records.slice(0, 1)].entries()) {
      const answer = await socket.ask({ id, op: 'produce', topic: 'alike', records: sent });
      expect(answer).toMatchObject({ op: 'error', problem: { code: 'INVALID_TIMESTAMP', status: 400 } });
      expect(answer.offsets).toBeUndefined();
    }
    expect(await written('alike')).toEqual([]);
  });

  it('are refused with acks 0 is answered as if not, once, and the connection goes on', async () => {
    await newTopic('unasked', 2);
    await using socket = await TestSocket.open(broker.http);
    const records = [
      { value: 'a', partition: 0 },
      { value: 'b', partition: 1, timestamp: FUTURE },
    ];
    expect(await socket.ask({ id: 1, op: 'produce', topic: 'unasked', acks: 0, records })).toEqual({
      id: 1,
      op: 'produced',
    });
    // Answered behind the append of the one before it.
    await socket.ask({ id: 2, op: 'produce', topic: 'unasked', records: [{ value: 'c', partition: 0 }] });
    expect(socket.unread).toEqual([]);
    expect(await written('unasked')).toEqual(['0 a', '0 c']);
  });
});

describe('frames of one partition', () => {
  it('are answered in their order, refused ones among them', async () => {
    await newTopic('order', 2);
    await using socket = await TestSocket.open(broker.http);
    const bad = { value: 'x', partition: 0, timestamp: FUTURE };
    for (let id = 0; id < 30; id++) {
      const records = [
        { value: id, partition: 0 },
        ...(id % 3 === 1 ? [bad] : []),
        ...(id % 3 === 2 ? [{ value: id, partition: 1 }] : []),
      ];
      socket.send({ id, op: 'produce', topic: 'order', records });
    }
    const answers = [];
    for (let id = 0; id < 30; id++) answers.push(await socket.next());
    expect(answers.map(({ id }) => id)).toEqual(Array.from({ length: 30 }, (_, id) => id));
    expect(answers.map(({ op }) => op)).toEqual(
      Array.from({ length: 30 }, (_, id) => (id % 3 === 1 ? 'error' : 'produced')),
    );
    // What was refused took no offset.
    const offsets = answers.flatMap(({ offsets: places }) => places?.filter(({ partition }) => partition === 0) ?? []);
    expect(offsets.map(({ offset }) => offset)).toEqual(Array.from({ length: 20 }, (_, at) => at));
  });
});
