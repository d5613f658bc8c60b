// Kafka reads what we wrote, and we read what Kafka wrote; record by record the same, or one of the two is wrong.
//
// The segments that other tests left in SLUICE_SEGMENTS_DIR (or .work/segments) are judged file by file. The judge
// itself is put to the proof with damaged copies: a judge that cannot accuse proves nothing.

import { appendFile, copyFile, mkdir, mkdtemp, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import {
  BatchBuilder,
  encodeConfiguration,
  splitBatches,
  stampAppendTime,
  stampBatch,
  type Codec,
} from '@sluice/protocol/record';
import { Form } from '@sluice/protocol/services';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sluice } from '../integration/command-line.ts';
import { Doors } from '../integration/doors.ts';
import { difference, type SetRecord } from '../integration/record-set.ts';
import { KeyedLog } from '../storage/compaction/keyed-log.ts';
import { RandomKeys } from '../storage/compaction/random-keys.ts';
import { LogWorld, PARTITION } from '../storage/log-world.ts';
import { waysOut } from '../integration/ways-out.ts';
import { prepareKafka, type FileReport, type KafkaJudge } from './kafka-judge.ts';
import { batchesOf, digestsOf, recordsOf, segmentFilesBelow } from './segment.ts';
import { skipLoudly } from './tool.ts';

const SEED = 20_260_101;
const CODECS: readonly Codec[] = ['none', 'gzip', 'snappy', 'lz4', 'zstd'];
const SEGMENTS_LEFT = process.env['SLUICE_SEGMENTS_DIR'] ?? new URL('../../.work/segments', import.meta.url).pathname;

const prepared = await prepareKafka();
if (!prepared.ok) skipLoudly('the Kafka judge', prepared.reason);

interface Expectation {
  readonly batch?: Record<string, unknown>;
  readonly record?: {
    readonly offset: number;
    readonly timestamp: number;
    readonly key: string | null;
    readonly value: string | null;
    readonly headers: readonly { readonly key: string; readonly value: string | null }[];
  };
}

describe.skipIf(!prepared.ok)('with Kafka as the judge', () => {
  let kafka: KafkaJudge;
  let folder: string;
  /** One folder a shape, as Kafka wrote it. */
  let written: string[];

  beforeAll(async () => {
    if (!prepared.ok) return;
    kafka = prepared.kafka;
    folder = await mkdtemp(join(tmpdir(), 'sluice-kafka-'));
    await kafka.write(join(folder, 'kafka'), SEED);
    written = (await segmentFilesBelow(join(folder, 'kafka'))).filter(file => file.endsWith('.log')).map(dirname);
  });

  afterAll(async () => {
    if (prepared.ok) await rm(folder, { recursive: true, force: true });
  });

  async function reportOn(file: string): Promise<FileReport> {
    const report = (await kafka.inspect([file])).get(file);
    if (report === undefined) throw new Error(`no report on ${file}`);
    return report;
  }

  /** A private copy of one of Kafka's own segments, to be damaged. */
  async function copyOf(shape: string, name: string): Promise<string> {
    const source = join(folder, 'kafka', `${shape}-0`);
    const target = join(folder, `${name}-0`);
    await mkdir(target);
    for (const file of await segmentFilesBelow(source)) await copyFile(file, join(target, basename(file)));
    return join(target, '00000000000000000000');
  }

  test('we read every record that Kafka wrote, with every codec', async () => {
    expect(written).toHaveLength(CODECS.length * 2 * 3);
    for (const shape of written) {
      const lines = (await readFile(join(shape, 'expected.jsonl'), 'utf8')).trimEnd().split('\n');
      const expected = lines.map(line => JSON.parse(line) as Expectation);
      const batches = batchesOf(await readFile(join(shape, '00000000000000000000.log')));
      const seen: Expectation[] = [];
      for (const batch of batches) {
        const { baseOffset, lastOffset, byteLength, leaderEpoch, codec, timestampType, maxTimestamp } = batch;
        const { producerId, producerEpoch, baseSequence, isTransactional, isControl, recordCount } = batch;
        const header = { baseOffset, lastOffset, byteLength, leaderEpoch, codec, timestampType, maxTimestamp };
        seen.push({
          batch: { ...header, producerId, producerEpoch, baseSequence, isTransactional, isControl, recordCount },
        });
        for (const { offset, timestamp, key, value, headers } of recordsOf(batch)) {
          const fields = { offset, timestamp, key: base64(key), value: base64(value) };
          seen.push({
            record: {
              ...fields,
              headers: headers.map(({ key: name, value: bytes }) => ({
                key: base64(Buffer.from(name)) ?? '',
                value: base64(bytes),
              })),
            },
          });
        }
      }
      expect({ shape, seen }).toEqual({ shape, seen: expected });
      expect(seen.length).toBeGreaterThan(100);
    }
  });

  test.each(CODECS)('Kafka reads what our encoder wrote with %s', async codec => {
    const log = join(folder, `encoder-${codec}-0`, '00000000000000000000.log');
    await mkdir(dirname(log));
    let offset = 0;
    for (let index = 0; index < 50; index++) {
      const identity = { id: 9_000 + (index % 3), epoch: 2, baseSequence: index };
      const builder = new BatchBuilder({ codec, ...(index % 3 === 0 ? {} : { producer: identity }) });
      for (let record = 0; record <= index; record++) {
        builder.append({
          key: record % 4 === 0 ? null : `key ü ${record % 7}`,
          // The last batch is larger than a block of any codec.
          value: record % 5 === 0 ? null : Buffer.alloc(record * (index === 49 ? 170 : 17), index),
          timestamp: 1_700_000_000_000 + index * 1_000 - record * 3,
          headers: [
            { key: 'trace', value: null },
            { key: 'größe', value: Buffer.from([record, 0, 255]) },
            { key: 'trace', value: '' },
          ].slice(record % 4),
        });
      }
      const batch = builder.build();
      stampBatch(batch, { baseOffset: offset, leaderEpoch: 1 + Math.floor(index / 20) });
      if (index % 10 === 9) stampAppendTime(batch, 1_700_000_100_000 + index);
      offset += index + 1;
      await appendFile(log, batch);
    }
    const report = await reportOn(log);
    expect(report.findings).toEqual([]);
    expect(report.batches).toEqual(await digestsOf(log));
    expect(report.batches).toHaveLength(50);
  });

  test('Kafka has nothing to say against epoch starts and configurations, wherever they stand', async () => {
    const settings = { segmentBytes: 1_500, indexIntervalBytes: 1 };
    const world = await LogWorld.start({ seed: 'kafka', settings });
    const voters = ['1/0a0b0c0d-1111-4222-8333-444444444444'];
    const configuration = { voters, outgoing: [], learners: [], learnersNext: [], autoLeave: false };
    for (let epoch = 1; epoch < 40; epoch++) {
      world.beginEpoch(epoch);
      if (epoch % 5 === 0) continue;
      for (let turn = 0; turn < epoch % 4; turn++) {
        await world.appendDurably(
          { count: 2, valueBytes: 60, timestamp: 1_700_000_000_000 + epoch * 10 + turn },
          epoch,
        );
      }
      if (epoch % 7 !== 0) continue;
      const stamp = { epoch, baseOffset: world.log.endOffset, timestamp: 1_700_000_000_000 + epoch * 10 };
      world.log.appendReplicated([encodeConfiguration(configuration, stamp)]);
    }
    await world.close();
    const files: string[] = [];
    await mkdir(join(folder, 'epochs-0'));
    for (const name of world.files()) {
      if (!/\.(log|index|timeindex)$/.test(name)) continue;
      const file = join(folder, 'epochs-0', name);
      await writeFile(file, world.disk.contents(`${PARTITION}/${name}`));
      files.push(file);
    }
    let starts = 0;
    let controls = 0;
    for (const [file, { findings, batches, entries }] of await kafka.inspect(files)) {
      expect({ file, findings }).toEqual({ file, findings: [] });
      if (!file.endsWith('.log')) continue;
      expect({ file, batches }).toEqual({ file, batches: await digestsOf(file) });
      starts += batches.filter(batch => batch.lastOffset < batch.baseOffset).length;
      controls += entries.filter(entry => entry.includes('isControl: true')).length;
    }
    expect([starts, controls, files.length > 9]).toEqual([39, 43, true]);
  });

  test('Kafka has nothing to say against a log that was cleaned, and reads the same records', async () => {
    const keyed = await KeyedLog.start({ seed: 'cleaned', settings: { segmentBytes: 4_000 } });
    const keys = new RandomKeys(keyed.world.random, keyed.world);
    for (let turn = 0; turn < 120; turn++) {
      if (turn % 15 === 14) keyed.world.beginEpoch(keyed.log.leaderEpoch + 1);
      await keyed.appendDurably(keys.records(1 + (turn % 9)), CODECS[turn % CODECS.length]);
      if (turn % 40 === 39) expect(await keyed.clean()).toMatchObject({ kind: 'cleaned' });
    }
    await keyed.judge();
    await keyed.world.close();
    const files: string[] = [];
    await mkdir(join(folder, 'cleaned-0'));
    for (const name of keyed.world.files()) {
      if (!/\.(log|index|timeindex)$/.test(name)) continue;
      const file = join(folder, 'cleaned-0', name);
      await writeFile(file, keyed.world.disk.contents(`${PARTITION}/${name}`));
      files.push(file);
    }
    let gaps = 0;
    let records = 0;
    for (const [file, { findings, batches }] of await kafka.inspect(files)) {
      // Of records, which is what cleaning is; between batches there is nothing missing, as the digests say.
      const faults = findings.filter(finding => !finding.startsWith('Non-consecutive offsets: '));
      expect({ file, faults }).toEqual({ file, faults: [] });
      if (!file.endsWith('.log')) continue;
      expect({ file, batches }).toEqual({ file, batches: await digestsOf(file) });
      gaps += batches.filter(batch => batch.recordCount === 0 && batch.lastOffset >= batch.baseOffset).length;
      for (const batch of batches) records += batch.recordCount;
    }
    expect(gaps).toBeGreaterThan(10);
    expect(records).toBeGreaterThan(40);
  });

  test('Kafka has nothing to say against its own segments', async () => {
    const files = await segmentFilesBelow(join(folder, 'kafka'));
    for (const [file, report] of await kafka.inspect(files)) {
      expect({ file, findings: report.findings }).toEqual({ file, findings: [] });
      expect(report.entries.length).toBeGreaterThan(0);
    }
  });

  describe('the judge accuses', () => {
    test('a flipped bit in a record', async () => {
      const path = await copyOf('none-CreateTime-plain', 'flipped-bit');
      const bytes = await readFile(`${path}.log`);
      const at = Math.floor(bytes.length / 2);
      bytes.writeUInt8(bytes.readUInt8(at) ^ 0x10, at);
      await writeFile(`${path}.log`, bytes);
      const { findings } = await reportOn(`${path}.log`);
      expect(findings.join('\n')).toMatch(/isvalid: false|threw/);
    });

    test('a torn tail', async () => {
      const path = await copyOf('zstd-CreateTime-idempotent', 'torn-tail');
      await truncate(`${path}.log`, (await readFile(`${path}.log`)).length - 7);
      const { findings } = await reportOn(`${path}.log`);
      expect(findings.join('\n')).toMatch(/invalid bytes at the end/);
    });

    test('an offset that is missing between two batches', async () => {
      const path = await copyOf('none-CreateTime-plain', 'missing-batch');
      const bytes = await readFile(`${path}.log`);
      const batches = batchesOf(bytes);
      await writeFile(
        `${path}.log`,
        Buffer.concat(batches.filter((_, index) => index !== 3).map(batch => batch.bytes)),
      );
      const { findings } = await reportOn(`${path}.log`);
      expect(findings.join('\n')).toMatch(/Non-consecutive offsets/);
    });

    test('an index entry that names another batch', async () => {
      const path = await copyOf('gzip-CreateTime-plain', 'wrong-position');
      const index = await readFile(`${path}.index`);
      index.writeInt32BE(index.readInt32BE(0) + 1, 0);
      await writeFile(`${path}.index`, index);
      expect((await reportOn(`${path}.index`)).findings.join('\n')).toMatch(/Mismatches in/);
    });

    test('an index whose last entry lies before its segment', async () => {
      const path = await copyOf('none-CreateTime-plain', 'insane-index');
      const index = await readFile(`${path}.index`);
      index.writeInt32BE(-5, index.length - 8);
      await writeFile(`${path}.index`, index);
      const { findings } = await reportOn(`${path}.index`);
      expect(findings.join('\n')).toMatch(/did not pass the sanity check/);
    });

    test('a time index whose timestamp is not the batch’s', async () => {
      const path = await copyOf('none-CreateTime-plain', 'wrong-timestamp');
      const index = await readFile(`${path}.timeindex`);
      index.writeBigInt64BE(index.readBigInt64BE(0) + 1n, 0);
      await writeFile(`${path}.timeindex`, index);
      expect((await reportOn(`${path}.timeindex`)).findings.join('\n')).toMatch(/timestamp mismatch/);
    });

    test('a time index out of order', async () => {
      const path = await copyOf('none-CreateTime-plain', 'time-order');
      const index = await readFile(`${path}.timeindex`);
      await writeFile(
        `${path}.timeindex`,
        Buffer.concat([index.subarray(12, 24), index.subarray(0, 12), index.subarray(24)]),
      );
      expect((await reportOn(`${path}.timeindex`)).findings.join('\n')).toMatch(/out of order timestamp/);
    });

    test('a time index entry beyond the log', async () => {
      const path = await copyOf('none-CreateTime-plain', 'beyond');
      const entry = Buffer.alloc(12);
      entry.writeBigInt64BE(1_800_000_000_000n, 0);
      entry.writeInt32BE(1_000_000, 8);
      await appendFile(`${path}.timeindex`, entry);
      expect((await reportOn(`${path}.timeindex`)).findings.join('\n')).toMatch(/not found in|threw/);
    });
  });

  describe('sluice dump-log', () => {
    const shapes = [
      'none-CreateTime-plain',
      'gzip-LogAppendTime-idempotent',
      'snappy-CreateTime-idempotent',
      'lz4-LogAppendTime-transactional',
      'zstd-CreateTime-transactional',
    ];

    test.each(shapes)('prints of %s what Kafka prints', async shape => {
      const files = await segmentFilesBelow(join(folder, 'kafka', `${shape}-0`));
      expect(files).toHaveLength(3);
      const reports = await kafka.inspect(files);
      for (const file of files) {
        const { status, stdout } = await sluice(['dump-log', file]);
        const ours = stdout
          .toString()
          .split('\n')
          .filter(line => /^(baseOffset|offset|timestamp): /.test(line));
        expect({ file, status, entries: ours }).toEqual({ file, status: 0, entries: reports.get(file)?.entries });
      }
    });

    test('exits 1 on damage, and says where', async () => {
      const path = await copyOf('zstd-CreateTime-plain', 'dump-damaged');
      const bytes = await readFile(`${path}.log`);
      const second = batchesOf(bytes)[0]?.byteLength ?? 0;
      bytes.writeUInt8(bytes.readUInt8(second + 80) ^ 1, second + 80);
      await writeFile(`${path}.log`, bytes);
      const { status, stderr } = await sluice(['dump-log', `${path}.log`]);
      expect({ status, stderr }).toMatchObject({ status: 1, stderr: expect.stringContaining(`position ${second}`) });
    });
  });

  describe('what Kafka compressed goes in as it is', () => {
    let doors: Doors;

    beforeAll(async () => {
      if (prepared.ok) doors = await Doors.open(join(folder, 'data'), folder);
    });

    test.each(CODECS)('with %s, and comes back by every way', async codec => {
      const topic = `kafka-${codec}`;
      await doors.createTopic(topic, 1);
      const sent = batchesIn(await readFile(join(folder, 'kafka', `${codec}.batches`)));
      const stream = doors.grpc.produce();
      const answers = await Promise.all(sent.map(batches => stream.send({ topic, partition: 0, batches })));
      stream.end();
      expect(answers.map(answer => answer.case)).toEqual(sent.map(() => 'ack'));

      const lines = (await readFile(join(folder, 'kafka', `${codec}.batches.jsonl`), 'utf8')).trimEnd().split('\n');
      const records = lines.map(line => JSON.parse(line) as Expectation).flatMap(sentRecord);
      expect(records.length).toBeGreaterThan(3_000);
      const faults: Record<string, string | null> = {};
      for (const way of waysOut) {
        const comparison = { spelling: way.spelling, isWhole: way.gives === 'all', notBefore: 0, notAfter: 0 };
        faults[way.name] = difference(records, await way.read(doors, topic, 1), comparison);
      }
      expect(faults).toEqual(Object.fromEntries(waysOut.map(({ name }) => [name, null])));

      const stored: Uint8Array[] = [];
      for await (const { payload } of doors.grpc.readToEnd({ topic, partition: 0, form: Form.BATCHES })) {
        if (payload.case === 'batches') stored.push(...batchesIn(payload.value));
      }
      expect(stored.map(unstamped)).toEqual(sent.map(unstamped));
    });

    test('and Kafka reads it from our segments', async () => {
      expect(await doors.close()).toBe(0);
      const logs = (await segmentFilesBelow(join(folder, 'data'))).filter(file => file.includes('kafka-'));
      expect(logs.length).toBeGreaterThanOrEqual(3 * CODECS.length);
      for (const [file, { findings, batches }] of await kafka.inspect(logs)) {
        expect({ file, findings }).toEqual({ file, findings: [] });
        if (file.endsWith('.log')) expect({ file, batches }).toEqual({ file, batches: await digestsOf(file) });
      }
    });
  });

  test('Kafka finds every segment sound that the other tests left, and reads the same records from it', async context => {
    const files = await segmentFilesBelow(SEGMENTS_LEFT);
    if (files.length === 0) {
      skipLoudly('the segments of the other tests', `none in ${SEGMENTS_LEFT}: run npm test first`);
      context.skip();
    }
    const reports = await kafka.inspect(files);
    let batchCount = 0;
    for (const [file, { findings, batches, entries }] of reports) {
      const isLog = file.endsWith('.log');
      // Of an index Kafka reads up to the first empty entry, and rounds down: one of ours is exactly its entries.
      const { size } = await stat(file);
      const expected = isLog ? await digestsOf(file) : [];
      const entryCount = isLog ? expected.length : size / (file.endsWith('.timeindex') ? 12 : 8);
      expect({ file, findings, batches, entryCount: entries.length }).toEqual({
        file,
        findings: [],
        batches: expected,
        entryCount,
      });
      batchCount += batches.length;
    }
    expect(batchCount).toBeGreaterThan(0);
    process.stderr.write(`Kafka read ${batchCount} batches in ${files.length} files of ${SEGMENTS_LEFT}\n`);
  });
});

function base64(bytes: Uint8Array | null): string | null {
  return bytes === null ? null : Buffer.from(bytes).toString('base64');
}

function batchesIn(bytes: Uint8Array): Uint8Array[] {
  const split = splitBatches(bytes, { bytesMax: Number.MAX_SAFE_INTEGER });
  if (!split.ok) throw new Error(JSON.stringify(split.fault));
  return split.batches;
}

/** All but the base offset and the leader epoch. */
function unstamped(batch: Uint8Array): string {
  return Buffer.concat([batch.subarray(8, 12), batch.subarray(16)]).toString('hex');
}

function sentRecord({ record }: Expectation): SetRecord[] {
  if (record === undefined) return [];
  const { timestamp, key, value, headers } = record;
  const list = headers.map(header => ({
    key: Buffer.from(header.key, 'base64').toString(),
    value: bytesOf(header.value),
  }));
  return [{ partition: 0, key: bytesOf(key), value: bytesOf(value), headers: list, timestamp }];
}

function bytesOf(text: string | null): Buffer | null {
  return text === null ? null : Buffer.from(text, 'base64');
}
