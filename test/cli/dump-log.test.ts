// dump-log: what a real broker wrote, and the damage that a test does to copies of it.

import {
  appendFile,
  copyFile,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  rm,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ATTRIBUTES_AT, encodeBatch, sealBatch } from '@sluice/protocol/record';
import { startBroker } from 'sluice/testing';
import { runCommand } from './command-run.ts';

const SEGMENT = '00000000000000000000.log';
const INDEX = '00000000000000000000.index';
const TIME_INDEX = '00000000000000000000.timeindex';
const BATCHES = 40;

let folder: string;
let partition: string;
let copies = 0;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'dump-log-'));
  // A clean stop writes the indexes to their end.
  await using broker = await startBroker({ dataDir: folder });
  const environment = { SLUICE_SERVER: broker.grpc };
  await runCommand(['topic', 'create', 'dumped', '--config', 'index.interval.bytes=200'], { environment });
  const codecs = ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const;
  for (let batch = 0; batch < BATCHES; batch++) {
    const input = [1, 2, 3]
      .map(
        n =>
          `${JSON.stringify({ key: `k${n}`, value_text: `v${batch}\t${n}`, headers: { h: 'x' }, timestamp: 1000 + batch })}\n`,
      )
      .join('');
    const words = ['produce', 'dumped', '--input', 'record', '--compression', codecs[batch % codecs.length] ?? 'none'];
    const { exitCode, notes } = await runCommand(words, { environment, input });
    if (exitCode !== 0) throw new Error(notes);
  }
  partition = join(folder, 'dumped-0');
});

afterAll(() => rm(folder, { recursive: true, force: true }));

const dump = (file: string, ...flags: readonly string[]): ReturnType<typeof runCommand> =>
  runCommand(['dump-log', file, ...flags]);

/** A copy of the partition's folder, to be damaged. */
const copied = async (): Promise<string> => {
  const copy = join(folder, `copy-${++copies}`);
  await mkdir(copy);
  const files = await readdir(partition);
  for (const name of files) await copyFile(join(partition, name), join(copy, name));
  return copy;
};

const flip = async (path: string, position: number, bit = 0x10): Promise<void> => {
  const file = await open(path, 'r+');
  const byte = Buffer.alloc(1);
  await file.read(byte, 0, 1, position);
  await file.write(Buffer.of(byte[0]! ^ bit), 0, 1, position);
  await file.close();
};

/** Positions of the batches as the dump tells them. */
const positions = (text: string): number[] => [...text.matchAll(/ position: (\d+) /g)].map(match => Number(match[1]));

describe('a sound segment', () => {
  test('is a line a batch, with the names of Kafka', async () => {
    const path = join(partition, SEGMENT);
    const { exitCode, text, notes } = await dump(path);
    expect([exitCode, notes]).toEqual([0, '']);
    const lines = text.trimEnd().split('\n');
    expect(lines.slice(0, 2)).toEqual([`Dumping ${path}`, 'Log starting offset: 0']);
    const data = lines.slice(2).filter(line => line.includes('isControl: false'));
    expect(data).toHaveLength(BATCHES);
    expect(lines[2]).toMatch(
      /^baseOffset: 0 .* partitionLeaderEpoch: 1 isTransactional: false isControl: true .* position: 0 .* isvalid: true$/,
    );
    expect(data[1]).toMatch(
      /^baseOffset: 3 lastOffset: 5 count: 3 baseSequence: 0 lastSequence: 2 producerId: \d+ producerEpoch: 0 partitionLeaderEpoch: \d+ isTransactional: false isControl: false deleteHorizonMs: OptionalLong\.empty position: \d+ CreateTime: 1001 size: \d+ magic: 2 compresscodec: gzip crc: \d+ isvalid: true$/,
    );
  });

  test('--deep adds a line a record, which a control character cannot break', async () => {
    const { text } = await dump(join(partition, SEGMENT), '--deep');
    const records = text.split('\n').filter(line => line.startsWith('| '));
    expect(records).toHaveLength(BATCHES * 3);
    expect(records[4]).toBe(
      '| offset: 4 CreateTime: 1001 keySize: 2 valueSize: 4 sequence: 1 headerKeys: [h] key: k2 payload: v1 2',
    );
  });
});

test('a codec id that means nothing is damage', async () => {
  const other = join(folder, 'other');
  await mkdir(other);
  const path = join(other, SEGMENT);
  const batch = encodeBatch([{ key: null, value: 'x', timestamp: 1 }]);
  batch[ATTRIBUTES_AT + 1] = 5;
  sealBatch(batch);
  await writeFile(path, batch);
  const { exitCode, text, notes } = await dump(path, '--deep');
  expect(exitCode).toBe(1);
  expect(text).toContain('compresscodec: unknown');
  expect(notes).toContain('the codec id means nothing');
});

describe('sound indexes', () => {
  test('are a line an entry, each of which the segment confirms', async () => {
    const index = await dump(join(partition, INDEX));
    expect([index.exitCode, index.notes]).toEqual([0, '']);
    expect(index.text).toMatch(/\noffset: \d+ position: \d+\n/);
    const times = await dump(join(partition, TIME_INDEX));
    expect([times.exitCode, times.notes]).toEqual([0, '']);
    expect(times.text).toMatch(/\ntimestamp: \d+ offset: \d+\n/);
  });
});

describe('damage is exit code 1, with the file and the position', () => {
  /** What the dump of that file complains about, in its one line. */
  const damage = async (
    path: string,
    ...flags: string[]
  ): Promise<{ exitCode: number; found: string; text: string }> => {
    const { exitCode, notes, text } = await dump(path, ...flags);
    const prefix = `error: ${path} is damaged at position `;
    return { exitCode, found: notes.startsWith(prefix) ? notes.slice(prefix.length) : notes, text };
  };

  const at = (position: number, reason: string): object => ({
    exitCode: 1,
    found: expect.stringMatching(new RegExp(`^${position}: [^\n]*${reason}[^\n]*\n$`)),
  });

  test('a flipped bit in a batch: it is shown as invalid, and so are those behind it as valid', async () => {
    const path = join(await copied(), SEGMENT);
    const places = positions((await dump(path)).text);
    await flip(path, places[5]! + 70);
    const { text, ...rest } = await damage(path);
    expect(rest).toEqual(at(places[5]!, 'crc: '));
    expect(text.match(/isvalid: false/g)).toHaveLength(1);
    expect(positions(text)).toEqual(places);
  });

  test('a length that cannot be ends the dump', async () => {
    const path = join(await copied(), SEGMENT);
    const places = positions((await dump(path)).text);
    await flip(path, places[5]! + 8);
    const { text, ...rest } = await damage(path);
    expect(rest).toEqual(at(places[5]!, 'bytes'));
    expect(positions(text)).toEqual(places.slice(0, 5));
  });

  test('another version of the format', async () => {
    const path = join(await copied(), SEGMENT);
    const places = positions((await dump(path)).text);
    await flip(path, places[2]! + 16);
    expect(await damage(path)).toMatchObject(at(places[2]!, String.raw`magic: format version`));
  });

  test('a batch that was cut off, zeros at the end, bytes that are no batch', async () => {
    const cut = join(await copied(), SEGMENT);
    const places = positions((await dump(cut)).text);
    await truncate(cut, places.at(-1)! + 30);
    expect(await damage(cut)).toMatchObject(at(places.at(-1)!, String.raw`the file ends after 30`));
    const longer = join(await copied(), SEGMENT);
    const { length } = await readFile(longer);
    await appendFile(longer, Buffer.alloc(4096));
    expect(await damage(longer)).toMatchObject(at(length, String.raw`less than a header`));
  });

  test('a batch out of order', async () => {
    const path = join(await copied(), SEGMENT);
    const places = positions((await dump(path)).text);
    const bytes = await readFile(path);
    await appendFile(path, bytes.subarray(places[2], places[3]));
    expect(await damage(path)).toMatchObject(
      at(bytes.length, String.raw`base offset 3 where at least \d+ is expected`),
    );
  });

  test('records that are garbage under a good checksum are found by --deep', async () => {
    const path = join(await copied(), SEGMENT);
    const { crc32c } = await import('@sluice/protocol/record');
    const bytes = await readFile(path);
    const places = positions((await dump(path)).text);
    const batch = bytes.subarray(places[1], places[2]);
    batch[61] = 0x7f;
    batch.writeUInt32BE(crc32c(batch, 21), 17);
    const file = await open(path, 'r+');
    await file.write(batch, 0, batch.length, places[1]);
    await file.close();
    expect(await dump(path)).toMatchObject({ exitCode: 0 });
    expect(await damage(path, '--deep')).toMatchObject(at(places[1]!, 'record 0: '));
  });

  test.each([
    [INDEX, 8, 'position', 7, 0x10],
    [INDEX, 8, 'offset', 3, 0x40],
    [TIME_INDEX, 12, 'timestamp', 7, 0x10],
    [TIME_INDEX, 12, 'offset', 11, 0x40],
  ])('%s: an entry of %i bytes whose %s the segment contradicts', async (name, entryBytes, _, byte, bit) => {
    const path = join(await copied(), name);
    await flip(path, entryBytes * 2 + byte, bit);
    expect(await damage(path)).toMatchObject(at(entryBytes * 2, String.raw`(?:the segment|the batch)`));
  });

  test('an index that does not rise is found without its segment', async () => {
    const path = join(await copied(), INDEX);
    const alone = join(folder, INDEX);
    const bytes = await readFile(path);
    await appendFile(alone, Buffer.concat([bytes.subarray(8, 16), bytes.subarray(0, 8)]));
    expect(await damage(alone)).toMatchObject(at(8, String.raw`does not rise`));
  });

  test('half an entry', async () => {
    const path = join(await copied(), TIME_INDEX);
    const { length } = await readFile(path);
    await appendFile(path, Buffer.alloc(5));
    expect(await damage(path)).toMatchObject(at(length, String.raw`5 bytes are no whole entry`));
  });
});

describe('what is no segment file', () => {
  test('is refused by its name, and a missing one by its absence', async () => {
    const other = await dump(join(partition, 'partition.metadata'));
    expect([other.exitCode, other.notes]).toEqual([1, expect.stringContaining('no segment file')]);
    const missing = await dump(join(partition, '00000000000000000009.log'));
    expect([missing.exitCode, missing.notes]).toEqual([1, expect.stringMatching(/^error: cannot read .*not-found/)]);
  });
});
