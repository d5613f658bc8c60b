// The comparison that judges the real files, judged: it sees every kind of difference, and none where there is none.

import { describe, expect, test } from 'vitest';
import { difference, movies, type Comparison, type ReadRecord, type SetRecord } from './record-set.ts';

const WHOLE: Comparison = { spelling: 'exact', notBefore: 0, notAfter: 10, isWhole: true };

const sent: readonly SetRecord[] = [
  { partition: 0, key: null, value: Buffer.from('{"a":1.0}'), headers: [], timestamp: 5 },
  { partition: 0, key: Buffer.from('k'), value: null, headers: [{ key: 'h', value: null }], timestamp: null },
  { partition: 1, key: Buffer.from(''), value: Buffer.from(''), headers: [], timestamp: 7 },
];

/** As they should come back. */
const read = (): ReadRecord[] =>
  sent
    .map((record, index) => Object.assign({}, record, { offset: index % 2, timestamp: record.timestamp ?? 3 }))
    .map((record, index) => (index === 2 ? Object.assign(record, { offset: 0 }) : record));

const withChange = (index: number, change: Partial<ReadRecord>): ReadRecord[] =>
  read().map((record, at) => (at === index ? Object.assign(record, change) : record));

test('records that came back as they were sent do not differ', async () => {
  expect(difference(sent, read(), WHOLE)).toBeNull();
  const { records } = await movies();
  const next = [0, 0, 0];
  const back = records.map((record): ReadRecord => {
    const offset = next[record.partition] ?? 0;
    next[record.partition] = offset + 1;
    return Object.assign({}, record, { offset, timestamp: record.timestamp ?? 0 });
  });
  expect(difference(records, back, WHOLE)).toBeNull();
});

test.each<[string, ReadRecord[]]>([
  ['another value', withChange(0, { value: Buffer.from('{"a":2}') })],
  ['another spelling', withChange(0, { value: Buffer.from('{"a":1}') })],
  ['null in place of an empty value', withChange(2, { value: null })],
  ['an empty value in place of null', withChange(1, { value: Buffer.from('') })],
  ['null in place of an empty key', withChange(2, { key: null })],
  ['an empty key in place of null', withChange(0, { key: Buffer.from('') })],
  ['an empty header value in place of null', withChange(1, { headers: [{ key: 'h', value: Buffer.from('') }] })],
  ['a header name', withChange(1, { headers: [{ key: 'H', value: null }] })],
  ['a header too many', withChange(0, { headers: [{ key: 'h', value: null }] })],
  ['another timestamp', withChange(0, { timestamp: 6 })],
  ['a clock outside the time of the test', withChange(1, { timestamp: 11 })],
  ['another partition', withChange(2, { partition: 0 })],
  ['another offset', withChange(2, { offset: 1 })],
  ['a record missing', read().slice(0, 2)],
  ['a record twice', [...read(), ...read().slice(2)]],
  ['another order', [...read().slice(1, 2), ...read().slice(0, 1), ...read().slice(2)]],
  ['nothing at all', []],
])('%s is a difference', (_, records) => {
  expect(difference(sent, records, WHOLE)).toBeTypeOf('string');
});

describe('where a way keeps JSON and not its spelling', () => {
  const asJson: Comparison = { ...WHOLE, spelling: 'json' };

  test('equal JSON is the same, other JSON is not', () => {
    expect(difference(sent, withChange(0, { value: Buffer.from('{"a":1}') }), asJson)).toBeNull();
    expect(difference(sent, withChange(0, { value: Buffer.from('{"a":2}') }), asJson)).toBeTypeOf('string');
    expect(difference(sent, withChange(0, { value: Buffer.from('{a:1}') }), asJson)).toBeTypeOf('string');
  });
});

test('of a sample only what came is compared, but something must have come', () => {
  const sample: Comparison = { ...WHOLE, isWhole: false };
  expect(difference(sent, read().slice(1, 2), sample)).toBeNull();
  expect(difference(sent, withChange(1, { offset: 9 }), sample)).toBeTypeOf('string');
  expect(difference(sent, [], sample)).toBeTypeOf('string');
});
