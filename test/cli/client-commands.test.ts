// topic, produce and consume against a real broker.

import { PassThrough } from 'node:stream';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startBroker, type TestBroker } from 'sluice/testing';
import { type CommandRun, runCommand, type RunOptions } from './command-run.ts';

let broker: TestBroker;
let topics = 0;

beforeAll(async () => {
  broker = await startBroker();
});

afterAll(() => broker.stop());

const sluice = (words: readonly string[], options: RunOptions = {}): Promise<CommandRun> =>
  runCommand(words, { ...options, environment: { SLUICE_SERVER: broker.grpc, ...options.environment } });

/** Standard output of a command that must succeed. */
const printed = async (words: readonly string[], options: RunOptions = {}): Promise<string> => {
  const { exitCode, text, notes } = await sluice(words, options);
  expect([exitCode, notes.startsWith('error')]).toEqual([0, false]);
  return text;
};

const createTopic = async (...flags: readonly string[]): Promise<string> => {
  const name = `t${++topics}`;
  await printed(['topic', 'create', name, ...flags]);
  return name;
};

const readBack = (topic: string, format: string): Promise<string> =>
  printed(['consume', topic, '--from-beginning', '--exit-at-end', '--format', format]);

describe('topic', () => {
  test('create says what was created; again it is an error unless told otherwise', async () => {
    const words = ['topic', 'create', 'created', '--partitions', '3', '--config', 'retention.ms=5000'];
    expect(await printed(words)).toBe('created created: 3 partitions, replication factor 1\n');
    expect(await sluice(words)).toMatchObject({
      exitCode: 1,
      text: '',
      notes: expect.stringMatching(/^error: TOPIC_EXISTS: .*--if-not-exists.*\n$/),
    });
    expect(await printed([...words, '--if-not-exists'])).toContain('created exists: 3 partitions');
  });

  test('list and describe have Kafka names above their columns, and the HTTP form as JSON', async () => {
    const topic = await createTopic('--partitions', '2', '--config', 'retention.ms=5000');
    expect(await printed(['topic', 'list', '--prefix', topic])).toMatch(
      new RegExp(`^TOPIC +PARTITIONS +REPLICATION-FACTOR +TOPIC-ID\n${topic} +2 +1 +[0-9a-f-]{36}\n`),
    );
    const described = await printed(['topic', 'describe', topic]);
    expect(described).toMatch(/^TOPIC +PARTITION +LEADER +EPOCH +REPLICAS +ISR +EARLIEST +HIGH-WATERMARK/m);
    expect(described).toMatch(/^retention\.ms +5000 +topic$/m);
    const response = await fetch(`${broker.http}/v1/topics/${topic}`);
    expect(JSON.parse(await printed(['topic', 'describe', topic, '-o', 'json']))).toEqual(await response.json());
    const whole = await fetch(`${broker.http}/v1/topics/${topic}?include=defaults`);
    const words = ['topic', 'describe', topic, '--include-defaults', '-o', 'ndjson'];
    expect(JSON.parse(await printed(words))).toEqual(await whole.json());
    const listed = await fetch(`${broker.http}/v1/topics?prefix=${topic}`);
    const page = (await listed.json()) as { topics: unknown };
    expect(JSON.parse(await printed(['topic', 'list', '--prefix', topic, '-o', 'json']))).toEqual(page.topics);
  });

  test('describe without a name shows all', async () => {
    const [one, other] = [await createTopic(), await createTopic('--partitions', '2')];
    const rows = (await printed(['topic', 'describe'])).split('\n').map(row => row.split(/ +/).slice(0, 2).join(' '));
    expect(rows).toEqual(expect.arrayContaining([`${one} 0`, `${other} 0`, `${other} 1`]));
    const lines = (await printed(['topic', 'describe', '-o', 'ndjson'])).trimEnd().split('\n');
    expect(lines.map(line => (JSON.parse(line) as { name: string }).name)).toEqual(
      expect.arrayContaining([one, other]),
    );
  });

  test('alter adds partitions, sets and deletes settings, and wants to be told what', async () => {
    const topic = await createTopic('--config', 'retention.ms=5000');
    await printed([
      'topic',
      'alter',
      topic,
      '--partitions',
      '2',
      '--config',
      'segment.bytes=1048576',
      '--delete-config',
      'retention.ms',
    ]);
    const topicObject = JSON.parse(await printed(['topic', 'describe', topic, '-o', 'json'])) as Record<
      string,
      unknown
    >;
    expect(topicObject).toMatchObject({ partition_count: 2, config: { 'segment.bytes': '1048576' } });
    expect(await sluice(['topic', 'alter', topic])).toMatchObject({
      exitCode: 2,
      notes: expect.stringMatching(/nothing to alter/),
    });
    const both = ['topic', 'alter', topic, '--config', 'a=b', '--delete-config', 'a'];
    expect(await sluice(both)).toMatchObject({ exitCode: 2 });
    expect((await sluice(['topic', 'alter', topic, '--partitions', '1'])).notes).toMatch(
      /^error: INVALID_PARTITION_COUNT: /,
    );
    expect((await sluice(['topic', 'alter', topic, '--config', 'no=thing'])).notes).toMatch(
      /^error: INVALID_CONFIG: .*"no"/,
    );
  });

  test.each([
    ['y\n', 'deleted'],
    ['YES\n', 'deleted'],
    ['n\n', 'kept'],
    ['\n', 'kept'],
    ['yesterday\n', 'kept'],
    ['', 'kept'],
  ])('delete asks on a terminal: %j and the topic is %s', async (input, fate) => {
    const topic = await createTopic();
    const { exitCode, text, notes } = await sluice(['topic', 'delete', topic], { input, isInteractive: true });
    expect([exitCode, notes]).toEqual([
      0,
      expect.stringContaining(`Delete topic ${topic} with all its records? [y/N] `),
    ]);
    expect(text).toBe(fate === 'deleted' ? `deleted ${topic}\n` : '');
    const { exitCode: found } = await sluice(['topic', 'describe', topic]);
    expect(found).toBe(fate === 'deleted' ? 1 : 0);
  });

  test('Ctrl-C at the question is a no', async () => {
    const topic = await createTopic();
    const interruption = new AbortController();
    const run = sluice(['topic', 'delete', topic], { input: new PassThrough(), isInteractive: true, interruption });
    interruption.abort();
    expect(await run).toMatchObject({ exitCode: 0, text: '' });
    expect(await printed(['topic', 'describe', topic])).toContain(topic);
  });

  test('delete-records deletes what lies below an offset, and says where the partition begins', async () => {
    const topic = await createTopic();
    await printed(['produce', topic], { input: 'a\nb\nc\nd\n' });
    const words = ['topic', 'delete-records', topic, '--partition', '0', '--before', '2'];
    const unasked = await sluice(words);
    expect([unasked.exitCode, unasked.notes]).toEqual([2, expect.stringContaining('add --yes')]);
    const declined = await sluice(words, { input: 'n\n', isInteractive: true });
    expect([declined.exitCode, declined.notes]).toEqual([
      0,
      `Delete all records of partition 0 of ${topic} below offset 2? [y/N] nothing was deleted\n`,
    ]);
    expect(await readBack(topic, '%o%v ')).toBe('0a 1b 2c 3d ');
    expect(await printed([...words, '--yes'])).toBe(`partition 0 of ${topic} begins at offset 2\n`);
    expect(await readBack(topic, '%o%v ')).toBe('2c 3d ');
    const again = await printed([
      'topic',
      'delete-records',
      topic,
      '--partition=0',
      '--before=1',
      '--yes',
      '-o',
      'json',
    ]);
    expect(JSON.parse(again)).toEqual({ topic, partition: 0, earliest_offset: 2 });
    const beyond = await sluice(['topic', 'delete-records', topic, '--partition=0', '--before=5', '--yes']);
    expect([beyond.exitCode, beyond.notes]).toEqual([
      1,
      expect.stringMatching(/^error: OFFSET_OUT_OF_RANGE: .*2 to 4/),
    ]);
    expect(await sluice(['topic', 'delete-records', topic, '--before', '1', '--yes'])).toMatchObject({ exitCode: 2 });
    expect(await sluice(['topic', 'delete-records', topic, '--partition', '0', '--yes'])).toMatchObject({
      exitCode: 2,
    });
  });

  test('delete needs --yes where nobody can be asked', async () => {
    const topic = await createTopic();
    const refused = await sluice(['topic', 'delete', topic]);
    expect([refused.exitCode, refused.notes]).toEqual([2, expect.stringContaining('add --yes')]);
    expect(await printed(['topic', 'delete', topic, '--yes'])).toBe(`deleted ${topic}\n`);
    const again = await sluice(['topic', 'delete', topic, '--yes']);
    expect([again.exitCode, again.notes]).toEqual([1, expect.stringMatching(/^error: TOPIC_NOT_FOUND: /)]);
    expect(await printed(['topic', 'delete', topic, '--yes', '--if-exists'])).toBe(`there is no topic ${topic}\n`);
  });
});

describe('the broker', () => {
  test('is named by --server before SLUICE_SERVER, and an absent one is told with what to do', async () => {
    const nobody = '127.0.0.1:1';
    const words = ['topic', 'list', '--server', broker.grpc];
    expect(await printed(words, { environment: { SLUICE_SERVER: nobody } })).toContain('TOPIC');
    const { exitCode, notes } = await sluice(['topic', 'list', '--server', nobody]);
    expect([exitCode, notes]).toEqual([
      1,
      expect.stringMatching(/^error: REQUEST_TIMED_OUT: [^\n]*sluice start[^\n]*\n$/),
    ]);
  });

  test('has an address with a port, or it is wrong usage', async () => {
    expect(await sluice(['topic', 'list', '--server', 'localhost'])).toMatchObject({ exitCode: 2 });
  });
});

describe('produce', () => {
  test('text: each line is a value, byte for byte', async () => {
    const topic = await createTopic();
    const input = Buffer.concat([Buffer.from('a\nb\r\n\n'), Buffer.of(0, 255, 10), Buffer.from('last')]);
    const { exitCode, text, notes } = await sluice(['produce', topic], { input });
    expect([exitCode, text, notes]).toEqual([0, '', `5 records written to ${topic}\n`]);
    const back = await sluice(['consume', topic, '--from-beginning', '--exit-at-end']);
    expect(back.output.toString('hex')).toBe(Buffer.concat([input, Buffer.from('\n')]).toString('hex'));
  });

  test('keys, headers and a partition for all lines', async () => {
    const topic = await createTopic('--partitions', '3');
    const words = [
      'produce',
      topic,
      '--key-separator',
      ':',
      '--header',
      'a=1',
      '--header',
      'a=2=3',
      '--partition',
      '2',
    ];
    await printed(words, { input: 'k1:v1\nk2:v:2\n' });
    expect(await readBack(topic, String.raw`%p %k %v %h\n`)).toBe('2 k1 v1 a=1,a=2=3\n2 k2 v:2 a=1,a=2=3\n');
  });

  test.each(['none', 'gzip', 'snappy', 'lz4', 'zstd'])(
    'json with %s: the line itself, null is a tombstone',
    async codec => {
      const topic = await createTopic();
      const input = '{"a": 1.0}\nnull\n[12345678901234567890]\n';
      await printed(['produce', topic, '--input', 'json', '--compression', codec], { input });
      expect(await readBack(topic, String.raw`%V %v\n`)).toBe('10 {"a": 1.0}\n0 \n22 [12345678901234567890]\n');
    },
  );

  test('record: the form of the HTTP door, the same that consume -o json prints', async () => {
    const topic = await createTopic('--partitions', '2');
    const lines = [
      { key: 'k', value: { n: 1 }, headers: { h: 'x' }, partition: 1, timestamp: 5 },
      { key_base64: '/w==', value_base64: '/w==', headers: [{ key: 'h', value: null }], partition: 1, timestamp: 6 },
      { value_text: 'text', partition: 1, timestamp: 7 },
      { key: null, value: null, partition: 1, timestamp: 8 },
    ];
    const input = lines.map(line => `${JSON.stringify(line)}\n`).join('');
    await printed(['produce', topic, '--input', 'record', '--header', 'all=1'], { input });
    const words = ['consume', topic, '--partition', '1', '--from-beginning', '--exit-at-end', '-o', 'json'];
    const objects = (await printed(words))
      .trimEnd()
      .split('\n')
      .map(line => JSON.parse(line) as unknown);
    const all = { key: 'all', value: '1' };
    const at = { topic, partition: 1 };
    expect(objects).toEqual([
      { ...at, offset: 0, timestamp: 5, key: 'k', value: { n: 1 }, headers: [all, { key: 'h', value: 'x' }] },
      {
        ...at,
        offset: 1,
        timestamp: 6,
        key_base64: '/w==',
        value_base64: '/w==',
        headers: [all, { key: 'h', value: null }],
      },
      { ...at, offset: 2, timestamp: 7, key: null, value_text: 'text', headers: [all] },
      { ...at, offset: 3, timestamp: 8, key: null, value: null, headers: [all] },
    ]);
    const page = await fetch(`${broker.http}/v1/topics/${topic}/partitions/1/records`);
    expect(((await page.json()) as { records: unknown }).records).toEqual(objects);
  });

  test('reads a file', async () => {
    const topic = await createTopic();
    const file = join(broker.dataDir, 'input.txt');
    await writeFile(file, 'from\na file');
    await printed(['produce', topic, '--file', file]);
    expect(await readBack(topic, String.raw`%v\n`)).toBe('from\na file\n');
    const missing = await sluice(['produce', topic, '--file', `${file}.gone`]);
    expect([missing.exitCode, missing.notes]).toEqual([
      1,
      expect.stringMatching(/^error: cannot read [^\n]*input\.txt\.gone \(ENOENT\)\n$/),
    ]);
  });

  test.each([
    ['json', 'one document with all offsets'],
    ['ndjson', 'an offset a line'],
  ])('-o %s prints %s', async form => {
    const topic = await createTopic();
    const text = await printed(['produce', topic, '-o', form], { input: 'a\nb\n' });
    const offsets =
      form === 'json'
        ? (JSON.parse(text) as { offsets: unknown[] }).offsets
        : text
            .trimEnd()
            .split('\n')
            .map(line => JSON.parse(line) as unknown);
    expect(offsets).toEqual([0, 1].map(offset => ({ partition: 0, offset, timestamp: expect.any(Number) })));
  });

  test('-o json without input is a document without offsets', async () => {
    const topic = await createTopic();
    expect(JSON.parse(await printed(['produce', topic, '-o', 'json']))).toEqual({ offsets: [] });
  });

  test('a bad line ends the input: what stood before it is written, nothing behind it is', async () => {
    const topic = await createTopic();
    const { exitCode, notes } = await sluice(['produce', topic, '--input', 'json'], { input: '1\n2\n{\n4\n' });
    expect(exitCode).toBe(1);
    expect(notes).toMatch(/^error: line 3: the line is not a JSON value [^\n]*; 2 records were written\n$/);
    expect(await readBack(topic, String.raw`%v\n`)).toBe('1\n2\n');
  });

  test('a record that the topic cannot hold is named by its line', async () => {
    const topic = await createTopic('--config', 'max.message.bytes=1000');
    const { exitCode, notes } = await sluice(['produce', topic], { input: `small\n${'x'.repeat(2_000)}\nsmall\n` });
    expect(exitCode).toBe(1);
    expect(notes).toMatch(/^error: RECORD_TOO_LARGE: line 2: [^\n]*; 1 record was written\n$/);
    expect(await readBack(topic, String.raw`%v\n`)).toBe('small\n');
  });

  test('a partition that is not there is refused', async () => {
    const topic = await createTopic();
    const { exitCode, notes } = await sluice(['produce', topic, '--partition', '7'], { input: 'a\n' });
    expect([exitCode, notes]).toEqual([1, expect.stringMatching(/^error: PARTITION_NOT_FOUND: line 1: .*0 records/)]);
  });

  test('a topic that is not there is told before any line is read', async () => {
    const { exitCode, notes } = await sluice(['produce', 'absent'], { input: new PassThrough() });
    expect([exitCode, notes]).toEqual([1, expect.stringMatching(/^error: TOPIC_NOT_FOUND: .*sluice topic create/)]);
  });

  test.each(['all', '1', '0'])('with acks %s every record arrives', async acks => {
    const topic = await createTopic('--partitions', '2');
    const lines = Array.from({ length: 1_000 }, (_, index) => String(index));
    await printed(['produce', topic, '--acks', acks], { input: lines.join('\n') });
    const words = ['consume', topic, '--from-beginning', '--max-messages', '1000'];
    expect((await printed(words)).trimEnd().split('\n').toSorted()).toEqual(lines.toSorted());
  });

  test('Ctrl-C ends the input without an error, and without half a line', async () => {
    const topic = await createTopic();
    const input = new PassThrough();
    const interruption = new AbortController();
    const acknowledged = Promise.withResolvers<void>();
    const run = sluice(['produce', topic, '-o', 'ndjson'], {
      input,
      interruption,
      onPrint: () => acknowledged.resolve(),
    });
    input.write('whole\nhal');
    await acknowledged.promise;
    interruption.abort();
    expect(await run).toMatchObject({ exitCode: 0, notes: `1 record written to ${topic}\n` });
    expect(await readBack(topic, String.raw`%v\n`)).toBe('whole\n');
  });

  test('a key separator goes with text only, and --input has no other forms', async () => {
    expect(await sluice(['produce', 't', '--input', 'json', '--key-separator', ':'])).toMatchObject({ exitCode: 2 });
    expect(await sluice(['produce', 't', '--input', 'avro'])).toMatchObject({ exitCode: 2 });
  });
});

describe('consume', () => {
  const numbered = async (count: number, ...flags: readonly string[]): Promise<string> => {
    const topic = await createTopic();
    const lines = Array.from({ length: count }, (_, index) => String(index)).join('\n');
    await printed(['produce', topic, ...flags], { input: lines });
    return topic;
  };

  test('starts at an offset, so many before the end, or at a time', async () => {
    const topic = await numbered(10);
    const end = ['--exit-at-end', '--format', '%v '];
    expect(await printed(['consume', topic, '--partition', '0', '--offset', '7', ...end])).toBe('7 8 9 ');
    expect(await printed(['consume', topic, '--tail', '2', ...end])).toBe('8 9 ');
    expect(await printed(['consume', topic, '--since', '1h', ...end])).toBe('0 1 2 3 4 5 6 7 8 9 ');
    expect(await printed(['consume', topic, '--from-beginning', '--max-messages', '3', '--format', '%v '])).toBe(
      '0 1 2 ',
    );
    const old = await createTopic();
    const input = `{"value":1,"timestamp":1000}\n{"value":2,"timestamp":${Date.now()}}\n`;
    await printed(['produce', old, '--input', 'record'], { input });
    expect(await printed(['consume', old, '--since', '1h', ...end])).toBe('2 ');
  });

  test('starts at the end unless told otherwise, and ends with Ctrl-C and exit code 0', async () => {
    const topic = await numbered(3);
    const interruption = new AbortController();
    const run = sluice(['consume', topic], {
      interruption,
      onPrint: () => interruption.abort(),
    });
    // When the reader has found its place cannot be seen from outside: go on writing until it prints something.
    while (!interruption.signal.aborted) await printed(['produce', topic], { input: 'new\n' });
    const { exitCode, text, notes } = await run;
    expect([exitCode, notes]).toEqual([0, '']);
    expect(text).toMatch(/^(?:new\n)+$/);
  });

  test('an offset outside the log is refused with the range', async () => {
    const topic = await numbered(2);
    const { exitCode, notes } = await sluice(['consume', topic, '--partition', '0', '--offset', '9', '--exit-at-end']);
    expect([exitCode, notes]).toEqual([1, expect.stringMatching(/^error: OFFSET_OUT_OF_RANGE: .*9.*\n$/)]);
  });

  test.each<[string, string[], RegExp]>([
    ['an offset without its partition', ['--offset', '1'], /--offset needs --partition/],
    ['two places to start', ['--from-beginning', '--tail', '1'], /exclude each other/],
    ['a time that is none', ['--since', 'yesterday'], /--since takes a time/],
    ['a format with -o', ['--format', '%v', '-o', 'json'], /exclude each other/],
    ['a format that is none', ['--format', '%q'], /--format: %q means nothing/],
  ])('%s is wrong usage', async (_, flags, expected) => {
    const { exitCode, notes } = await sluice(['consume', 'any', ...flags]);
    expect([exitCode, notes]).toEqual([2, expect.stringMatching(expected)]);
  });

  test('a topic that is not there, a partition that is not there', async () => {
    expect(await sluice(['consume', 'absent'])).toMatchObject({
      exitCode: 1,
      notes: expect.stringMatching(/^error: TOPIC_NOT_FOUND/),
    });
    const topic = await createTopic();
    expect(await sluice(['consume', topic, '--partition', '5'])).toMatchObject({
      exitCode: 1,
      notes: expect.stringMatching(/^error: PARTITION_NOT_FOUND/),
    });
  });

  test('many records come back in order and whole', async () => {
    const count = 50_000;
    const topic = await numbered(count, '--compression', 'zstd');
    const lines = (await readBack(topic, String.raw`%o %v\n`)).trimEnd().split('\n');
    expect(lines).toHaveLength(count);
    expect(lines.every((line, index) => line === `${index} ${index}`)).toBe(true);
  });
});
