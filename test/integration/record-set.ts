// Records that go in by one way and come back by another, and the question whether they are the same.
//
// A set knows for each record its partition, key, value, headers and timestamp (null: the broker's clock decides).
// Values are compared byte for byte, unless one of the two ways keeps a JSON value and not its spelling.

import { readFile } from 'node:fs/promises';
import { partitionForKey } from '@sluice/protocol/record';

export interface SetHeader {
  readonly key: string;
  readonly value: Buffer | null;
}

export interface SetRecord {
  readonly partition: number;
  readonly key: Buffer | null;
  readonly value: Buffer | null;
  readonly headers: readonly SetHeader[];
  readonly timestamp: number | null;
}

export interface ReadRecord extends SetRecord {
  readonly offset: number;
  readonly timestamp: number;
}

export interface RecordSet {
  readonly name: string;
  readonly partitionCount: number;
  readonly records: readonly SetRecord[];
}

/** `json`: equal as JSON where it is JSON. */
export type Spelling = 'exact' | 'json';

const NO_HEADERS: readonly SetHeader[] = [];
const DAY_MS = 86_400_000;
const FIRST_TIMESTAMP = Date.UTC(2024, 0, 1);

/** A value alone: what the ways carry that know no keys and headers. */
export function bareRecord(value: Buffer | null): SetRecord {
  return { partition: 0, key: null, value, headers: NO_HEADERS, timestamp: null };
}

/** The package gives its files no export of their own. */
const DATA = new URL('../../node_modules/vega-datasets/data/', import.meta.url);

const vega = (name: string): Promise<string> => readFile(new URL(name, DATA), 'utf8');

/** 200,000 values as the file spells them (`0.0` is no compact JSON), without keys. */
export async function flights(): Promise<RecordSet> {
  const text = (await vega('flights-200k.json')).trim();
  const records = text
    .slice(2, -2)
    .split('},{')
    .map(body => bareRecord(Buffer.from(`{${body}}`)));
  return { name: 'flights', partitionCount: 1, records };
}

interface Film {
  readonly Title: string | number | null;
  readonly 'Major Genre': string | null;
}

/** 3,201 films by title (some have none, some a number), with repeated headers, now and then a tombstone, time going both ways. */
export async function movies(): Promise<RecordSet> {
  const films = JSON.parse(await vega('movies.json')) as Film[];
  const records = films.map((film, index): SetRecord => {
    const key = film.Title === null ? null : Buffer.from(`${film.Title}`);
    const genre = film['Major Genre'] === null ? null : Buffer.from(film['Major Genre']);
    return {
      partition: key === null ? index % 3 : partitionForKey(key, 3),
      key,
      value: index % 97 === 0 && key !== null ? null : Buffer.from(JSON.stringify(film)),
      headers:
        index % 4 === 0
          ? NO_HEADERS
          : [
              { key: 'genre', value: genre },
              { key: 'größe', value: Buffer.from([index & 0xff, 0, 0xff]) },
              { key: 'genre', value: Buffer.from('') },
            ],
      timestamp: FIRST_TIMESTAMP + index * 1_000 + (index % 3) * DAY_MS,
    };
  });
  return { name: 'movies', partitionCount: 3, records };
}

/** 1,707 earthquakes; every fifth key is not UTF-8, every seventh value is no JSON. */
export async function earthquakes(): Promise<RecordSet> {
  const { features } = JSON.parse(await vega('earthquakes.json')) as {
    features: { id: string; properties: { time: number } }[];
  };
  const records = features.map((feature, index): SetRecord => {
    const key = index % 5 === 0 ? Buffer.from([0xff, 0xfe, index & 0xff]) : Buffer.from(feature.id);
    const text = JSON.stringify(feature);
    return {
      partition: partitionForKey(key, 2),
      key,
      value: index % 7 === 0 ? oddValue(index, text) : Buffer.from(text),
      headers: [{ key: 'id', value: Buffer.from(feature.id) }],
      timestamp: feature.properties.time,
    };
  });
  return { name: 'earthquakes', partitionCount: 2, records };
}

/** Empty, the bare text null, JSON of an unusual spelling, text that is no JSON, bytes that are no text, a large one. */
function oddValue(index: number, text: string): Buffer {
  const odd = ['', 'null', ' { "a" : 1.50 }', text.slice(0, -1), '"\\u00e9"', 'a\r\nb\t', ' '];
  const choice = Math.floor(index / 7) % (odd.length + 2);
  if (choice < odd.length) return Buffer.from(odd[choice] ?? '');
  return choice === odd.length
    ? Buffer.from([0xc3, 0x28, index & 0xff])
    : Buffer.from(`[${Array.from({ length: 40 }, () => text).join(',')}]`);
}

/** The lines of a CSV file as LF ends them: some files have CRLF, and the CR belongs to the value. */
export async function csvLines(name: string): Promise<RecordSet> {
  const lines = (await vega(`${name}.csv`)).split('\n');
  if (lines.at(-1) === '') lines.pop();
  return { name, partitionCount: 1, records: lines.map(line => bareRecord(Buffer.from(line))) };
}

/** The records whose values are one JSON object each, on one line. */
export function objectsOf(set: RecordSet): RecordSet {
  return { ...set, records: set.records.filter(({ value }) => value?.[0] === 0x7b && normalized(value) !== null) };
}

/** What of a set a way that carries values alone puts into one partition. */
export function valuesOf(set: RecordSet): RecordSet {
  const records = set.records.filter(({ value }) => value !== null).map(({ value }) => bareRecord(value));
  return { name: set.name, partitionCount: 1, records };
}

export interface Comparison {
  readonly spelling: Spelling;
  /** Where a timestamp lies that the broker's clock gave. */
  readonly notBefore: number;
  readonly notAfter: number;
  /** False: some records, in no particular order. */
  readonly isWhole: boolean;
}

/** The first thing that is not as it should be, in words; null when all is. */
export function difference(
  expected: readonly SetRecord[],
  actual: Iterable<ReadRecord>,
  comparison: Comparison,
): string | null {
  const byPartition = new Map<number, SetRecord[]>();
  for (const record of expected) {
    const list = byPartition.get(record.partition);
    if (list === undefined) byPartition.set(record.partition, [record]);
    else list.push(record);
  }
  const next = new Map<number, number>();
  let count = 0;
  for (const record of actual) {
    count++;
    const place = `${record.partition}/${record.offset}`;
    if (comparison.isWhole) {
      const position = next.get(record.partition) ?? 0;
      if (record.offset !== position) return `${place} came where offset ${position} was next`;
      next.set(record.partition, position + 1);
    }
    const sent = byPartition.get(record.partition)?.[record.offset];
    if (sent === undefined) return `${place} was never sent`;
    const fault = recordDifference(sent, record, comparison);
    if (fault !== null) return `${place}: ${fault}`;
  }
  if (comparison.isWhole && count !== expected.length) return `${count} records came of ${expected.length}`;
  return count === 0 ? 'nothing came' : null;
}

function recordDifference(sent: SetRecord, read: ReadRecord, comparison: Comparison): string | null {
  if (!sameBytes(sent.key, read.key)) return `key ${shown(read.key)} instead of ${shown(sent.key)}`;
  if (!sameValue(sent.value, read.value, comparison.spelling)) {
    return `value ${shown(read.value)} instead of ${shown(sent.value)}`;
  }
  if (sent.headers.length !== read.headers.length) return `${read.headers.length} headers of ${sent.headers.length}`;
  for (const [index, header] of sent.headers.entries()) {
    const other = read.headers[index];
    if (other === undefined || header.key !== other.key || !sameBytes(header.value, other.value)) {
      return `header ${index} is ${other?.key}=${shown(other?.value ?? null)} instead of ${header.key}=${shown(header.value)}`;
    }
  }
  if (sent.timestamp === null) {
    const { notBefore, notAfter } = comparison;
    const isWithin = read.timestamp >= notBefore && read.timestamp <= notAfter;
    return isWithin ? null : `timestamp ${read.timestamp} outside ${notBefore} to ${notAfter}`;
  }
  return sent.timestamp === read.timestamp ? null : `timestamp ${read.timestamp} instead of ${sent.timestamp}`;
}

function sameBytes(one: Buffer | null, other: Buffer | null): boolean {
  return one === null || other === null ? one === other : one.equals(other);
}

function sameValue(sent: Buffer | null, read: Buffer | null, spelling: Spelling): boolean {
  if (sameBytes(sent, read)) return true;
  if (sent === null || read === null || spelling === 'exact') return false;
  const [one, other] = [normalized(sent), normalized(read)];
  return one !== null && one === other;
}

/** Null for what is no JSON text. */
function normalized(value: Buffer): string | null {
  try {
    return JSON.stringify(JSON.parse(value.toString('utf8')));
  } catch {
    return null;
  }
}

function shown(bytes: Buffer | null): string {
  return bytes === null ? 'null' : JSON.stringify(bytes.subarray(0, 100).toString('latin1'));
}
