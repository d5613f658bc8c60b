// A data directory that the release before wrote, with format 1: everything in it is there, whatever happens while it is raised to the
// newest format, and the release before refuses it from then on.
//
// fixtures/data-directory-format-1.tar.gz was written by that release through its doors: topic `orders` with three partitions and a batch of
// four records for each codec in each of them, `shortened` with ten records of which the first four were deleted, `empty` with a
// setting, and `gone`, which was deleted.

import { execFile } from 'node:child_process';
import { access, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runCommand } from '../cli/command-run.ts';
import { BrokerProcess } from './broker-process.ts';
import { call, expectStatus, post } from './http-call.ts';

const FIXTURE = new URL('fixtures/data-directory-format-1.tar.gz', import.meta.url).pathname;
const CLUSTER_ID = /"cluster_id": "([0-9a-f-]{36})"/;

let folder: string;
let directories = 0;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sluice-former-'));
});

afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function formerDirectory(): Promise<string> {
  const directory = join(folder, `data-${++directories}`);
  await mkdir(directory);
  await promisify(execFile)('tar', ['xzf', FIXTURE, '-C', directory]);
  return directory;
}

const exists = (file: string): Promise<boolean> =>
  access(file).then(
    () => true,
    () => false,
  );

interface Page {
  readonly records: readonly {
    partition: number;
    offset: number;
    timestamp: number;
    key: string;
    value: unknown;
    headers: unknown;
  }[];
}

/** In every partition one batch a codec, numbered in the order in which they were sent. */
const orders = ['none', 'gzip', 'snappy', 'lz4', 'zstd'].flatMap((codec, round) =>
  [0, 1, 2].flatMap(partition =>
    [0, 1, 2, 3].map(index => {
      const number = (round * 3 + partition) * 4 + index;
      return {
        topic: 'orders',
        partition,
        offset: round * 4 + index,
        timestamp: 1_700_000_000_000 + number,
        key: `key-${number}`,
        value: { number, codec },
        headers: [{ key: 'h', value: `${number}` }],
      };
    }),
  ),
);

async function expectEverything(broker: BrokerProcess, written: number): Promise<void> {
  const base = `http://${broker.http}`;
  const topics = expectStatus(await call(base, '/v1/topics'), 200).json['topics'] as {
    name: string;
    topic_id: string;
  }[];
  expect(topics.map(({ name, topic_id: id }) => [name, id])).toEqual([
    ['empty', 'cca4328a-94a0-4ca2-bff6-21899c880eae'],
    ['orders', 'afcadd5b-05ee-422e-91ab-f51a3e06dcc3'],
    ['shortened', '9e501ae8-cd15-46bf-8353-507bf525bc90'],
  ]);
  const described = expectStatus(await call(base, '/v1/topics/orders'), 200).json;
  expect(described).toMatchObject({ partition_count: 3, config: { 'retention.ms': '-1', 'segment.bytes': '1048576' } });
  expect(expectStatus(await call(base, '/v1/topics/empty'), 200).json).toMatchObject({
    config: { 'cleanup.policy': 'delete' },
  });
  for (let partition = 0; partition < 3; partition++) {
    const page = expectStatus(await call(base, `/v1/topics/orders/partitions/${partition}/records`), 200)
      .json as unknown as Page;
    expect(page.records.slice(0, 20)).toEqual(orders.filter(record => record.partition === partition));
    expect(page.records.length).toBe(20 + written);
  }
  const lines = await call(base, '/v1/topics/shortened/records', { headers: { accept: 'text/plain' } });
  expect(expectStatus(lines, 200).text.trimEnd().split('\n')).toEqual(
    [5, 6, 7, 8, 9, 10].map(number => `line ${number}`),
  );
  const below = await call(base, '/v1/topics/shortened/partitions/0/records?offset=3');
  expect([below.status, below.json['earliest_offset']]).toEqual([416, 4]);
}

async function writeEverywhere(broker: BrokerProcess): Promise<void> {
  const records = [0, 1, 2].map(partition => ({ value: 'new', partition }));
  expectStatus(await post(`http://${broker.http}`, '/v1/topics/orders/records', { records }), 200);
}

test('has all its topics and records, takes more, and keeps them over restarts', async () => {
  const directory = await formerDirectory();
  const before = await readFile(join(directory, 'meta.json'), 'utf8');
  for (let written = 0; written < 3; written++) {
    const broker = await BrokerProcess.start(directory);
    try {
      await expectEverything(broker, written);
      await writeEverywhere(broker);
      await expectEverything(broker, written + 1);
      const cluster = expectStatus(await call(`http://${broker.http}`, '/v1/cluster'), 200).json;
      expect(cluster['cluster_id']).toBe(CLUSTER_ID.exec(before)?.[1]);
    } finally {
      // The second life is killed, the others are asked to stop.
      if (written === 1) await broker.kill();
      else expect((await broker.terminate()).status).toBe(0);
    }
  }
  const doctor = await runCommand(['doctor', '--data-dir', directory]);
  expect([doctor.exitCode, doctor.text]).toEqual([0, expect.stringContaining(': healthy')]);
  // The release before takes nothing but version 1.
  expect(before).toContain('"format_version": 1');
  expect(await readFile(join(directory, 'meta.json'), 'utf8')).toContain('"format_version": 2');
  expect(await exists(join(directory, 'topics.json'))).toBe(false);
});

test('a kill at the first moment of the first start loses nothing', async () => {
  for (const moment of [/./, /"msg":"this node is the controller"/]) {
    const directory = await formerDirectory();
    const first = BrokerProcess.launch(directory, { 'log-level': 'debug' });
    await Promise.race([first.logged(moment), first.listening()]);
    await first.kill();
    const second = await BrokerProcess.start(directory);
    try {
      await expectEverything(second, 0);
      await writeEverywhere(second);
      await expectEverything(second, 1);
      expect((await second.terminate()).status).toBe(0);
    } finally {
      await second.kill();
    }
  }
});

test('a directory of which only a part is left is refused, and not changed', async () => {
  const directory = await formerDirectory();
  await rm(join(directory, 'topics.json'));
  const refused = await BrokerProcess.refusedStart(directory);
  expect(refused.status).toBe(1);
  expect(refused.stderr).toMatch(/topics\.json/);
  expect(await readFile(join(directory, 'meta.json'), 'utf8')).toContain('"format_version": 1');
});
