// Lines to records. The record form is the HTTP door's: both must take and refuse the same, and store the same bytes.

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { jsonForm, type LineRecord, recordForm, textForm } from '../../server/cli/record-form.ts';
import { decodeText, parseJson } from '../../server/gateway/json-text.ts';
import { ABSENT, readRecordForm } from '../../server/gateway/record-json.ts';

const utf8 = (text: string): Uint8Array => Buffer.from(text, 'utf8');

/** Numbers may be spelt differently: equal as JSON is what both promise. */
const storedJson = (field: Uint8Array | string | null | undefined): unknown => {
  if (typeof field !== 'string') return stored(field);
  try {
    return JSON.parse(field, (_, member: unknown) => (member === 0 ? 0 : member));
  } catch {
    return stored(field);
  }
};

const stored = (field: Uint8Array | string | null | undefined): string | null =>
  field === null || field === undefined ? null : Buffer.from(field as string).toString('hex');

interface Stored {
  readonly key: string | null;
  readonly value: unknown;
  readonly headers: readonly (readonly [string, string | null])[];
  readonly partition: number | null;
  readonly timestamp: number | null;
}

/** Null when the line is refused. */
const here = (line: Uint8Array): Stored | null => {
  const reading = recordForm(line);
  if (!reading.ok) {
    expect(reading.reason).not.toBe('');
    return null;
  }
  const { key, value, headers, partition, timestamp }: LineRecord = reading.record;
  if (!Array.isArray(headers)) throw new Error('headers must keep their order');
  return {
    key: stored(key),
    value: storedJson(value),
    headers: (headers as { key: string; value: string | Uint8Array | null }[]).map(h => [h.key, stored(h.value)]),
    partition: partition ?? null,
    timestamp: timestamp ?? null,
  };
};

const door = (line: Uint8Array): Stored | null => {
  const text = decodeText(Buffer.from(line));
  const parsed = text === null ? null : parseJson(text);
  if (parsed === null || !parsed.ok) return null;
  const record = readRecordForm(parsed.value);
  if (record.kind === 'fault') return null;
  return {
    key: stored(record.key),
    value: storedJson(record.value),
    headers: record.headers.map(({ key, value }) => [key, stored(value)]),
    partition: record.partition === ABSENT ? null : record.partition,
    timestamp: record.timestamp === ABSENT ? null : record.timestamp,
  };
};

const text = fc.oneof(fc.string({ unit: 'grapheme' }), fc.constantFrom('', '\ud800', 'é', 'a b'));
const base64 = fc.oneof(
  fc.uint8Array({ maxLength: 8 }).map(bytes => Buffer.from(bytes).toString('base64')),
  fc.constantFrom('', 'a', 'YQ', 'YQ==', 'Y-_8', 'YQ==\n'),
);
const anything = fc.oneof(text, base64, fc.jsonValue({ maxDepth: 2 }), fc.integer(), fc.double());
const headerItem = fc.oneof(
  { weight: 4, arbitrary: fc.record({ key: text, value: fc.option(text) }) },
  { weight: 2, arbitrary: fc.record({ key: text, value_base64: base64 }) },
  fc.record({ key: anything, value: anything, value_base64: anything, other: anything }, { requiredKeys: [] }),
);
const headers = fc.oneof(fc.dictionary(text, text, { maxKeys: 3 }), fc.array(headerItem, { maxLength: 3 }), anything);
const whole = fc.oneof(fc.nat(), fc.constantFrom(-1, 1.5, 2 ** 31, 2 ** 53, 0));

const oneValue = fc.oneof(
  { weight: 3, arbitrary: fc.record({ value: fc.jsonValue({ maxDepth: 3 }) }) },
  { weight: 2, arbitrary: fc.record({ value_text: text }) },
  { weight: 2, arbitrary: fc.record({ value_base64: base64 }) },
  fc.record({ value: anything, value_text: anything, value_base64: anything }, { requiredKeys: [] }),
);
const oneKey = fc.oneof(
  { weight: 3, arbitrary: fc.record({ key: fc.option(text) }, { requiredKeys: [] }) },
  fc.record({ key_base64: base64 }),
  fc.record({ key: anything, key_base64: anything }, { requiredKeys: [] }),
);
const rest = fc.oneof(
  { weight: 3, arbitrary: fc.record({ headers, partition: whole, timestamp: whole }, { requiredKeys: [] }) },
  fc.record({ headers: anything, partition: anything, timestamp: anything, other: anything }, { requiredKeys: [] }),
);

/** Mostly right, sometimes of a wrong kind, in any order. */
const form = fc
  .tuple(oneValue, oneKey, rest, fc.boolean())
  .map(([value, key, others, isTurned]) =>
    isTurned ? Object.assign({}, others, key, value) : Object.assign({}, value, key, others),
  );

describe('record lines', () => {
  test('are taken, refused and stored as the HTTP door does it', () => {
    fc.assert(
      fc.property(form, record => {
        const line = utf8(JSON.stringify(record));
        expect(here(line)).toEqual(door(line));
      }),
      { numRuns: 2_000 },
    );
  });

  test('the property above sees records that are taken', () => {
    const taken = fc
      .sample(form, { numRuns: 500, seed: 1 })
      .filter(record => here(utf8(JSON.stringify(record))) !== null);
    expect(taken.length).toBeGreaterThan(25);
    expect(taken.length).toBeLessThan(475);
  });

  test.each([
    '{"value":12345678901234567890}',
    '{"value":{"a":[0.1,1e400,-0,1.0000000000000000001]}}',
    '{"value":[1E5,100000000000000000000000]}',
    '{"value":null}',
    '{"value":{"__proto__":1}}',
    '{"value_text":"x","headers":{"__proto__":"y"}}',
    '{"value":1,"value_text":"x"}',
    '{"key":"a","key_base64":"YQ==","value":1}',
    '{}',
    '[]',
    '"text"',
    '{"value":1',
    '',
    `{"value":${'['.repeat(64)}${']'.repeat(64)}}`,
    `{"value":${'['.repeat(65)}${']'.repeat(65)}}`,
    `{"value":${'['.repeat(100_000)}`,
    '\ufeff{"value":1}',
    '\ufeff\ufeff{"value":1}',
    ' {"value" : 1 }\r',
  ])('%s as the HTTP door', line => {
    expect(here(utf8(line))).toEqual(door(utf8(line)));
  });

  test.each(['12345678901234567890', '[1.0000000000000000001,1e400]', '{"a":-0.1234567890123456789}'])(
    '%s keeps its digits',
    value => {
      expect(recordForm(utf8(`{"value":${value}}`))).toMatchObject({ ok: true, record: { value } });
    },
  );

  test('bytes that are not UTF-8 are refused', () => {
    expect(recordForm(Uint8Array.of(0x7b, 0xff, 0x7d))).toMatchObject({ ok: false });
    expect(jsonForm(Uint8Array.of(0x22, 0xff, 0x22))).toMatchObject({ ok: false });
  });
});

describe('text lines', () => {
  test('are the value as it stands, whatever the bytes', () => {
    const line = Uint8Array.of(0, 255, 13);
    expect(textForm(null)(line)).toEqual({ ok: true, record: { value: line } });
  });

  test('split at the first separator, which may be long; without one the line is refused', () => {
    const read = textForm('=>');
    const reading = read(utf8('k=>v=>w'));
    if (!reading.ok) throw new Error(reading.reason);
    expect([stored(reading.record.key), stored(reading.record.value)]).toEqual([stored('k'), stored('v=>w')]);
    expect(read(utf8('k:v'))).toMatchObject({ ok: false, reason: expect.stringContaining('"=>"') });
    expect(textForm(':')(utf8(':'))).toMatchObject({ ok: true });
  });
});

describe('JSON lines', () => {
  test.each([
    ['{"a": 1}', '{"a": 1}'],
    [' [1.0, 12345678901234567890] \r', '[1.0, 12345678901234567890]'],
    ['"null"', '"null"'],
    ['null', null],
    [' null\t', null],
  ])('%j is stored as %j', (line, expected) => {
    expect(jsonForm(utf8(line))).toEqual({ ok: true, record: { value: expected } });
  });

  test.each(['', ' ', '{', '{"a":1}{', 'nul', "'a'", `${'['.repeat(65)}${']'.repeat(65)}`])('%j is refused', line => {
    expect(jsonForm(utf8(line))).toMatchObject({ ok: false });
  });
});
