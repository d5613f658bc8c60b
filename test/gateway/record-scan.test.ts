// Records read where they lie agree with records that were parsed: one by one, as lines, and as bodies of many.

import { isUtf8 } from 'node:buffer';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { StoredRecord } from '@sluice/protocol/record';
import { BatchBuilder, decodeRecords, encodeBatch, splitBatches } from '@sluice/protocol/record';
import { JSON_DEPTH_MAX } from '../../server/base/limits.ts';
import type { TopicView } from '../../server/broker/broker.ts';
import { judgeJson } from '../../server/gateway/json-bytes.ts';
import { decodeText, parseJson } from '../../server/gateway/json-text.ts';
import { BuilderPool } from '../../server/gateway/partition-batches.ts';
import { PartitionChoice } from '../../server/gateway/partition-choice.ts';
import type { WrittenRecord } from '../../server/gateway/record-json.ts';
import { ABSENT, readRecordForm, readRecordList } from '../../server/gateway/record-json.ts';
import type { Placed } from '../../server/gateway/record-placement.ts';
import { placeRecords } from '../../server/gateway/record-placement.ts';
import { RecordScan } from '../../server/gateway/record-scan.ts';
import type { ScannedPlan } from '../../server/gateway/rest/scanned-body.ts';
import { placeScanned } from '../../server/gateway/rest/scanned-body.ts';
import { TextBuffer } from '../../server/gateway/text-buffer.ts';
import type { Clock } from '../../server/io/clock.ts';

const NOW = 1_700_000_000_000;

const parsedRecord = (bytes: Buffer): WrittenRecord | null => {
  const text = decodeText(bytes);
  const parsed = text === null ? null : parseJson(text);
  if (parsed === null || !parsed.ok) return null;
  const record = readRecordForm(parsed.value);
  return record.kind === 'record' ? record : null;
};

const recordsOf = (batch: Uint8Array): readonly StoredRecord[] => {
  const decoded = decodeRecords(batch);
  if (!decoded.ok) throw new Error(decoded.fault.kind);
  return decoded.records;
};

const scan = new RecordScan();

/** What the scan says of the line, as it is stored; null when it is not plain. */
const scanned = (bytes: Buffer): StoredRecord | null => {
  if (!scan.recordLine(bytes) || (scan.hasWideBytes && !isUtf8(bytes))) return null;
  const builder = new BatchBuilder();
  builder.appendSpans(scan);
  return recordsOf(builder.build())[0]!;
};

const expectAlike = (found: StoredRecord, expected: StoredRecord): void => {
  const foundValue = found.value === null ? null : Buffer.from(found.value);
  const expectedValue = expected.value === null ? null : Buffer.from(expected.value);
  const keyOf = ({ key }: StoredRecord): Buffer | null => (key === null ? null : Buffer.from(key));
  expect([found.timestamp, keyOf(found), found.headers]).toEqual([
    expected.timestamp,
    keyOf(expected),
    expected.headers,
  ]);
  if (foundValue === null || expectedValue === null || foundValue.equals(expectedValue)) {
    expect(foundValue).toEqual(expectedValue);
    return;
  }
  // JSON in another spelling: on one line, and what parsing makes of it is what parsing stores.
  expect(judgeJson(foundValue, 0, foundValue.length)).toBe('json');
  const parsed = parseJson(foundValue.toString());
  expect(parsed.ok && JSON.stringify(parsed.value)).toBe(expectedValue.toString());
};

/** JSON text of the value with spaces between any two tokens, numbers and strings spelled in more ways than one. */
const spaces = fc.constantFrom('', '', '', ' ', '\n', '\t\r\n  ');
const scalar = fc.oneof(
  fc.constantFrom('null', 'true', 'false', '0.0', '-0', '1E+5', '12345678901234567890', '1e-400', '7'),
  fc.constantFrom('""', '"a b"', '"\\u0061"', '"\\/"', '"\\ud800"', '"größe"', '"\\"}"', '"{\\\\"', '"__proto__"'),
  fc.string({ maxLength: 8 }).map(text => JSON.stringify(text)),
  fc
    .double({ noNaN: true })
    .map(String)
    .filter(text => !text.endsWith('y')),
);
const memberName = fc.oneof(
  { weight: 12, arbitrary: fc.string({ maxLength: 4 }).map(text => JSON.stringify(text)) },
  { weight: 1, arbitrary: fc.constantFrom('"__proto__"', '"\\u005f_proto__"', '"a"', '"a"') },
);
const { json } = fc.letrec<{ json: string }>(tie => ({
  json: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    scalar,
    fc
      .tuple(fc.array(tie('json'), { maxLength: 4 }), spaces)
      .map(([items, space]) => `[${space}${items.join(`${space},${space}`)}${space}]`),
    fc.tuple(fc.array(fc.tuple(memberName, tie('json')), { maxLength: 4 }), spaces).map(([members, space]) => {
      const texts = members.map(([name, value]) => `${name}${space}:${space}${value}`);
      return `{${space}${texts.join(`${space},${space}`)}${space}}`;
    }),
  ),
}));

const plainText = fc.constantFrom('"user-1"', '""', '"ключ"', '"a b"');
const anyText = fc.oneof(
  { weight: 4, arbitrary: plainText },
  { weight: 1, arbitrary: fc.constantFrom('"a\\n"', '"\\udc00"', '5') },
);
const integer = fc.constantFrom(
  '0',
  '1',
  '2',
  '17',
  '1700000000001',
  '007',
  '1e3',
  '-1',
  '2.5',
  '99999999999999999999',
);
const member = fc.oneof(
  { weight: 6, arbitrary: json.map(text => `"value":${text}`) },
  { weight: 2, arbitrary: anyText.map(text => `"value_text":${text}`) },
  { weight: 4, arbitrary: anyText.map(text => `"key":${text}`) },
  { weight: 2, arbitrary: fc.constantFrom('"key": null', '"partition":0', '"partition" : 2', '"timestamp":5') },
  { weight: 1, arbitrary: integer.map(text => `"partition":${text}`) },
  { weight: 1, arbitrary: integer.map(text => `"timestamp":${text}`) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      '"headers":{"h":"x"}',
      '"value_base64":"AAE="',
      '"no":1',
      '"valu\\u0065":1',
      '"key_base64":"/w=="',
    ),
  },
);
const recordText = fc
  .tuple(fc.array(member, { minLength: 1, maxLength: 4 }), spaces)
  .map(([members, space]) => `{${space}${members.join(`${space},${space}`)}${space}}`);
const edit = fc.record({ at: fc.nat(), byte: fc.constantFrom(...Buffer.from('{}[]",:0123eE+-.\\u tfn\n\xff')) });
const damaged = (text: string, edits: readonly { readonly at: number; readonly byte: number }[]): Buffer => {
  const bytes = Buffer.from(text);
  for (const { at, byte } of edits) bytes[at % bytes.length] = byte;
  return bytes;
};

describe('a record read where it lies', () => {
  it('says what parsing says, whatever the text', () => {
    let plain = 0;
    fc.assert(
      fc.property(recordText, fc.array(edit, { maxLength: 2 }), (text, edits) => {
        const bytes = damaged(text, edits);
        const found = scanned(bytes);
        if (found === null) return;
        plain++;
        const { timestamp, partition } = scan;
        const expected = parsedRecord(bytes);
        if (expected === null) throw new Error(`parsing refuses ${bytes.toString()}`);
        expect({ timestamp, partition }).toEqual({ timestamp: expected.timestamp, partition: expected.partition });
        expectAlike(found, recordsOf(encodeBatch([expected]))[0]!);
      }),
      { numRuns: 20_000 },
    );
    // Nothing read would be no agreement.
    expect(plain).toBeGreaterThan(1_000);
  });

  it.each([
    ['{"value":{"a":[1,2.50,"x"]}}', '{"a":[1,2.50,"x"]}'],
    ['{"value": {"a": 1,\n "b c": " "} , "key": "k"}', '{"a":1,"b c":" "}'],
    ['{"value":12345678901234567890}', '12345678901234567890'],
    ['{"value":"\\u00e9\\" "}', '"\\u00e9\\" "'],
    ['{"key":null,"value_text":" größe "}', ' größe '],
    ['{"partition":3,"timestamp":17,"value":[ ]}', '[]'],
  ])('takes %s', (text, value) => {
    expect(Buffer.from(scanned(Buffer.from(text))!.value!).toString()).toBe(value);
  });

  it.each([
    '{"value":1,"headers":{}}',
    '{"value_base64":""}',
    '{"value":1,"key":"a\\nb"}',
    '{"value":1,"value":2}',
    '{"value":1,"value_text":"x"}',
    '{"value":{"__proto__":1}}',
    '{"value":{"\\u005f_proto__":1}}',
    '{"value":1,"partition":2147483648}',
    '{"value":1,"timestamp":01}',
    '{"key":"k"}',
    '{"value":1}}',
    '{"value":1',
    '{}',
    '[]',
    '',
  ])('leaves %s to parsing', text => {
    expect(scanned(Buffer.from(text))).toBeNull();
  });

  it('leaves what is nested too deeply to parsing, and nothing that is not', () => {
    const nested = (depth: number): Buffer => Buffer.from(`{"value":${'['.repeat(depth)}${']'.repeat(depth)}}`);
    expect(scanned(nested(JSON_DEPTH_MAX))).not.toBeNull();
    expect(scanned(nested(JSON_DEPTH_MAX + 1))).toBeNull();
    expect(parsedRecord(nested(JSON_DEPTH_MAX))).not.toBeNull();
  });

  it('tells nothing of the record before', () => {
    scan.recordLine(Buffer.from('{"key":"k","value":1,"partition":2,"timestamp":3}'));
    expect(scan.recordLine(Buffer.from('{"value":null}'))).toBe(true);
    expect([scan.keyStart, scan.valueStart, scan.partition, scan.timestamp]).toEqual([ABSENT, ABSENT, ABSENT, ABSENT]);
    expect(scan.valueLine(Buffer.from(' {"a": "b"} \r'))).toBe(true);
    expect(Buffer.from(scan.valueBytes.subarray(scan.valueStart, scan.valueEnd)).toString()).toBe('{"a":"b"}');
  });
});

describe('a body of records read where they lie', () => {
  const topic = {
    name: 't',
    id: 't',
    partitionCount: 3,
    batchBytesMax: 600,
    config: {},
  } as Partial<TopicView> as TopicView;
  const planOf = (changes: Partial<ScannedPlan> = {}): ScannedPlan => ({
    broker: undefined as never,
    clock: { wallMs: () => NOW } as Partial<Clock> as Clock,
    choice: new PartitionChoice(),
    pool: new BuilderPool(),
    text: new TextBuffer(),
    scan: new RecordScan(),
    topic,
    partition: null,
    partitionOf: 'path',
    acks: 'all',
    timeoutMs: 1_000,
    codec: 'none',
    exact: null,
    ...changes,
  });

  const storedOf = async ({ batches }: Placed): Promise<ReadonlyMap<number, readonly StoredRecord[]>> => {
    const stored = new Map<number, readonly StoredRecord[]>();
    for (const of of batches) {
      const split = splitBatches(await of.take(), { bytesMax: 1_000_000 });
      if (!split.ok) throw new Error(split.fault.kind);
      stored.set(of.partition, split.batches.flatMap(recordsOf));
    }
    return stored;
  };

  const parsedBody = (bytes: Buffer, plan: ScannedPlan): Placed | null => {
    const text = decodeText(bytes);
    const parsed = text === null ? null : parseJson(text);
    if (parsed === null || !parsed.ok) return null;
    const list = readRecordList((parsed.value as { records?: unknown }).records);
    const placed = list.ok ? placeRecords(list.value, plan, bytes.length) : list;
    return placed.ok ? placed.value : null;
  };

  it('goes to the partitions and into the batches that parsing leads to', async () => {
    let taken = 0;
    const good = fc.oneof(
      { weight: 12, arbitrary: json.map(text => `{"key":"user-1","value":${text}}`) },
      { weight: 12, arbitrary: json.map(text => `{ "value": ${text} }`) },
      {
        weight: 3,
        arbitrary: plainText.map(text => `{"key":${text},"value_text":${text},"partition":1,"timestamp":9}`),
      },
      { weight: 2, arbitrary: fc.constant('{"value":1,"headers":{"h":"x"}}') },
      { weight: 1, arbitrary: recordText },
    );
    const body = fc
      .tuple(fc.array(good, { maxLength: 12 }), spaces)
      .map(
        ([records, space]) =>
          `${space}{${space}"records"${space}:${space}[${records.join(`${space},${space}`)}]${space}}`,
      );
    await fc.assert(
      fc.asyncProperty(body, fc.array(edit, { maxLength: 1 }), fc.boolean(), async (text, edits, isDamaged) => {
        const bytes = isDamaged ? damaged(text, edits) : Buffer.from(text);
        const found = placeScanned(bytes, planOf());
        if (found === null) return;
        taken++;
        const expected = parsedBody(bytes, planOf());
        if (expected === null) throw new Error(`parsing refuses ${bytes.toString()}`);
        const { count, partitions, timestamps, timestamp } = found;
        expect({ count, partitions, timestamps, timestamp }).toEqual({
          count: expected.count,
          partitions: expected.partitions,
          timestamps: expected.timestamps,
          timestamp: expected.timestamp,
        });
        const [foundRecords, expectedRecords] = [await storedOf(found), await storedOf(expected)];
        expect([...foundRecords.keys()]).toEqual([...expectedRecords.keys()]);
        for (const [partition, records] of foundRecords) {
          const others = expectedRecords.get(partition)!;
          expect(records.length).toBe(others.length);
          for (const [index, record] of records.entries()) expectAlike(record, others[index]!);
        }
      }),
      { numRuns: 3_000 },
    );
    expect(taken).toBeGreaterThan(1_000);
  });

  it('is left to parsing when it is one record, without taking a turn of the partitions', () => {
    const plan = planOf();
    expect(placeScanned(Buffer.from('{"records":[{"value":1}]}'), plan)).toBeNull();
    expect(plan.choice.nextSticky(3)).toBe(new PartitionChoice().nextSticky(3));
  });

  it.each([
    '{"records":[]}',
    '{"records":[{"value":1},{"value":2},]}',
    '{"records":[{"value":1},{"value":2}],"more":1}',
    '{"records":[{"value":1},{"value":2}]} x',
    '{"records":[{"value":1},{"value":2}]',
    '{"records":[{"value":1},{"no":2}]}',
    '{"records":[{"value":1},{"value":2,"partition":3}]}',
    `{"records":[{"value":1},{"value":"${'x'.repeat(600)}"}]}`,
    '\ufeff{"records":[{"value":1},{"value":2}]}',
    '[{"value":1},{"value":2}]',
  ])('is left to parsing when it is %s', text => {
    expect(placeScanned(Buffer.from(text), planOf())).toBeNull();
  });

  it('is left to parsing when it is not UTF-8', () => {
    const bytes = Buffer.from('{"records":[{"value":"x"},{"value":"x"}]}');
    bytes[bytes.indexOf('x')] = 0xff;
    expect(placeScanned(bytes, planOf())).toBeNull();
  });
});
