// The JSON form of records: the hand-written check agrees with the document's schema, and what is written comes back.

import { readFileSync } from 'node:fs';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { HeaderInput, RecordInput } from '@sluice/protocol/record';
import { encodeBatch, RecordCursor } from '@sluice/protocol/record';
import type { FormFault, ValueForm, WrittenRecord } from '../../../server/gateway/record-json.ts';
import { readRecordForm, recordPrefix, renderRecord } from '../../../server/gateway/record-json.ts';
import { Contract } from '../../../server/gateway/rest/contract.ts';
import { TextBuffer } from '../../../server/gateway/text-buffer.ts';

const contract = new Contract(readFileSync(new URL('../../../openapi.yaml', import.meta.url), 'utf8'));
const isRecord = contract.schema('Record');
const isStoredRecord = contract.schema('StoredRecord');

const written = (form: unknown): WrittenRecord => {
  const record = readRecordForm(form);
  if (record.kind === 'fault') throw new Error(record.detail);
  return record;
};

const fault = (form: unknown): FormFault => {
  const record = readRecordForm(form);
  if (record.kind !== 'fault') throw new Error('the form was accepted');
  return record;
};

const render = (record: RecordInput, form: ValueForm = 'auto'): Record<string, unknown> => {
  const opened = RecordCursor.open(encodeBatch([record]));
  if (!opened.ok || !opened.cursor.next()) throw new Error('the batch is not readable');
  const out = new TextBuffer(16);
  renderRecord(opened.cursor, recordPrefix('t', 7), form, out);
  const text = out.take().toString('utf8');
  expect(text).not.toMatch(/[\r\n]/);
  const rendered = JSON.parse(text) as Record<string, unknown>;
  if (!isStoredRecord(rendered)) throw new Error(`not a stored record: ${text}`);
  return rendered;
};

const base = { key: null, value: null, timestamp: 1 };
const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

describe('a record as written', () => {
  it('is judged by hand exactly as by the schema', () => {
    const anything = fc.oneof(
      fc.constant(null),
      fc.string(),
      fc.base64String(),
      fc.integer({ min: -2, max: 3 }),
      fc.double(),
      fc.boolean(),
      fc.constantFrom<unknown>(
        {},
        [],
        { a: 'b' },
        { a: 1 },
        [{ key: 'k', value: null }],
        [{ key: 'k' }],
        ['x'],
        [
          { key: 'k', value: 'v', value_base64: '' },
          { key: 'k', value_base64: 'AA==' },
        ],
      ),
      fc.constantFrom<unknown>([{ key: 1, value: 'v' }], [{ key: 'k', value: 'v', more: 1 }], [{ value: 'v' }]),
      fc.constantFrom(2 ** 31, 2 ** 31 - 1, 2 ** 53, 2 ** 53 - 1),
    );
    const names = [
      'key',
      'key_base64',
      'value',
      'value_text',
      'value_base64',
      'headers',
      'partition',
      'timestamp',
      'x',
    ];
    const form = fc.oneof(
      {
        weight: 10,
        arbitrary: fc.dictionary(fc.constantFrom(...names), anything, { maxKeys: 4, noNullPrototype: true }),
      },
      { weight: 1, arbitrary: anything },
    );
    let accepted = 0;
    fc.assert(
      fc.property(form, sample => {
        const byHand = readRecordForm(sample).kind === 'record';
        if (byHand) accepted++;
        expect(byHand).toBe(isRecord(sample));
      }),
      { numRuns: 20_000 },
    );
    // Both saying no to everything would be no agreement.
    expect(accepted).toBeGreaterThan(500);
  });

  it('names the field that is wrong', () => {
    expect(fault({ value: 1, nope: 2 })).toMatchObject({ field: 'nope' });
    expect(fault({ value: 1, partition: -1 })).toMatchObject({ field: 'partition' });
    expect(fault({ value: 1, timestamp: 1.5 })).toMatchObject({ field: 'timestamp' });
    expect(fault({ value: 1, key: 5 })).toMatchObject({ field: 'key' });
    expect(fault({ value_base64: '!!' })).toMatchObject({ field: 'value_base64' });
    expect(fault({ value: 1, headers: { a: 1 } })).toMatchObject({ field: 'headers.a' });
    expect(fault({ value: 1, headers: [{ key: 'a', value: 1 }] })).toMatchObject({ field: 'headers[0].value' });
    expect(fault({ key: 'k' })).toMatchObject({ field: 'value' });
    expect(fault({ value: 1, value_text: 'x' })).toMatchObject({ field: 'value' });
    expect(fault(null)).toMatchObject({ field: '' });
    expect(fault([])).toMatchObject({ field: '' });
  });

  it('refuses what cannot be stored as it is: half surrogate pairs, __proto__, deep nesting', () => {
    expect(fault({ value_text: '\ud800' }).detail).toContain('surrogate');
    expect(fault({ value: 1, key: '\udc00' }).detail).toContain('surrogate');
    expect(fault({ value: 1, headers: { a: '\ud800' } }).detail).toContain('surrogate');
    expect(fault(JSON.parse('{"value":{"__proto__":1}}')).detail).toContain('__proto__');
    expect(fault(JSON.parse('{"value":1,"__proto__":1}')).field).toBe('__proto__');
    expect(fault(JSON.parse('{"value":1,"headers":{"__proto__":"x"}}')).detail).toContain('__proto__');
    expect(fault({ value: JSON.parse('['.repeat(100) + ']'.repeat(100)) }).detail).toContain('deeper');
  });

  it('takes a null value as a tombstone and a missing key as none', () => {
    expect(written({ value: null })).toMatchObject({ key: null, value: null, partition: -1, timestamp: -1 });
    expect(written({ value_text: '' })).toMatchObject({ value: '' });
    expect(written({ value: 'null', key: null })).toMatchObject({ value: '"null"', key: null });
  });
});

describe('a record as read back', () => {
  it('gives a JSON value as JSON, spliced as it was stored', () => {
    expect(render({ ...base, value: '{"a":[1,2,{"b":null}]}' })['value']).toEqual({ a: [1, 2, { b: null }] });
    expect(render({ ...base, value: '"text"' })['value']).toBe('text');
    expect(render({ ...base, value: '12' })['value']).toBe(12);
  });

  it('keeps a value on one line however it was stored', () => {
    expect(render({ ...base, value: '{\r\n "a": "b\\n"\n}' })['value']).toEqual({ a: 'b\n' });
  });

  it('tells a tombstone from the text null', () => {
    const tombstone = render({ ...base, value: null });
    expect(tombstone['value']).toBeNull();
    const text = render({ ...base, value: 'null' });
    expect(text).not.toHaveProperty('value');
    expect(text['value_text']).toBe('null');
  });

  it('gives other UTF-8 as text and other bytes as base64', () => {
    expect(render({ ...base, value: 'plain "quoted" \\ \n é 😀' })['value_text']).toBe('plain "quoted" \\ \n é 😀');
    expect(render({ ...base, value: '' })['value_text']).toBe('');
    expect(render({ ...base, value: bytes(0xff, 0x00) })['value_base64']).toBe('/wA=');
  });

  it('gives every value in one form when asked', () => {
    expect(render({ ...base, value: '{"a":1}' }, 'text')['value_text']).toBe('{"a":1}');
    expect(render({ ...base, value: '{"a":1}' }, 'base64')['value_base64']).toBe('eyJhIjoxfQ==');
    expect(render({ ...base, value: bytes(0xff) }, 'text')['value_base64']).toBe('/w==');
    expect(render({ ...base, value: null }, 'base64')['value']).toBeNull();
  });

  it('never parses the key', () => {
    expect(render({ ...base, key: '{"a":1}' })['key']).toBe('{"a":1}');
    expect(render({ ...base, key: 'null' })['key']).toBe('null');
    expect(render({ ...base, key: bytes(0xff) })['key_base64']).toBe('/w==');
    expect(render(base)['key']).toBeNull();
    expect(render({ ...base, key: '' })['key']).toBe('');
  });

  it('gives headers as the list, with repeats, nulls and bytes', () => {
    const headers: HeaderInput[] = [
      { key: 'a', value: 'x' },
      { key: 'a', value: null },
      { key: 'é"', value: bytes(0xfe) },
    ];
    expect(render({ ...base, headers })['headers']).toEqual([
      { key: 'a', value: 'x' },
      { key: 'a', value: null },
      { key: 'é"', value_base64: '/g==' },
    ]);
    expect(render(base)['headers']).toEqual([]);
  });

  it('writes numbers of every size', () => {
    fc.assert(
      fc.property(fc.maxSafeInteger(), timestamp => {
        const opened = RecordCursor.open(encodeBatch([{ ...base, timestamp }]));
        if (!opened.ok || !opened.cursor.next()) throw new Error('the batch is not readable');
        const out = new TextBuffer();
        renderRecord(opened.cursor, recordPrefix('t', 0), 'auto', out);
        expect(JSON.parse(out.take().toString())).toMatchObject({ timestamp, offset: 0 });
      }),
    );
  });

  it('equals what was written, for any JSON', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 8 }), fc.option(fc.string({ unit: 'grapheme' })), (value, key) => {
        const record = readRecordForm(JSON.parse(JSON.stringify({ value, key })));
        if (record.kind === 'fault') return;
        const rendered = render({ ...record, timestamp: 5 });
        expect(rendered['value']).toEqual(JSON.parse(JSON.stringify(value)));
        expect(rendered['key']).toBe(key);
      }),
      { numRuns: 1_000 },
    );
  });
});
