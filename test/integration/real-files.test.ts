// Real data sets through every door: in by each way, with each compression it has, out by each way, equal record by record.
//
// The smaller sets take the whole matrix; flights (200,000 records) goes in by every way and comes back by every streaming
// one. The broker runs in a process of its own. What it wrote is left for the outside judges.

import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execFileSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Doors } from './doors.ts';
import { leaveSegments } from './left-segments.ts';
import {
  csvLines,
  difference,
  earthquakes,
  flights,
  movies,
  objectsOf,
  valuesOf,
  type RecordSet,
  type SetRecord,
  type Spelling,
} from './record-set.ts';
import { curl, octetStream, restText, sdk, textWaysIn, waysIn, type WayCodec, type WayIn } from './ways-in.ts';
import { grpcBatchesOut, pages, textByCommandLine, textByHttp, waysOut, type WayOut } from './ways-out.ts';

const STREAMING = waysOut.filter(({ gives, name }) => gives === 'all' && !name.includes('pages'));

let folder: string;
let doors: Doors;
let topicCount = 0;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sluice-files-'));
  doors = await Doors.open(join(folder, 'data'), folder);
});

afterAll(async () => {
  const status = await doors.close();
  await leaveSegments(join(folder, 'data'), 'real-files');
  await rm(folder, { recursive: true, force: true });
  assert.equal(status, 0, 'the broker did not end well');
});

interface Written {
  readonly topic: string;
  readonly set: RecordSet;
  readonly spelling: Spelling;
  readonly notBefore: number;
  readonly notAfter: number;
}

async function write(way: WayIn, set: RecordSet, codec: WayCodec): Promise<Written> {
  const topic = `${set.name}-${topicCount++}`;
  const carried = way.carries === 'values' ? valuesOf(set) : set;
  await doors.createTopic(topic, carried.partitionCount);
  const notBefore = Date.now();
  await way.send(doors, topic, carried, codec);
  return { topic, set: carried, spelling: way.spelling, notBefore, notAfter: Date.now() };
}

/** What is wrong with what comes back by this way; null when nothing is. */
async function readingFault({ topic, set, ...written }: Written, way: WayOut): Promise<string | null> {
  const records = await way.read(doors, topic, set.partitionCount);
  const spelling = written.spelling === 'exact' ? way.spelling : written.spelling;
  return difference(set.records, records, { ...written, spelling, isWhole: way.gives === 'all' });
}

describe.each([
  ['movies', movies],
  ['earthquakes', earthquakes],
] as const)('%s', (name, load) => {
  let set: RecordSet;

  beforeAll(async () => {
    set = await load();
    assert(set.records.length > 1_700);
  });

  // Ways that carry text or JSON values take what is such a value; the others take everything.
  const cases = waysIn.flatMap((way, index) =>
    way.codecs
      .filter((_, codecIndex) => name === 'movies' || codecIndex === index % way.codecs.length)
      .map(codec => ({ way, codec, name: way.name })),
  );

  test.each(cases)('in by $name, compression $codec, back by every way', async ({ way, codec }) => {
    const written = await write(way, way.carries === 'records' ? set : objectsOf(set), codec);
    const faults: Record<string, string | null> = {};
    for (const out of waysOut) {
      // The command line takes its time to start: it reads what went in uncompressed.
      if (out.name.startsWith('sluice') && codec !== 'none' && name === 'movies') continue;
      faults[out.name] = await readingFault(written, out);
    }
    expect(faults).toEqual(Object.fromEntries(Object.keys(faults).map(name => [name, null])));
    expect(Object.keys(faults).length).toBeGreaterThan(7);
  });

  test.each(octetStream.codecs)('in as raw bodies one by one, compression %s', async codec => {
    // A body is bytes: it cannot be a tombstone, and it has no timestamp of its own.
    const records = set.records
      .filter(({ value }) => value !== null)
      .slice(0, 60)
      .map((record): SetRecord => Object.assign({}, record, { timestamp: null }));
    const written = await write(octetStream, { ...set, records }, codec);
    for (const out of waysOut) expect([out.name, await readingFault(written, out)]).toEqual([out.name, null]);
  });
});

describe('flights, 200,000 records', () => {
  let set: RecordSet;

  beforeAll(async () => {
    set = await flights();
    assert.equal(set.records.length, 200_000);
  });

  test.each(waysIn.map((way, index) => ({ way, index, name: way.name })))('in by $name', async ({ way, index }) => {
    const codec = way.codecs[index % way.codecs.length] ?? 'none';
    const written = await write(way, set, codec);
    // Each streaming way out has its turn; the last two have two.
    const out = STREAMING[index % STREAMING.length];
    expect([out?.name, out && (await readingFault(written, out))]).toEqual([out?.name, null]);
  });
});

describe('CSV files line by line', () => {
  const withCarriageReturns = ['birdstrikes', 'windvectors', 'global-temp'];
  const others = ['airports', 'stocks', 'github', 'co2-concentration', 'species', 'sp500-2000', 'us-employment'];

  const bytesOf = (set: RecordSet): Buffer =>
    Buffer.concat(set.records.flatMap(({ value }) => [value ?? Buffer.alloc(0), Buffer.from('\n')]));

  test.each(withCarriageReturns)('%s keeps its carriage returns, by HTTP and by the command line', async name => {
    const set = await csvLines(name);
    expect(set.records.filter(({ value }) => value?.at(-1) === 0x0d).length).toBeGreaterThan(100);
    for (const way of textWaysIn) {
      const { topic } = await write(way, set, 'none');
      expect((await textByHttp(doors, topic, 0)).equals(bytesOf(set))).toBe(true);
      expect((await textByCommandLine(doors, topic, 0)).equals(bytesOf(set))).toBe(true);
    }
  });

  test.each(others)('%s comes back as text, byte for byte, and by every other way', async name => {
    const set = await csvLines(name);
    const written = await write(restText, set, 'gzip');
    expect((await textByHttp(doors, written.topic, 0)).equals(bytesOf(set))).toBe(true);
    for (const out of waysOut.filter(({ name: way }) => !way.startsWith('sluice'))) {
      expect([out.name, await readingFault(written, out)]).toEqual([out.name, null]);
    }
  });
});

test('a tombstone is left out of text over HTTP, and is an empty line of the command line', async () => {
  const set = await movies();
  const { topic } = await write(sdk, set, 'zstd');
  for (let partition = 0; partition < set.partitionCount; partition++) {
    const values = set.records.filter(record => record.partition === partition).map(({ value }) => value);
    expect(values).toContain(null);
    const lines = (list: readonly (Buffer | null)[]): Buffer =>
      Buffer.concat(list.flatMap(value => [value ?? Buffer.alloc(0), Buffer.from('\n')]));
    const kept = values.filter(value => value !== null);
    expect((await textByHttp(doors, topic, partition)).equals(lines(kept))).toBe(true);
    expect((await textByCommandLine(doors, topic, partition)).equals(lines(values))).toBe(true);
  }
});

test('a JSON pointer takes the key out of the value', async () => {
  const films = (await movies()).records.filter(({ value }) => value !== null);
  await doors.createTopic('by-title', 3);
  const { count } = await doors.http.json<{ count: number }>({
    method: 'POST',
    path: '/v1/topics/by-title/records?envelope=none&key=/Title',
    headers: { 'content-type': 'application/x-ndjson' },
    body: Buffer.concat(films.flatMap(({ value }) => [value ?? Buffer.alloc(0), Buffer.from('\n')])),
  });
  expect(count).toBe(films.length);
  const records = await pages.read(doors, 'by-title', 3);
  const keyed = (list: readonly SetRecord[], partition: number) =>
    list.filter(record => record.key !== null && record.partition === partition).map(({ key }) => key?.toString());
  for (let partition = 0; partition < 3; partition++) {
    expect(keyed(records, partition)).toEqual(keyed(films, partition));
  }
  expect(records).toHaveLength(films.length);
});

describe.skipIf(!hasCurl())('the real curl', () => {
  test.each(['ndjson', 'text'] as const)('sends a file as %s', async input => {
    const set = await movies();
    const json = { ...set, records: set.records.filter(({ value }) => value !== null) };
    const written = await write(curl(input), json, 'none');
    expect(await readingFault(written, pages)).toBeNull();
  });

  test('sends 200,000 lines in one request', async () => {
    const written = await write(curl('text'), await flights(), 'none');
    expect(await readingFault(written, grpcBatchesOut)).toBeNull();
  });
});

function hasCurl(): boolean {
  try {
    execFileSync('curl', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    process.stderr.write('\nSKIPPED the real curl: it is not installed\n');
    return false;
  }
}
