// What REST says when records cannot be appended or cannot be read.

import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CRC_AT, CRC_COVERS_FROM, crc32c, encodeBatch, writeInt32 } from '@sluice/protocol/record';
import { startBroker, type TestBroker } from 'sluice/testing';
import { call, expectStatus, post, sendBytes } from './http-call.ts';

let broker: TestBroker;
beforeAll(async () => {
  broker = await startBroker();
});
afterAll(() => broker.stop());

/** Beyond message.timestamp.after.max.ms: the broker refuses it when it is appended, which no check of the body can know. */
const FUTURE = 8_000_000_000_000;
const newTopic = async (name: string, partitionCount: number): Promise<string> => {
  expectStatus(await post(broker.http, '/v1/topics', { name, partition_count: partitionCount }), 201);
  return `/v1/topics/${name}`;
};

describe('an append that fails', () => {
  it('in one of several partitions is 207, with the problem in its place', async () => {
    const topic = await newTopic('partly', 3);
    const answer = await post(broker.http, `${topic}/records`, {
      records: [
        { value: 'a', partition: 0 },
        { value: 'b', partition: 1, timestamp: FUTURE },
        { value: 'c', partition: 2 },
        { value: 'd', partition: 0 },
      ],
    });
    expect(answer.status).toBe(207);
    expect(answer.json).toMatchObject({
      offsets: [
        { partition: 0, offset: 0 },
        { partition: 1, problem: { code: 'INVALID_TIMESTAMP', status: 400, request_id: answer.headers['request-id'] } },
        { partition: 2, offset: 0 },
        { partition: 0, offset: 1 },
      ],
    });
  });

  it('alike everywhere is that problem with its own status', async () => {
    const topic = await newTopic('alike', 2);
    const records = [0, 1].map(partition => ({ value: 1, partition, timestamp: FUTURE }));
    const both = await post(broker.http, `${topic}/records`, { records });
    expect(both.json).toMatchObject({ status: 400, code: 'INVALID_TIMESTAMP' });
    const one = await post(broker.http, `${topic}/records`, { records: records.slice(0, 1) });
    expect(one.json).toMatchObject({ status: 400, code: 'INVALID_TIMESTAMP' });
  });

  it('ends a stream of lines with what was written, which is what can be read', async () => {
    const topic = await newTopic('lines', 1);
    const good = Array.from({ length: 20_000 }, (_, index) => `{"value":"${index} ${'x'.repeat(60)}"}`);
    const body = [...good, `{"value":1,"timestamp":${FUTURE}}`, ...good].join('\n');
    const answer = await post(broker.http, `${topic}/records`, body, 'application/x-ndjson');
    const { status, code, line, count } = answer.json as { status: number; code: string; line: number; count: number };
    expect({ status, code }).toEqual({ status: 400, code: 'INVALID_TIMESTAMP' });
    // The batch that failed begins somewhere before the bad line; all before it was written, nothing from it on.
    expect(line).toBe(count + 1);
    expect(line).toBeLessThanOrEqual(good.length + 1);
    const { partitions } = (await call(broker.http, `${topic}/offsets`)).json;
    expect(partitions).toMatchObject([{ high_watermark: count }]);
  });
});

describe('a batch that cannot be read', () => {
  const sealed = (batch: Uint8Array): Uint8Array => {
    writeInt32(batch, CRC_AT, crc32c(batch, CRC_COVERS_FROM));
    return batch;
  };
  const record = (value: string): Uint8Array => encodeBatch([{ key: null, value, timestamp: 1 }]);
  /** A good checksum over a record that claims to be longer than it is. */
  const garbage = (): Uint8Array => {
    const batch = record('never shown');
    batch[61] = 0x7e;
    return sealed(batch);
  };
  const append = async (topic: string, batches: Uint8Array): Promise<void> => {
    const result = await broker.broker.produce({ topic, partition: 0, batches, acks: 'all', timeoutMs: 5_000 });
    expect(result.ok).toBe(true);
  };

  it('ends the page before it, and is the next page with its place', async () => {
    const path = `${await newTopic('garbage', 1)}/partitions/0/records`;
    await append('garbage', record('"before"'));
    await append('garbage', garbage());
    await append('garbage', record('"behind"'));
    const first = await call(broker.http, path);
    expect(first.json).toMatchObject({ records: [{ offset: 0, value: 'before' }] });
    const { cursor } = first.json['next'] as { cursor: string };
    const second = await call(broker.http, `${path}?cursor=${cursor}`);
    expect(second.json).toMatchObject({ status: 400, code: 'CORRUPT_BATCH', partition: 0, offset: 1 });
    expect((await call(broker.http, `${path}/1`)).json).toMatchObject({ code: 'CORRUPT_BATCH', offset: 1 });
    expect((await call(broker.http, `${path}?offset=2`)).json).toMatchObject({ records: [{ value: 'behind' }] });
  });

  it('cuts off a stream of lines, which thereby has no trailer', async () => {
    const path = `${await newTopic('cut-lines', 1)}/partitions/0/records`;
    await append('cut-lines', record('"before"'));
    await append('cut-lines', garbage());
    const headers = { Accept: 'application/x-ndjson' };
    await expect(call(broker.http, path, { headers })).rejects.toThrow('aborted');
    const { port } = new URL(broker.http);
    const request = `GET ${path} HTTP/1.1\r\nHost: localhost:${port}\r\nAccept: application/x-ndjson\r\n\r\n`;
    const received = await sendBytes(broker.http, request);
    expect(received).toContain('"value":"before"');
    expect(received).not.toContain('\r\n0\r\n');
    const refused = await call(broker.http, `${path}?offset=1`, { headers });
    expect(refused.json).toMatchObject({ status: 400, code: 'CORRUPT_BATCH' });
  });

  it('because its compression is broken is a problem too', async () => {
    const path = `${await newTopic('zipped', 1)}/partitions/0/records`;
    const batch = record('x'.repeat(100));
    // Attributes, low byte: the codec is gzip.
    batch[22] = 1;
    await append('zipped', sealed(batch));
    expect((await call(broker.http, path)).json).toMatchObject({ status: 400, code: 'CORRUPT_BATCH', offset: 0 });
  });

  it('does not grow beyond its bounds when it inflates', async () => {
    const path = await newTopic('bomb', 1);
    const zeros = encodeBatch([{ key: null, value: new Uint8Array(65 * 1024 * 1024), timestamp: 1 }], {
      codec: 'gzip',
    });
    expect(zeros.length).toBeLessThan(200_000);
    await append('bomb', zeros);
    expect((await call(broker.http, `${path}/records`)).json).toMatchObject({ status: 400, code: 'CORRUPT_BATCH' });
    // Each within its bound, together beyond what a page may hold.
    const path2 = await newTopic('bombs', 1);
    const half = encodeBatch([{ key: null, value: new Uint8Array(30 * 1024 * 1024), timestamp: 1 }], { codec: 'gzip' });
    // Each in bytes of its own: what was given to the broker is its own.
    for (let index = 0; index < 4; index++) await append('bombs', new Uint8Array(half));
    const page = await call(broker.http, `${path2}/records?values=base64`);
    expect((page.json['records'] as unknown[]).length).toBe(2);
  });
});

describe('an upload that lasts', () => {
  it('is answered when an append fails, though its client sends no more', async () => {
    const topic = await newTopic('lasting', 1);
    const { port } = new URL(broker.http);
    const socket = connect(Number(port), '127.0.0.1');
    const answered = new Promise<string>(resolve => {
      let received = '';
      socket.on('data', chunk => {
        received += chunk.toString('latin1');
        if (received.endsWith('}')) resolve(received);
      });
    });
    const line = `{"value":1,"timestamp":${FUTURE}}\n`;
    socket.write(
      `POST ${topic}/records HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n` +
        `${line.length.toString(16)}\r\n${line}\r\n`,
    );
    expect(await answered).toContain('"line":1,"count":0,"partitions":[]');
    socket.destroy();
  });

  it('over very many partitions takes memory for its records, not for its partitions', async () => {
    const topic = await newTopic('wide', 1_200);
    const lines = Array.from({ length: 3_600 }, (_, index) => `{"value":${index},"partition":${index % 1_200}}`).join(
      '\n',
    );
    const before = process.memoryUsage().arrayBuffers;
    const answer = await post(broker.http, `${topic}/records`, lines, 'application/x-ndjson');
    expect(answer.json).toMatchObject({ count: 3_600 });
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64 * 1024 * 1024);
  });
});
