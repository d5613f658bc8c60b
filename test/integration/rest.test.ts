// The REST door over real HTTP against a real broker: topics, produce, read.

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { offset } from '@sluice/protocol/ids';
import { startBroker, type TestBroker } from 'sluice/testing';
import type { Answer, Call } from './http-call.ts';
import { call, expectStatus, post, sendBytes } from './http-call.ts';

let broker: TestBroker;
let serial = 0;

beforeAll(async () => {
  broker = await startBroker();
});
afterAll(() => broker.stop());

const get = (path: string, options?: Call): Promise<Answer> => call(broker.http, path, options);
const send = (path: string, body: unknown, type?: string): Promise<Answer> => post(broker.http, path, body, type);

const newTopic = async (partitionCount = 1, config: Record<string, unknown> = {}): Promise<string> => {
  serial += 1;
  const name = `topic-${serial}`;
  const created = await send('/v1/topics', { name, partition_count: partitionCount, config });
  expectStatus(created, 201);
  return name;
};

interface ReadRecord {
  readonly offset: number;
  readonly partition: number;
  readonly key?: unknown;
  readonly value?: unknown;
  readonly value_text?: string;
}
interface PageShape {
  readonly records: readonly ReadRecord[];
  readonly next: { readonly cursor: string };
  readonly high_watermark?: number;
}
const page = (answer: Answer): PageShape => {
  expectStatus(answer, 200);
  return answer.json as unknown as PageShape;
};

describe('topics', () => {
  it('are created with a location and a description, listed, described and deleted', async () => {
    const created = await send('/v1/topics', { name: 'life', partition_count: 2, config: { 'retention.ms': 60_000 } });
    expect(created.status).toBe(201);
    expect(created.headers.location).toBe('/v1/topics/life');
    expect(created.json).toMatchObject({
      name: 'life',
      partition_count: 2,
      replication_factor: 1,
      internal: false,
      config: { 'retention.ms': '60000' },
    });
    expect(created.json['partitions']).toHaveLength(2);
    const described = await get('/v1/topics/life');
    expect(described.json).toMatchObject({ topic_id: created.json['topic_id'], partition_count: 2 });
    const listed = await get('/v1/topics?prefix=li');
    expect(listed.json).toMatchObject({ topics: [{ name: 'life' }], next: null });
    const deleted = await get('/v1/topics/life', { method: 'DELETE' });
    expect(deleted.status).toBe(204);
    expect(deleted.text).toBe('');
    expect((await get('/v1/topics/life')).json).toMatchObject({ status: 404, code: 'TOPIC_NOT_FOUND' });
    const again = await send('/v1/topics', { name: 'life' });
    expect(again.status).toBe(201);
    expect(again.json['topic_id']).not.toBe(created.json['topic_id']);
  });

  it('are listed in pages', async () => {
    for (const name of ['page-a', 'page-b', 'page-c']) await send('/v1/topics', { name });
    const first = await get('/v1/topics?prefix=page-&limit=2');
    expect(first.json).toMatchObject({ topics: [{ name: 'page-a' }, { name: 'page-b' }], next: { after: 'page-b' } });
    const second = await get('/v1/topics?prefix=page-&limit=2&after=page-b');
    expect(second.json).toMatchObject({ topics: [{ name: 'page-c' }], next: null });
  });

  it('show every setting with its source when asked', async () => {
    const name = await newTopic(1, { 'retention.ms': 1_000 });
    const plain = await get(`/v1/topics/${name}`);
    expect(plain.json).not.toHaveProperty('all_config');
    const full = await get(`/v1/topics/${name}?include=defaults`);
    const settings = full.json['all_config'] as { name: string; value: string; source: string }[];
    expect(settings).toContainEqual({ name: 'retention.ms', value: '1000', source: 'topic' });
    expect(settings.some(setting => setting.source === 'default')).toBe(true);
  });

  it('are altered: more partitions, settings set and deleted', async () => {
    const name = await newTopic(1, { 'retention.ms': 1_000 });
    const body = JSON.stringify({ partition_count: 3, config: { 'retention.ms': null, 'max.message.bytes': 2_000 } });
    const altered = await get(`/v1/topics/${name}`, { method: 'PATCH', type: 'application/json', body });
    expectStatus(altered, 200);
    expect(altered.json).toMatchObject({ partition_count: 3, config: { 'max.message.bytes': '2000' } });
    expect(altered.json['config']).not.toHaveProperty('retention.ms');
  });

  it.each([
    [{ name: 'a/b' }, 400, 'INVALID_TOPIC_NAME'],
    [{ name: '' }, 400, 'INVALID_TOPIC_NAME'],
    [{ name: 'x'.repeat(250) }, 400, 'INVALID_TOPIC_NAME'],
    [{ name: 'bad-partitions', partition_count: 0 }, 400, 'INVALID_PARTITION_COUNT'],
    [{ name: 'bad-factor', replication_factor: 2 }, 400, 'INVALID_REPLICATION_FACTOR'],
    [{ name: 'bad-config', config: { nonsense: 1 } }, 400, 'INVALID_CONFIG'],
    [{ name: 'more', extra: 1 }, 400, 'INVALID_REQUEST'],
    [{}, 400, 'INVALID_REQUEST'],
    [[], 400, 'INVALID_REQUEST'],
  ])('are refused with the reason: %j', async (body, status, code) => {
    const answer = await send('/v1/topics', body);
    expect(answer.json).toMatchObject({ status, code });
    expect(answer.status).toBe(status);
    expect(answer.headers['content-type']).toBe('application/problem+json');
  });

  it('exist once', async () => {
    const name = await newTopic();
    expect((await send('/v1/topics', { name })).json).toMatchObject({ status: 409, code: 'TOPIC_EXISTS' });
  });
});

describe('producing JSON', () => {
  it('answers offsets in request order, the partition given or chosen by the key', async () => {
    const name = await newTopic(3);
    const answer = await send(`/v1/topics/${name}/records`, {
      records: [
        { value: 1, partition: 2, timestamp: 5 },
        { value: 2, key: 'user-1' },
        { value: 3, key: 'user-1' },
        { value: 4, partition: 2, timestamp: 6 },
      ],
    });
    expect(answer.status).toBe(200);
    const offsets = answer.json['offsets'] as { partition: number; offset: number; timestamp: number }[];
    expect(offsets[0]).toEqual({ partition: 2, offset: expect.any(Number), timestamp: 5 });
    expect(offsets[3]).toEqual({ partition: 2, offset: expect.any(Number), timestamp: 6 });
    expect(offsets[1]!.partition).toBe(offsets[2]!.partition);
    const read = page(await get(`/v1/topics/${name}/records`));
    for (const [index, { partition, offset }] of offsets.entries()) {
      const found = read.records.find(record => record.partition === partition && record.offset === offset);
      expect(found?.value).toBe(index + 1);
    }
  });

  it('stores single records that come together in one batch, each answered with its own offset or its own problem', async () => {
    const name = await newTopic();
    const { host } = new URL(broker.http);
    const ahead = Date.now() + 10 * 365 * 86_400_000;
    const bodies = [{ value: 'a' }, { value: 'b' }, { value: 'no', timestamp: ahead }, { value: 'c' }, { no: 1 }];
    const requests = bodies.map((record, index) => {
      const body = JSON.stringify({ records: [record] });
      const isLast = index === bodies.length - 1;
      const head = `POST /v1/topics/${name}/records HTTP/1.1\r\nHost: ${host}\r\nContent-Type: application/json\r\n`;
      return `${head}Content-Length: ${body.length}\r\n${isLast ? 'Connection: close\r\n' : ''}\r\n${body}`;
    });
    const answers = (await sendBytes(broker.http, requests.join(''))).split('HTTP/1.1 ').slice(1);
    const offsets = answers.map(answer => /"offset":(\d+)/.exec(answer)?.[1] ?? /"code":"(\w+)"/.exec(answer)?.[1]);
    expect(offsets).toEqual(['0', '1', 'INVALID_TIMESTAMP', '2', 'INVALID_REQUEST']);
    const read = page(await get(`/v1/topics/${name}/records`));
    expect(read.records.map(({ offset, value }) => [offset, value])).toEqual([
      [0, 'a'],
      [1, 'b'],
      [2, 'c'],
    ]);
    const fetched = await broker.broker.fetch({
      topic: name,
      positions: [{ partition: 0, offset: offset(0) }],
      bytesMax: 100_000,
      isolation: 'read_uncommitted',
      waitMs: 0,
    });
    expect(fetched.ok && fetched.value[0]!.batches.length).toBe(1);
  });

  it('puts keys where Kafka puts them', async () => {
    const name = await newTopic(10);
    const answer = await send(`/v1/topics/${name}/records`, { records: [{ key: '21', value: 1 }] });
    // Kafka's murmur2 of "21" is -973932308.
    expect(answer.json['offsets']).toMatchObject([{ partition: (-973_932_308 & 0x7fffffff) % 10 }]);
  });

  it('keeps keyless records of a request together and takes turns between requests', async () => {
    const name = await newTopic(4);
    const used = new Set<number>();
    for (let request = 0; request < 4; request++) {
      const answer = await send(`/v1/topics/${name}/records`, { records: [{ value: 1 }, { value: 2 }] });
      const partitions = (answer.json['offsets'] as { partition: number }[]).map(entry => entry.partition);
      expect(new Set(partitions).size).toBe(1);
      used.add(partitions[0]!);
    }
    expect(used.size).toBe(4);
  });

  it('keeps the digits of numbers', async () => {
    const name = await newTopic();
    const value = '{"big":12345678901234567890,"small":1e-400,"exact":0.1234567890123456789}';
    await send(`/v1/topics/${name}/records`, `{"records":[{"value": ${value} }]}`);
    expect((await get(`/v1/topics/${name}/records`)).text).toContain(`"value":${value}`);
  });

  it('writes nothing at all when one record is wrong', async () => {
    const name = await newTopic(2);
    const attempts: [unknown, Record<string, unknown>][] = [
      [
        { value: 1, partition: 2 },
        { status: 404, code: 'PARTITION_NOT_FOUND', index: 1 },
      ],
      [
        { value: 1, nope: 1 },
        { status: 400, code: 'INVALID_REQUEST', index: 1, field: 'nope' },
      ],
      [
        { value: 1, value_text: '' },
        { status: 400, code: 'INVALID_REQUEST', index: 1 },
      ],
      [5, { status: 400, code: 'INVALID_REQUEST', index: 1 }],
      [{ value_text: 'x'.repeat(1_100_000) }, { status: 413, code: 'RECORD_TOO_LARGE', index: 1 }],
    ];
    for (const [wrong, problem] of attempts) {
      const answer = await send(`/v1/topics/${name}/records`, { records: [{ value: 'good' }, wrong] });
      expect(answer.json).toMatchObject(problem);
    }
    expect(page(await get(`/v1/topics/${name}/records`)).records).toEqual([]);
  });

  it('refuses what is no list of records', async () => {
    const name = await newTopic();
    for (const body of ['', 'x', '{}', '[]', '{"records":[]}', '{"records":{}}', '{"records":[{"value":1}],"x":1}']) {
      const answer = await send(`/v1/topics/${name}/records`, body);
      expect(answer.json).toMatchObject({ status: 400, code: 'INVALID_REQUEST' });
    }
    const latin = await send(`/v1/topics/${name}/records`, Buffer.from('{"records":[{"value":"\xe9"}]}', 'latin1'));
    expect(latin.json).toMatchObject({ status: 400, detail: 'the body is not UTF-8' });
  });

  it('splits a request over several batches where one would be too large', async () => {
    const name = await newTopic(1, { 'max.message.bytes': 2_000 });
    const records = Array.from({ length: 30 }, (_, index) => ({ value_text: `${index}-${'x'.repeat(300)}` }));
    const answer = await send(`/v1/topics/${name}/records`, { records });
    expectStatus(answer, 200);
    const read = page(await get(`/v1/topics/${name}/records`));
    expect(read.records.map(record => record.value_text?.split('-')[0])).toEqual(records.map((_, i) => String(i)));
    const tooLarge = await send(`/v1/topics/${name}/records`, { records: [{ value_text: 'x'.repeat(2_000) }] });
    expect(tooLarge.json).toMatchObject({ status: 413, code: 'RECORD_TOO_LARGE', index: 0 });
    const squeezed = await send(`/v1/topics/${name}/records?compression=gzip`, {
      records: [{ value_text: 'y'.repeat(2_000) }],
    });
    expectStatus(squeezed, 200);
  });

  it.each(['none', 'gzip', 'snappy', 'lz4', 'zstd'])('reads back what was compressed with %s', async compression => {
    const name = await newTopic();
    const records = Array.from({ length: 2_000 }, (_, index) => ({
      key: `k${index}`,
      value: { index, pad: 'x'.repeat(90) },
    }));
    const answer = await send(`/v1/topics/${name}/records?compression=${compression}`, { records });
    expectStatus(answer, 200);
    const read = page(await get(`/v1/topics/${name}/records?limit=10000`));
    expect(read.records.map(record => record.value)).toEqual(records.map(record => record.value));
  });

  it('answers acks=1 with offsets and acks=0 with 202', async () => {
    const name = await newTopic();
    const one = await send(`/v1/topics/${name}/records?acks=1`, { records: [{ value: 1 }] });
    expect(one.json).toMatchObject({ offsets: [{ partition: 0, offset: 0 }] });
    const none = await send(`/v1/topics/${name}/records?acks=0`, { records: [{ value: 2 }] });
    expect(none.status).toBe(202);
    expect(none.json).toEqual({});
    await send(`/v1/topics/${name}/records`, { records: [{ value: 3 }] });
    expect(page(await get(`/v1/topics/${name}/records`)).records.map(record => record.value)).toEqual([1, 2, 3]);
  });

  it('refuses a record for another partition than the path names', async () => {
    const name = await newTopic(2);
    const path = `/v1/topics/${name}/partitions/1/records`;
    expect((await send(path, { records: [{ value: 1, partition: 1 }] })).status).toBe(200);
    const wrong = await send(path, { records: [{ value: 1, partition: 0 }] });
    expect(wrong.json).toMatchObject({ status: 400, field: 'partition', index: 0 });
    const unknown = await send(`/v1/topics/${name}/partitions/2/records`, { records: [{ value: 1 }] });
    expect(unknown.json).toMatchObject({ status: 404, code: 'PARTITION_NOT_FOUND' });
  });

  it('reports the append time on topics that have it', async () => {
    const name = await newTopic(1, { 'message.timestamp.type': 'LogAppendTime' });
    const answer = await send(`/v1/topics/${name}/records`, { records: [{ value: 1, timestamp: 5 }] });
    const [entry] = answer.json['offsets'] as { timestamp: number }[];
    expect(entry!.timestamp).toBeGreaterThan(1_600_000_000_000);
    const read = await get(`/v1/topics/${name}/records`);
    expect(read.json).toMatchObject({ records: [{ timestamp: entry!.timestamp }] });
  });

  it('stores tombstones, keys and headers as written', async () => {
    const name = await newTopic();
    await send(`/v1/topics/${name}/records`, {
      records: [
        { key: 'k', value: null, headers: { a: 'b' } },
        {
          key_base64: '/w==',
          value_base64: 'AP8=',
          headers: [
            { key: 'a', value: null },
            { key: 'a', value_base64: '/w==' },
          ],
        },
        { value_text: 'null' },
        { value: 'null' },
      ],
    });
    const read = await get(`/v1/topics/${name}/records`);
    expect(read.json).toMatchObject({
      records: [
        { key: 'k', value: null, headers: [{ key: 'a', value: 'b' }] },
        {
          key_base64: '/w==',
          value_base64: 'AP8=',
          headers: [
            { key: 'a', value: null },
            { key: 'a', value_base64: '/w==' },
          ],
        },
        { key: null, value_text: 'null', headers: [] },
        { key: null, value: 'null' },
      ],
    });
  });
});

describe('producing without an envelope', () => {
  it('takes each JSON text as the value and the key by its pointer', async () => {
    const name = await newTopic();
    const path = `/v1/topics/${name}/records?envelope=none&key=/user/id`;
    await send(path, '{"user":{"id":"u1"},"n":1}');
    await send(
      path,
      '{"user":{"id":12345678901234567890}}\n{"user":{}}\n{"user":{"id":null}}\n{"user":{"id":true}}\n[1]\nnull',
      'application/x-ndjson',
    );
    const read = page(await get(`/v1/topics/${name}/records`));
    expect(read.records.map(record => record.key)).toEqual([
      'u1',
      '12345678901234567890',
      null,
      null,
      'true',
      null,
      null,
    ]);
    expect(read.records[0]?.value).toEqual({ user: { id: 'u1' }, n: 1 });
    expect(read.records[6]?.value).toBeNull();
  });

  it('refuses a pointer to an object, a bad pointer, and a pointer without envelope=none', async () => {
    const name = await newTopic();
    const path = `/v1/topics/${name}/records`;
    expect((await send(`${path}?envelope=none&key=/a`, '{"a":{}}')).json).toMatchObject({ status: 400, field: 'key' });
    expect((await send(`${path}?envelope=none&key=a`, '{"a":1}')).json).toMatchObject({ status: 400, field: 'key' });
    expect((await send(`${path}?key=/a`, '{"a":1}')).json).toMatchObject({ status: 400, field: 'key' });
  });

  it('reads the steps of a pointer as RFC 6901 says', async () => {
    const name = await newTopic();
    const produce = (pointer: string, body: string): Promise<Answer> =>
      send(`/v1/topics/${name}/records?envelope=none&key=${encodeURIComponent(pointer)}`, body);
    await produce('', '"whole"');
    await produce('/a~1b', '{"a/b":"slash"}');
    await produce('/a~0b', '{"a~b":"tilde"}');
    await produce('/1/x', '[0,{"x":"index"}]');
    await produce('/01', '[0,1]');
    await produce('/toString', '{}');
    const read = page(await get(`/v1/topics/${name}/records`));
    expect(read.records.map(record => record.key)).toEqual(['whole', 'slash', 'tilde', 'index', null, null]);
  });
});

describe('producing lines', () => {
  it('appends record objects a line, skipping blank lines', async () => {
    const name = await newTopic(2);
    const body = '{"value":1,"partition":0}\n\n{"value":2,"partition":1}\r\n \t\n{"value":3,"partition":0}';
    const answer = await send(`/v1/topics/${name}/records`, body, 'application/x-ndjson');
    expect(answer.json).toEqual({
      count: 3,
      partitions: [
        { partition: 0, first_offset: 0, last_offset: 1, count: 2 },
        { partition: 1, first_offset: 0, last_offset: 0, count: 1 },
      ],
    });
  });

  it('takes one byte order mark, at the beginning of the body', async () => {
    const name = await newTopic();
    const marked = await send(`/v1/topics/${name}/records`, '\ufeff{"value":1}\n{"value":2}', 'application/x-ndjson');
    expect(marked.json).toMatchObject({ count: 2 });
    for (const body of ['\ufeff\ufeff{"value":1}', '{"value":1}\n\ufeff{"value":2}']) {
      const twice = await send(`/v1/topics/${name}/records`, body, 'application/x-ndjson');
      expect(twice.json).toMatchObject({ status: 400, code: 'INVALID_REQUEST' });
    }
  });

  it('takes text lines as they are: CR kept, empty lines empty values, no LF needed at the end', async () => {
    const name = await newTopic();
    const body = Buffer.concat([Buffer.from('a\r\n\nb\n'), Buffer.from([0xff]), Buffer.from('\nlast')]);
    const answer = await send(`/v1/topics/${name}/records`, body, 'text/plain');
    expect(answer.json).toMatchObject({ count: 5 });
    const read = await get(`/v1/topics/${name}/records?values=text`);
    expect(read.json).toMatchObject({
      records: [
        { value_text: 'a\r' },
        { value_text: '' },
        { value_text: 'b' },
        { value_base64: '/w==' },
        { value_text: 'last' },
      ],
    });
  });

  it('answers an empty body with nothing written', async () => {
    const name = await newTopic();
    for (const type of ['text/plain', 'application/x-ndjson']) {
      const answer = await send(`/v1/topics/${name}/records`, '', type);
      expect(answer.json).toEqual({ count: 0, partitions: [] });
    }
  });

  it('ends at the first bad line with exactly what was written before it', async () => {
    const name = await newTopic();
    const good = Array.from({ length: 1_000 }, (_, index) => `{"value":${index}}`);
    const body = [...good, '{"value":', ...good].join('\n');
    const answer = await send(`/v1/topics/${name}/records`, body, 'application/x-ndjson');
    expect(answer.json).toMatchObject({
      status: 400,
      code: 'INVALID_REQUEST',
      line: 1_001,
      count: 1_000,
      partitions: [{ partition: 0, first_offset: 0, last_offset: 999, count: 1_000 }],
    });
    const read = page(await get(`/v1/topics/${name}/partitions/0/records?limit=10000`));
    expect(read.records.map(record => record.value)).toEqual(good.map((_, index) => index));
  });

  it('says which line names an unknown partition or is too large', async () => {
    const name = await newTopic();
    const unknown = await send(
      `/v1/topics/${name}/records`,
      '{"value":1}\n{"value":1,"partition":9}',
      'application/x-ndjson',
    );
    expect(unknown.json).toMatchObject({ status: 404, code: 'PARTITION_NOT_FOUND', line: 2, count: 1 });
    const large = await send(`/v1/topics/${name}/records`, `a\n${'x'.repeat(1_100_000)}\nb`, 'text/plain');
    expect(large.json).toMatchObject({ status: 413, code: 'RECORD_TOO_LARGE', line: 2, count: 1 });
    expect(page(await get(`/v1/topics/${name}/records`)).records).toHaveLength(2);
  });

  it('keeps order through many batches', async () => {
    const name = await newTopic();
    const lines = Array.from({ length: 50_000 }, (_, index) => `line ${index} ${'x'.repeat(index % 50)}`);
    const answer = await send(`/v1/topics/${name}/records`, lines.join('\n'), 'text/plain');
    expect(answer.json).toMatchObject({ count: 50_000, partitions: [{ first_offset: 0, last_offset: 49_999 }] });
    const read = await get(`/v1/topics/${name}/records`, { headers: { Accept: 'text/plain' } });
    expect(read.text).toBe(`${lines.join('\n')}\n`);
  });
});

describe('producing one raw value', () => {
  it('takes key and headers from the request headers', async () => {
    const name = await newTopic();
    const list = Buffer.from(JSON.stringify([{ key: 'n', value: null }])).toString('base64url');
    const answer = await get(`/v1/topics/${name}/records`, {
      method: 'POST',
      type: 'application/octet-stream',
      body: Buffer.from([0, 255, 10]),
      headers: { 'Sluice-Key': 'k1', 'Sluice-Header-Trace': 'abc', 'Sluice-Headers': list },
    });
    expect(answer.json).toMatchObject({ offsets: [{ partition: 0, offset: 0 }] });
    const read = await get(`/v1/topics/${name}/records`);
    expect(read.json).toMatchObject({
      records: [
        {
          key: 'k1',
          value_base64: 'AP8K',
          headers: [
            { key: 'trace', value: 'abc' },
            { key: 'n', value: null },
          ],
        },
      ],
    });
  });

  it.each([
    [{ 'Sluice-Key': 'a', 'Sluice-Key-Base64': 'YQ==' }, 'sluice-key'],
    [{ 'Sluice-Key-Base64': '?' }, 'sluice-key-base64'],
    [{ 'Sluice-Headers': 'e30' }, 'sluice-headers'],
    [{ 'Sluice-Headers': '%' }, 'sluice-headers'],
    [{ 'Sluice-Nope': '1' }, 'sluice-nope'],
    [{ 'Sluice-Key': 'caf\u00e9' }, 'sluice-key'],
  ])('refuses %j', async (headers, field) => {
    const name = await newTopic();
    const answer = await get(`/v1/topics/${name}/records`, {
      method: 'POST',
      type: 'application/octet-stream',
      body: 'v',
      headers: headers as unknown as Record<string, string>,
    });
    expect(answer.json).toMatchObject({ status: 400, field });
  });
});

describe('reading', () => {
  const filled = async (count: number, partitionCount = 1): Promise<string> => {
    const name = await newTopic(partitionCount);
    const records = Array.from({ length: count }, (_, index) => ({
      value: index,
      partition: index % partitionCount,
      timestamp: 1_000 + index,
    }));
    const answer = await send(`/v1/topics/${name}/records`, { records });
    expectStatus(answer, 200);
    return name;
  };
  const openStreams = async (): Promise<string | undefined> =>
    /^sluice_open_streams\{door="rest"\} (\d+)/m.exec((await call(broker.management, '/metrics')).text)?.[1];
  const values = (answer: Answer): unknown[] => page(answer).records.map(record => record.value);

  it('starts at the earliest and goes on by cursor until a page is empty', async () => {
    const name = await filled(25);
    const path = `/v1/topics/${name}/partitions/0/records`;
    const seen: unknown[] = [];
    let cursor = '';
    for (;;) {
      const read = page(await get(`${path}?limit=10${cursor}`));
      if (read.records.length === 0) break;
      expect(read.high_watermark).toBe(25);
      seen.push(...read.records.map(record => record.value));
      cursor = `&cursor=${read.next.cursor}`;
    }
    expect(seen).toEqual(Array.from({ length: 25 }, (_, index) => index));
  });

  it('starts where asked', async () => {
    const name = await filled(10);
    const path = `/v1/topics/${name}/partitions/0/records`;
    expect(values(await get(`${path}?offset=7`))).toEqual([7, 8, 9]);
    expect(values(await get(`${path}?offset=earliest&limit=1`))).toEqual([0]);
    expect(values(await get(`${path}?offset=latest`))).toEqual([]);
    expect(values(await get(`${path}?from=latest`))).toEqual([]);
    expect(values(await get(`${path}?from=earliest&limit=2`))).toEqual([0, 1]);
    expect(values(await get(`${path}?tail=2`))).toEqual([8, 9]);
    expect(values(await get(`${path}?tail=0`))).toEqual([]);
    expect(values(await get(`${path}?tail=1000`))).toHaveLength(10);
    expect(values(await get(`${path}?timestamp=1008`))).toEqual([8, 9]);
    expect(values(await get(`${path}?timestamp=1970-01-01T00:00:01.009Z`))).toEqual([9]);
    expect(values(await get(`${path}?timestamp=5000`))).toEqual([]);
    expect(values(await get(`${path}?offset=10`))).toEqual([]);
  });

  it('refuses an offset outside the log with what there is', async () => {
    const name = await filled(3);
    const answer = await get(`/v1/topics/${name}/partitions/0/records?offset=4`);
    expect(answer.json).toMatchObject({
      status: 416,
      code: 'OFFSET_OUT_OF_RANGE',
      earliest_offset: 0,
      high_watermark: 3,
    });
  });

  it.each(['from=earliest&tail=1', 'offset=1&timestamp=5', 'cursor=AA&from=latest'])(
    'has one start, not %s',
    async two => {
      const name = await filled(1);
      const answer = await get(`/v1/topics/${name}/partitions/0/records?${two}`);
      expect(answer.json).toMatchObject({ status: 400, code: 'INVALID_REQUEST' });
    },
  );

  it('merges partitions, in order within each, and covers them all by cursor', async () => {
    const name = await filled(30, 3);
    const byPartition = new Map<number, unknown[]>();
    let cursor = '';
    for (let pages = 0; pages < 30; pages++) {
      const read = page(await get(`/v1/topics/${name}/records?limit=4${cursor}`));
      expect(read).not.toHaveProperty('high_watermark');
      if (read.records.length === 0) break;
      for (const record of read.records) {
        byPartition.set(record.partition, [...(byPartition.get(record.partition) ?? []), record.value]);
      }
      cursor = `&cursor=${read.next.cursor}`;
    }
    for (let partition = 0; partition < 3; partition++) {
      expect(byPartition.get(partition)).toEqual(Array.from({ length: 10 }, (_, index) => index * 3 + partition));
    }
    expect(new Set(values(await get(`/v1/topics/${name}/records?tail=1`)))).toEqual(new Set([27, 28, 29]));
    const some = page(await get(`/v1/topics/${name}/records?partitions=0,2-2`));
    expect(new Set(some.records.map(record => record.partition))).toEqual(new Set([0, 2]));
  });

  it('checks the partitions that are asked for', async () => {
    const name = await filled(1, 3);
    const path = `/v1/topics/${name}/records?partitions=`;
    expect((await get(`${path}3`)).json).toMatchObject({ status: 404, code: 'PARTITION_NOT_FOUND' });
    expect((await get(`${path}0-9999999999`)).json).toMatchObject({ status: 404, code: 'PARTITION_NOT_FOUND' });
    expect((await get(`${path}2-1`)).json).toMatchObject({ status: 400, field: 'partitions' });
    expect((await get(`${path}x`)).json).toMatchObject({ status: 400, field: 'partitions' });
  });

  it('covers at most 256 partitions at once', async () => {
    const name = await newTopic(257);
    const all = await get(`/v1/topics/${name}/records`);
    expect(all.json).toMatchObject({ status: 400, code: 'INVALID_REQUEST', field: 'partitions' });
    expect((await get(`/v1/topics/${name}/records?partitions=0-256`)).status).toBe(400);
    const most = page(await get(`/v1/topics/${name}/records?partitions=1-256`));
    expect(most.records).toEqual([]);
    expect((await get(`/v1/topics/${name}/records?cursor=${most.next.cursor}`)).status).toBe(200);
  });

  it('refuses cursors that are garbage, of another topic or of other partitions', async () => {
    const name = await filled(3, 2);
    const { cursor } = page(await get(`/v1/topics/${name}/records`)).next;
    const path = `/v1/topics/${name}/records?cursor=`;
    expect((await get(`${path}AAAA`)).json).toMatchObject({ status: 400, code: 'INVALID_CURSOR' });
    expect((await get(`${path}%20`)).json).toMatchObject({ status: 400, code: 'INVALID_CURSOR' });
    expect((await get(`${path}${cursor}&partitions=0`)).json).toMatchObject({ code: 'INVALID_CURSOR' });
    const one = `/v1/topics/${name}/partitions/0/records?cursor=${cursor}`;
    expect((await get(one)).json).toMatchObject({ code: 'INVALID_CURSOR' });
    await get(`/v1/topics/${name}`, { method: 'DELETE' });
    await send('/v1/topics', { name, partition_count: 2 });
    const stale = await get(`${path}${cursor}`);
    expect(stale.json).toMatchObject({ status: 400, code: 'INVALID_CURSOR' });
    expect(stale.json['detail']).toContain('deleted');
  });

  it('gives at least one batch however small max_bytes is', async () => {
    const name = await newTopic();
    for (let index = 0; index < 3; index++) await send(`/v1/topics/${name}/records`, { records: [{ value: index }] });
    expect(values(await get(`/v1/topics/${name}/records?max_bytes=1`))).toEqual([0]);
    expect(values(await get(`/v1/topics/${name}/records?max_bytes=100000`))).toEqual([0, 1, 2]);
  });

  it('fills a page from many small batches', async () => {
    const name = await newTopic();
    for (let index = 0; index < 60; index++) await send(`/v1/topics/${name}/records`, { records: [{ value: index }] });
    expect(values(await get(`/v1/topics/${name}/records?limit=50`))).toEqual(Array.from({ length: 50 }, (_, i) => i));
  });

  it('waits for a record, and is woken by it', async () => {
    const name = await newTopic();
    const waiting = get(`/v1/topics/${name}/records?wait=30000`);
    const produced = await send(`/v1/topics/${name}/records`, { records: [{ value: 'woken' }] });
    expect(produced.status).toBe(200);
    expect(values(await waiting)).toEqual(['woken']);
    expect(values(await get(`/v1/topics/${name}/records?from=latest&wait=1`))).toEqual([]);
  });

  it('streams lines up to the high watermark, with the position as trailer', async () => {
    const name = await filled(3_000, 2);
    const read = await get(`/v1/topics/${name}/records`, { headers: { Accept: 'application/x-ndjson' } });
    expect(read.headers['content-type']).toBe('application/x-ndjson');
    const lines = read.text
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line) as ReadRecord);
    expect(lines.map(line => Number(line.value)).toSorted((a, b) => a - b)).toEqual(
      Array.from({ length: 3_000 }, (_, i) => i),
    );
    const cursor = read.trailers['sluice-cursor'];
    expect(values(await get(`/v1/topics/${name}/records?cursor=${cursor}`))).toEqual([]);
    const limited = await get(`/v1/topics/${name}/records?limit=7`, { headers: { Accept: 'application/x-ndjson' } });
    expect(limited.text.trimEnd().split('\n')).toHaveLength(7);
    const rest = await get(`/v1/topics/${name}/records?cursor=${limited.trailers['sluice-cursor']}&limit=10000`);
    expect(values(rest)).toHaveLength(2_993);
  });

  it('streams on with wait until nothing comes any more', async () => {
    const name = await filled(2);
    const waiting = get(`/v1/topics/${name}/records?wait=300`, { headers: { Accept: 'application/x-ndjson' } });
    await send(`/v1/topics/${name}/records`, { records: [{ value: 'later' }] });
    expect((await waiting).text.trimEnd().split('\n')).toHaveLength(3);
  });

  it('renders once for all who follow in lines, and gives each the same', async () => {
    const name = await newTopic();
    const { broker: inside } = broker;
    const fetch = inside.fetch.bind(inside);
    let fetches = 0;
    inside.fetch = request => {
      fetches++;
      return fetch(request);
    };
    const openings = Array.from({ length: 20 }, () =>
      get(`/v1/topics/${name}/records?wait=30000&limit=3`, { headers: { Accept: 'application/x-ndjson' } }),
    );
    while ((await openStreams()) !== '20') expect(fetches).toBeLessThanOrEqual(20);
    fetches = 0;
    await send(`/v1/topics/${name}/records`, { records: [{ value: 1 }, { value: 2 }, { value: 3 }] });
    const texts = new Set((await Promise.all(openings)).map(answer => answer.text));
    expect(texts.size).toBe(1);
    expect([...texts][0]!.trimEnd().split('\n')).toHaveLength(3);
    // All of them wait for one fetch, which may have been there before.
    expect(fetches).toBeLessThanOrEqual(1);
    inside.fetch = fetch;
  });

  it('gives a short wait its backlog, and the cursor behind everything that is not shown', async () => {
    const name = await filled(3_000, 3);
    const lines = await get(`/v1/topics/${name}/records?wait=1`, { headers: { Accept: 'application/x-ndjson' } });
    expect(lines.text.trimEnd().split('\n')).toHaveLength(3_000);
    const limited = await get(`/v1/topics/${name}/records?wait=1&limit=7`, {
      headers: { Accept: 'application/x-ndjson' },
    });
    expect(limited.text.trimEnd().split('\n')).toHaveLength(7);
    const rest = `/v1/topics/${name}/records?cursor=${limited.trailers['sluice-cursor']}&limit=10000`;
    expect(values(await get(rest))).toHaveLength(2_993);

    const texts = await newTopic();
    await send(`/v1/topics/${texts}/records`, { records: [{ value_text: 'a' }, { value: null }] });
    const text = await get(`/v1/topics/${texts}/records?wait=1`, { headers: { Accept: 'text/plain' } });
    expect(text.text).toBe('a\n');
    await send(`/v1/topics/${texts}/records`, { records: [{ value: 'b' }] });
    const behind = await get(`/v1/topics/${texts}/records?cursor=${text.trailers['sluice-cursor']}`);
    expect(values(behind)).toEqual(['b']);
  });

  it('refuses what it can before the first line, also where it would wait', async () => {
    const name = await filled(1);
    const beyond = await get(`/v1/topics/${name}/partitions/0/records?offset=9&wait=30000`, {
      headers: { Accept: 'application/x-ndjson' },
    });
    expect(beyond).toMatchObject({ status: 416, json: { code: 'OFFSET_OUT_OF_RANGE' } });
  });

  it('gives values alone as text, without tombstones', async () => {
    const name = await newTopic();
    await send(`/v1/topics/${name}/records`, { records: [{ value_text: 'a' }, { value: null }, { value: { b: 1 } }] });
    const read = await get(`/v1/topics/${name}/records`, { headers: { Accept: 'text/plain' } });
    expect(read.text).toBe('a\n{"b":1}\n');
    expect(read.headers['content-type']).toBe('text/plain; charset=utf-8');
  });

  it.each([
    ['image/png', { status: 406, code: 'NOT_ACCEPTABLE' }],
    ['application/json;q=0', { status: 406, code: 'NOT_ACCEPTABLE' }],
    ['application/*', { records: [{ value: 0 }] }],
    ['image/png, */*;q=0.1', { records: [{ value: 0 }] }],
    ['text/html,application/xhtml+xml,*/*;q=0.8', { records: [{ value: 0 }] }],
  ])('answers Accept: %s with %j', async (accept, expected) => {
    const name = await filled(1);
    const answer = await get(`/v1/topics/${name}/records`, { headers: { Accept: accept } });
    expect(answer.json).toMatchObject(expected);
  });

  it('prefers what the client prefers', async () => {
    const name = await filled(1);
    const accept = 'application/json;q=0.5, application/x-ndjson, text/*;q=0.7';
    const answer = await get(`/v1/topics/${name}/records`, { headers: { Accept: accept } });
    expect(answer.headers['content-type']).toBe('application/x-ndjson');
  });

  it('gives one record, as JSON and raw', async () => {
    const name = await newTopic();
    await send(`/v1/topics/${name}/records`, {
      records: [
        { value: 0 },
        { key: 'a key', value_base64: '/wA=', headers: { h: 'v' }, timestamp: 77 },
        { key: ' x', value: null },
      ],
    });
    const path = `/v1/topics/${name}/partitions/0/records`;
    expect((await get(`${path}/1`)).json).toEqual({
      topic: name,
      partition: 0,
      offset: 1,
      timestamp: 77,
      key: 'a key',
      value_base64: '/wA=',
      headers: [{ key: 'h', value: 'v' }],
    });
    const raw = await get(`${path}/1`, { headers: { Accept: 'application/octet-stream' } });
    expect(raw.bytes).toEqual(Buffer.from([255, 0]));
    expect(raw.headers).toMatchObject({
      'sluice-topic': name,
      'sluice-partition': '0',
      'sluice-offset': '1',
      'sluice-timestamp': '77',
      'sluice-key': 'a key',
    });
    const list = Buffer.from(String(raw.headers['sluice-headers']), 'base64url').toString();
    expect(JSON.parse(list)).toEqual([{ key: 'h', value_base64: 'dg==' }]);
    const tombstone = await get(`${path}/2`, { headers: { Accept: 'application/octet-stream' } });
    expect(tombstone.bytes).toHaveLength(0);
    expect(tombstone.headers).toMatchObject({ 'sluice-tombstone': 'true', 'sluice-key-base64': 'IHg=' });
  });

  it('refuses one record that is not there', async () => {
    const name = await filled(2);
    const path = `/v1/topics/${name}/partitions/0/records`;
    expect((await get(`${path}/2`)).json).toMatchObject({
      status: 416,
      code: 'OFFSET_OUT_OF_RANGE',
      high_watermark: 2,
    });
    expect((await get(`${path}/99`)).json).toMatchObject({ status: 416 });
    expect((await get(`${path}/x`)).json).toMatchObject({ status: 400, field: 'offset' });
    expect((await get(`${path}/9007199254740992`)).json).toMatchObject({ status: 400, field: 'offset' });
  });

  it('answers HEAD as GET without a body', async () => {
    const name = await filled(2);
    for (const accept of ['application/json', 'application/x-ndjson', 'text/plain']) {
      const answer = await get(`/v1/topics/${name}/records`, { method: 'HEAD', headers: { Accept: accept } });
      expect(answer.status).toBe(200);
      expect(answer.text).toBe('');
    }
  });
});

describe('offsets', () => {
  it('are given for every partition, with the first record at a timestamp', async () => {
    const name = await newTopic(2);
    await send(`/v1/topics/${name}/partitions/0/records`, {
      records: [
        { value: 1, timestamp: 10 },
        { value: 2, timestamp: 20 },
      ],
    });
    const plain = await get(`/v1/topics/${name}/offsets`);
    expect(plain.json).toEqual({
      partitions: [
        { partition: 0, earliest_offset: 0, high_watermark: 2, last_stable_offset: 2 },
        { partition: 1, earliest_offset: 0, high_watermark: 0, last_stable_offset: 0 },
      ],
    });
    const at = await get(`/v1/topics/${name}/offsets?timestamp=15`);
    expect(at.json).toMatchObject({ partitions: [{ partition: 0, offset: 1, timestamp: 20 }, { partition: 1 }] });
    expect((at.json['partitions'] as object[])[1]).not.toHaveProperty('offset');
    expect((await get(`/v1/topics/${name}/offsets?timestamp=x`)).json).toMatchObject({ code: 'INVALID_TIMESTAMP' });
    expect((await get(`/v1/topics/${name}/offsets?timestamp=2023-02-29T00:00:00Z`)).json).toMatchObject({
      status: 400,
      code: 'INVALID_TIMESTAMP',
    });
  });
});

describe('the cluster and the document', () => {
  it('describe this broker', async () => {
    const cluster = (await get('/v1/cluster')).json;
    expect(cluster).toMatchObject({ controller: 1, brokers: [{ node_id: 1, state: 'running' }] });
    expect(cluster['cluster_id']).toMatch(/./);
    const { brokers } = (await get('/v1/brokers')).json;
    expect(brokers).toEqual(cluster['brokers']);
    expect(brokers).toMatchObject([{ http_address: broker.http.slice('http://'.length) }]);
  });

  it('is served in both spellings', async () => {
    const yaml = await get('/openapi.yaml');
    expect(yaml.headers['content-type']).toBe('application/yaml');
    expect(yaml.text.startsWith('openapi: 3.1.0')).toBe(true);
    expect((await get('/openapi.json')).json).toMatchObject({ openapi: '3.1.0' });
  });
});
