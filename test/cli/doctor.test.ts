// doctor: what it says of a healthy data directory, of one in which a test damaged something, and what giving the damage up
// leaves to a broker and its readers.

import { cp, mkdir, mkdtemp, open, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defineTopic, Sluice } from '@sluice/client';
import { crc32c } from '@sluice/protocol/record';
import { startBroker } from 'sluice/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { formatChecked } from '../../server/storage/checked-document.ts';
import { type CommandRun, runCommand } from './command-run.ts';

const FIRST = '00000000000000000000';
const METADATA = '__cluster_metadata-0';
/** Each log begins with the start of an epoch, and the first records stand behind it. */
const START_BYTES = 61;

let folder: string;
let original: string;
let copies = 0;

/** `orders` with twelve one-record batches in small segments, `plain` with three in one; stopped cleanly. */
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sluice-doctor-'));
  original = join(folder, 'original');
  await using broker = await startBroker({ dataDir: original });
  const environment = { SLUICE_SERVER: broker.grpc };
  const run = async (words: readonly string[], input = ''): Promise<void> => {
    const { exitCode, notes } = await runCommand(words, { environment, input });
    if (exitCode !== 0) throw new Error(notes);
  };
  const config = ['segment.bytes=400', 'index.interval.bytes=1'].flatMap(setting => ['--config', setting]);
  await run(['topic', 'create', 'orders', '--partitions', '2', ...config]);
  await run(['topic', 'create', 'plain', '--config', 'index.interval.bytes=1']);
  for (let value = 0; value < 12; value++)
    await run(['produce', 'orders', '--partition', '0'], `${value}${'.'.repeat(20)}\n`);
  for (let value = 0; value < 3; value++) await run(['produce', 'plain'], `${value}${'.'.repeat(40)}\n`);
});

afterAll(() => rm(folder, { recursive: true, force: true }));

const copied = async (): Promise<string> => {
  const copy = join(folder, `copy-${++copies}`);
  await mkdir(copy);
  await cp(original, copy, { recursive: true });
  return copy;
};

const doctor = (directory: string, ...flags: readonly string[]): Promise<CommandRun> =>
  runCommand(['doctor', '--data-dir', directory, ...flags]);

const flip = async (file: string, position: number): Promise<void> => {
  const handle = await open(file, 'r+');
  const byte = Buffer.alloc(1);
  await handle.read(byte, 0, 1, position);
  byte[0]! ^= 0x10;
  await handle.write(byte, 0, 1, position);
  await handle.close();
};

const contentsOf = async (directory: string): Promise<Map<string, string>> => {
  const contents = new Map<string, string>();
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile()) contents.set(path, (await readFile(path)).toString('latin1'));
    else contents.set(path, 'no file');
  }
  return contents;
};

describe('a healthy directory', () => {
  test('is called so, with what was looked at; and stays as it is', async () => {
    const directory = await copied();
    const before = await contentsOf(directory);
    const { exitCode, text, notes } = await doctor(directory);
    expect([exitCode, notes]).toEqual([0, '']);
    expect(text).toMatch(
      /^checked 2 topics, 3 partitions, \d+ segments, 15 batches, 15 records, \d+ bytes: healthy\n$/,
    );
    expect(await contentsOf(directory)).toEqual(before);
  });

  test('as JSON', async () => {
    const directory = await copied();
    const { exitCode, text } = await doctor(directory, '-o', 'json');
    expect(exitCode).toBe(0);
    expect(JSON.parse(text)).toEqual({
      data_dir: directory,
      healthy: true,
      findings: [],
      checked: {
        topics: 2,
        partitions: 3,
        segments: expect.any(Number),
        batches: 15,
        records: 15,
        bytes: expect.any(Number),
      },
    });
  });

  test('may be where SLUICE_DATA_DIR says', async () => {
    const environment = { SLUICE_DATA_DIR: await copied() };
    expect(await runCommand(['doctor'], { environment })).toMatchObject({ exitCode: 0 });
  });

  test('of a broker that runs is not looked at', async () => {
    const directory = await copied();
    await using _ = await startBroker({ dataDir: directory });
    const { exitCode, text, notes } = await doctor(directory);
    expect([exitCode, text]).toEqual([1, '']);
    expect(notes).toBe(`error: a broker holds the data directory ${directory}; stop it first\n`);
    expect(await doctor(directory, '--accept-loss', '--yes')).toMatchObject({ exitCode: 1 });
  });

  test('after a crash has notes at most', async () => {
    const directory = await copied();
    const file = join(directory, 'plain-0', `${FIRST}.log`);
    // A write above the sync point that a crash tore.
    const handle = await open(file, 'a');
    await handle.write(Buffer.alloc(100, 7));
    await handle.close();
    const { exitCode, text } = await doctor(directory);
    expect(exitCode).toBe(0);
    expect(text).toMatch(/^note plain-0\/0+\.log at \d+: a crash left 100 bytes .*; the next start cuts them$/m);
    expect(text).toMatch(/: healthy, 1 note\n$/);
  });
});

describe('a flush of the store that a crash cut off', () => {
  test.each([
    ['in one copy', [0]],
    ['in both, in the middle of a line', [0, 1]],
  ] as const)('%s is a note', async (_, copies) => {
    const directory = await copied();
    for (const copy of copies) {
      const file = join(directory, `store-${copy}`);
      const bytes = await readFile(file);
      const lastLine = bytes.lastIndexOf('\n', bytes.lastIndexOf('\n') - 1) + 1;
      await writeFile(file, bytes.fill(0, copies.length === 1 ? lastLine : lastLine + 20));
    }
    const { exitCode, text } = await doctor(directory);
    expect(text).toMatch(/^note store-0 at \d+: the lines end at /m);
    expect(exitCode).toBe(0);
  });
});

describe('what is not there, or asked for wrongly', () => {
  test('no directory', async () => {
    expect(await doctor(join(folder, 'nowhere'))).toMatchObject({
      exitCode: 1,
      notes: expect.stringContaining('--data-dir'),
    });
  });

  test.each([['--topic', 'orders'], ['--yes'], ['--accept-loss', '--partition', '0']])(
    '%s alone is wrong usage',
    async (...flags) => {
      expect(await doctor(original, ...flags)).toMatchObject({ exitCode: 2 });
    },
  );

  test('a folder that is no data directory', async () => {
    const directory = join(folder, 'empty');
    await mkdir(directory);
    const { exitCode, text } = await doctor(directory);
    expect(exitCode).toBe(1);
    expect(text).toMatch(/^damage meta\.json: the file is missing/m);
    expect(await doctor(directory, '--accept-loss', '--yes')).toMatchObject({ exitCode: 1 });
    expect(await readdir(directory)).toEqual([]);
  });
});

/** Damage by name; the line that tells of it. */
const damages: readonly [string, (directory: string) => Promise<void>, RegExp][] = [
  [
    'a bit in a sealed segment',
    directory => flip(join(directory, 'orders-0', `${FIRST}.log`), START_BYTES + 70),
    /^damage orders-0\/0{20}\.log at 61, offsets 0 to 0: these offsets cannot be read: crc: .*--accept-loss/m,
  ],
  [
    'a bit in the last segment',
    directory => flip(join(directory, 'plain-0', `${FIRST}.log`), 200),
    /^damage plain-0\/0{20}\.log at 1\d\d, offsets 1 to 1: these offsets cannot be read: crc/m,
  ],
  [
    'a base offset, which no checksum covers',
    directory => flip(join(directory, 'plain-0', `${FIRST}.log`), START_BYTES + 7),
    /^damage plain-0\/0{20}\.log at 61, offsets 0 to 0: .*base offset 16 where 0 is expected/m,
  ],
  [
    'the start of an epoch',
    directory => flip(join(directory, 'plain-0', `${FIRST}.log`), 7),
    /^damage plain-0\/0{20}\.log at 0, before offset 0: the start of an epoch cannot be read, all records can: /m,
  ],
  [
    'an end that is gone',
    async directory => truncate(join(directory, 'plain-0', `${FIRST}.log`), START_BYTES + 150),
    /^damage plain-0\/0{20}\.log at 1\d\d, offsets 1 to 2: /m,
  ],
  [
    'a segment that is gone',
    directory => rm(join(directory, 'orders-0', `${FIRST}.log`)),
    /^damage orders-0\/0{20}\.log at 0, offsets 0 to \d: these offsets cannot be read: the file is missing/m,
  ],
  [
    'a segment of other bytes that are good batches',
    async directory => {
      const names = (await readdir(join(directory, 'orders-0'))).filter(name => name.endsWith('.log')).sort();
      await using broker = await startBroker();
      const environment = { SLUICE_SERVER: broker.grpc };
      await runCommand(['topic', 'create', 'orders'], { environment });
      for (let value = 0; value < Number.parseInt(names[1]!, 10); value++) {
        await runCommand(['produce', 'orders'], { environment, input: 'another\n' });
      }
      await cp(join(broker.dataDir, 'orders-0', `${FIRST}.log`), join(directory, 'orders-0', `${FIRST}.log`));
    },
    /^damage orders-0\/0{20}\.log, offsets 0 to \d: every batch is good, and yet this is not the file that was sealed/m,
  ],
  [
    'an offset index',
    directory => flip(join(directory, 'orders-0', `${FIRST}.index`), 7),
    /^derived orders-0\/0{20}\.index at 0: an entry names no batch; remove this file/m,
  ],
  [
    'a time index',
    directory => flip(join(directory, 'plain-0', `${FIRST}.timeindex`), 6),
    /^derived plain-0\/0{20}\.timeindex at 0: an entry dates offset 0 to \d+; the newest record up to there says \d+/m,
  ],
  [
    'an index that is gone',
    directory => rm(join(directory, 'orders-0', `${FIRST}.index`)),
    /^derived orders-0\/0{20}\.index: the file is missing; nothing: it is built again/m,
  ],
  [
    'the checkpoint',
    directory => writeFile(join(directory, 'orders-0', 'leader-epoch-checkpoint'), '0\n7\n'),
    /^derived orders-0\/leader-epoch-checkpoint: this is no checkpoint/m,
  ],
  [
    'a checkpoint of another log',
    directory => writeFile(join(directory, 'orders-0', 'leader-epoch-checkpoint'), '0\n1\n3 0\n'),
    /^derived orders-0\/leader-epoch-checkpoint: this is not the checkpoint that the store knows; nothing: the next start/m,
  ],
  [
    'one copy of the store',
    directory => flip(join(directory, 'store-0'), 30),
    /^derived store-0 at 0: the lines end at 0/m,
  ],
  ['one copy that is gone', directory => rm(join(directory, 'store-1')), /^derived store-1: the file is missing/m],
  [
    'both copies of the store',
    async directory => {
      for (const copy of [0, 1]) await flip(join(directory, `store-${copy}`), 30);
    },
    /^damage store-1: no line of it can be read/m,
  ],
  [
    'the catalogue of an older directory, in a setting',
    async directory => {
      const meta = join(directory, 'meta.json');
      const { checksum: _, ...identity } = JSON.parse(await readFile(meta, 'utf8')) as Record<string, unknown>;
      await writeFile(meta, formatChecked({ ...identity, format_version: 1 }, 2));
      const topics = [{ name: 't', id: crypto.randomUUID(), partition_count: 1, config: { 'segment.bytes': '400' } }];
      const text = formatChecked({ version: 1, topics, deleted: [] }, 1);
      await writeFile(join(directory, 'topics.json'), text.replace('"400"', '"600"'));
    },
    /^damage topics\.json: the broker refuses to start: .*its checksum does not match.*restore the file from a copy/m,
  ],
  [
    'the identity',
    async directory => {
      const file = join(directory, 'meta.json');
      await writeFile(file, (await readFile(file, 'utf8')).replace('"node_id": 1', '"node_id": 2'));
    },
    /^damage meta\.json: the broker refuses to start: .*its checksum does not match/m,
  ],
  [
    'a folder of nobody',
    directory => mkdir(join(directory, 'foreign-0')).then(() => undefined),
    /^damage foreign-0: no topic has this folder; it is kept/m,
  ],
  [
    'a folder that is gone',
    directory => rm(join(directory, 'plain-0'), { recursive: true }),
    /^damage plain-0, offsets 0 to 2: the folder is missing with all its records/m,
  ],
  [
    "a bit in the metadata's log",
    directory => flip(join(directory, METADATA, `${FIRST}.log`), START_BYTES + 70),
    /^damage __cluster_metadata-0\/0{20}\.log at 61, offsets 0 to \d: these offsets cannot be read: /m,
  ],
  [
    'the metadata, which is gone',
    directory => rm(join(directory, METADATA), { recursive: true }),
    /^damage __cluster_metadata-0, offsets 0 to \d+: the folder is missing with all its records/m,
  ],
  [
    'a snapshot of the metadata',
    directory => flip(join(directory, 'metadata-0.snapshot'), 40),
    /^derived metadata-0\.snapshot: a snapshot of the metadata cannot be read: .*; nothing: /m,
  ],
  [
    'a folder of another topic',
    directory => writeFile(join(directory, 'plain-0', 'partition.metadata'), 'version: 0\ntopic_id: AAAA\n'),
    /^damage plain-0\/partition\.metadata: it names another topic/m,
  ],
];

describe('a finding', () => {
  test.each(damages)('%s', async (_, damage, line) => {
    const directory = await copied();
    await damage(directory);
    const before = await contentsOf(directory);
    const { exitCode, text } = await doctor(directory);
    expect(text).toMatch(line);
    expect(text).toMatch(/: [1-9]\d* findings?(, \d+ notes?)?\n$/);
    expect(exitCode).toBe(1);
    expect(await contentsOf(directory)).toEqual(before);
    const { text: json } = await doctor(directory, '-o', 'json');
    expect(JSON.parse(json)).toMatchObject({ healthy: false });
  });
});

test('every byte of the metadata is watched over', async () => {
  for (const file of [join(METADATA, `${FIRST}.log`), 'metadata-0.snapshot']) {
    const { length } = await readFile(join(original, file));
    for (let position = 0; position < length; position += Math.ceil(length / 12)) {
      const directory = await copied();
      await flip(join(directory, file), position);
      const { exitCode, text, notes } = await doctor(directory);
      expect([file, position, exitCode, notes]).toEqual([file, position, 1, '']);
      expect(text).toContain(file);
      expect(text).toMatch(/^checked 2 topics, 3 partitions, \d+ segments, 15 batches, 15 records, /m);
    }
  }
});

describe('giving damage up', () => {
  const damaged = async (): Promise<string> => {
    const directory = await copied();
    await flip(join(directory, 'plain-0', `${FIRST}.log`), 200);
    await flip(join(directory, 'orders-0', `${FIRST}.log`), START_BYTES + 70);
    return directory;
  };

  test('needs --yes where nobody can be asked, and a yes where somebody can', async () => {
    const directory = await damaged();
    const before = await contentsOf(directory);
    expect(await doctor(directory, '--accept-loss')).toMatchObject({
      exitCode: 2,
      notes: expect.stringContaining('--yes'),
    });
    const declined = await runCommand(['doctor', '--data-dir', directory, '--accept-loss'], {
      input: 'n\n',
      isInteractive: true,
    });
    expect(declined).toMatchObject({ exitCode: 0, text: '' });
    expect(declined.notes).toMatch(
      /^damage plain-0.*\n(.*\n)*Give up what is damaged of .*\? .*\[y\/N\] nothing was given up\n$/m,
    );
    expect(await contentsOf(directory)).toEqual(before);
  });

  test('says what was lost, keeps the bytes, and leaves a healthy directory', async () => {
    const directory = await damaged();
    const { exitCode, text } = await doctor(directory, '--accept-loss', '--yes');
    expect(text).toMatch(
      /^lost orders-0\/0{20}\.log, offsets 0 to 0, \d+ bytes: crc: .*; kept in orders-0\/0{20}\.damaged-0-0$/m,
    );
    expect(text).toMatch(
      /^lost plain-0\/0{20}\.log, offsets 1 to 1, \d+ bytes: crc: .*; kept in plain-0\/0{20}\.damaged-1-1$/m,
    );
    expect(text).toMatch(/: healthy\n$/);
    expect(exitCode).toBe(0);
    const kept = await readFile(join(directory, 'plain-0', `${FIRST}.damaged-1-1`));
    const whole = await readFile(join(original, 'plain-0', `${FIRST}.log`));
    expect(kept).toHaveLength((whole.length - START_BYTES) / 3);
    expect(await doctor(directory)).toMatchObject({ exitCode: 0 });
  });

  test('takes only what was chosen', async () => {
    const directory = await damaged();
    const chosen = ['--accept-loss', '--topic', 'orders', '--partition', '0', '--yes'];
    const { exitCode, text } = await doctor(directory, ...chosen, '-o', 'json');
    expect(exitCode).toBe(1);
    expect(JSON.parse(text)).toMatchObject({
      healthy: false,
      accepted_losses: [{ file: `orders-0/${FIRST}.log`, first_offset: 0, last_offset: 0 }],
      findings: [{ file: `plain-0/${FIRST}.log`, first_offset: 1, last_offset: 1 }],
    });
    for (const flags of [['none'], ['orders', '--partition', '2']]) {
      const missing = await doctor(directory, '--accept-loss', '--yes', '--topic', ...flags);
      expect(missing).toMatchObject({
        exitCode: 1,
        notes: expect.stringMatching(/^error: (TOPIC|PARTITION)_NOT_FOUND/),
      });
    }
  });

  test('is not misled by a checkpoint that makes good batches look damaged', async () => {
    const directory = await copied();
    await writeFile(join(directory, 'orders-0', 'leader-epoch-checkpoint'), '0\n1\n3 0\n');
    const { exitCode, text } = await doctor(directory, '--accept-loss', '--yes');
    expect([exitCode, text]).toEqual([0, expect.stringMatching(/^checked .* 15 records, .*: healthy\n$/)]);
  });

  test('is refused by a checkpoint that is as the store knows it and contradicts the batches', async () => {
    const directory = await copied();
    const checkpoint = join(directory, 'orders-0', 'leader-epoch-checkpoint');
    await writeFile(checkpoint, '0\n1\n3 0\n');
    // As an earlier build left the store: without the checksum of the checkpoint.
    for (const copy of ['store-0', 'store-1']) {
      const lines = (await readFile(join(directory, copy), 'utf8')).split('\n').filter(line => !line.startsWith('\0'));
      const older = lines.map(line => line.slice(9).replace(/,"epochsCrc":-?\d+/, '')).filter(json => json !== '');
      const checked = older.map(json => `${crc32c(Buffer.from(json)).toString(16).padStart(8, '0')} ${json}\n`);
      await writeFile(join(directory, copy), checked.join(''));
    }
    expect((await doctor(directory)).text).toMatch(
      /^derived orders-0\/leader-epoch-checkpoint: the epochs do not fit/m,
    );
    const refused = await doctor(directory, '--accept-loss', '--yes');
    expect(refused).toMatchObject({ exitCode: 1, notes: expect.stringContaining('remove this file') });
    await rm(checkpoint);
    expect(await doctor(directory, '--accept-loss', '--yes')).toMatchObject({ exitCode: 0 });
    expect(await doctor(directory)).toMatchObject({ exitCode: 0, text: expect.stringContaining('15 records') });
  });

  test('readers of every door step over the gap, at its start, inside and behind it', async () => {
    const directory = await damaged();
    await doctor(directory, '--accept-loss', '--yes');
    await using broker = await startBroker({ dataDir: directory });
    const page = async (path: string): Promise<{ offsets: number[]; status: number }> => {
      const answer = await fetch(`${broker.http}/v1/topics/${path}`);
      const { records = [] } = (await answer.json()) as { records?: { offset: number }[] };
      return { status: answer.status, offsets: records.map(record => record.offset) };
    };
    expect(await page('plain/partitions/0/records')).toEqual({ status: 200, offsets: [0, 2] });
    expect(await page('plain/partitions/0/records?offset=1')).toEqual({ status: 200, offsets: [2] });
    expect(await page('plain/partitions/0/records?offset=1&max_bytes=1')).toEqual({ status: 200, offsets: [2] });
    expect(await page('orders/partitions/0/records')).toEqual({
      status: 200,
      offsets: Array.from({ length: 11 }, (_, index) => index + 1),
    });
    const gone = await fetch(`${broker.http}/v1/topics/plain/partitions/0/records/1`);
    expect(await gone.json()).toMatchObject({ status: 404, code: 'RECORD_NOT_FOUND' });
    const sluice = new Sluice({ servers: [broker.grpc] });
    try {
      const offsets: number[] = [];
      for await (const message of sluice.reader({ topic: defineTopic({ name: 'plain' }), from: 'earliest' })) {
        offsets.push(message.offset);
        if (message.offset >= 2) break;
      }
      expect(offsets).toEqual([0, 2]);
    } finally {
      await sluice.close();
    }
    const environment = { SLUICE_SERVER: broker.grpc };
    const read = ['consume', 'plain', '--from-beginning', '--exit-at-end', '--format', '%o '];
    expect((await runCommand(read, { environment })).text).toBe('0 2 ');
    await runCommand(['produce', 'plain'], { environment, input: 'more\n' });
    expect((await runCommand(read, { environment })).text).toBe('0 2 3 ');
  });
});
