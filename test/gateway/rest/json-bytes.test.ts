// The judgement of stored bytes agrees with JSON.parse over a fatal UTF-8 decoder.

import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { JsonVerdict } from '../../../server/gateway/json-bytes.ts';
import { judgeJson } from '../../../server/gateway/json-bytes.ts';

const judge = (bytes: Uint8Array): JsonVerdict => judgeJson(bytes, 0, bytes.length);

const expected = (bytes: Uint8Array): JsonVerdict => {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    JSON.parse(text);
  } catch {
    return 'not-json';
  }
  if (text.trim() === 'null') return 'null';
  return /[\r\n]/.test(text) ? 'json-lines' : 'json';
};

describe('judgeJson', () => {
  it.each([
    ['', 'not-json'],
    [' ', 'not-json'],
    ['null', 'null'],
    [' \n null\t', 'null'],
    ['nullx', 'not-json'],
    ['nul', 'not-json'],
    ['[null]', 'json'],
    ['{}', 'json'],
    ['{ }', 'json'],
    ['{"a":1,}', 'not-json'],
    ['[1,]', 'not-json'],
    ['[,1]', 'not-json'],
    ['[1 2]', 'not-json'],
    ['{"a" 1}', 'not-json'],
    ['{"a":1]', 'not-json'],
    ['{"a":[{"b":[]}]}', 'json'],
    ['{\n"a":1}', 'json-lines'],
    ['"a\\nb"', 'json'],
    ['"a\nb"', 'not-json'],
    ['"\\x"', 'not-json'],
    ['"\\u12g4"', 'not-json'],
    ['"\\u12', 'not-json'],
    ['01', 'not-json'],
    ['-', 'not-json'],
    ['-0', 'json'],
    ['1.', 'not-json'],
    ['.5', 'not-json'],
    ['1e', 'not-json'],
    ['1e+5', 'json'],
    ['1E999', 'json'],
    ['+1', 'not-json'],
    ['true', 'json'],
    ['True', 'not-json'],
    ['"é"', 'json'],
    ['\ufeff1', 'not-json'],
    ['1\u00a0', 'not-json'],
    ['NaN', 'not-json'],
    ["'a'", 'not-json'],
  ] as const)('%j is %s', (text, verdict) => {
    expect(judge(Buffer.from(text))).toBe(verdict);
  });

  it('refuses bytes that are not UTF-8 inside a string', () => {
    expect(judge(Buffer.from([0x22, 0xc3, 0x22]))).toBe('not-json');
    expect(judge(Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22]))).toBe('not-json');
  });

  it('looks only between start and end', () => {
    const bytes = Buffer.from('xx{"a":1}yy');
    expect(judgeJson(bytes, 2, 9)).toBe('json');
    expect(judgeJson(bytes, 2, 8)).toBe('not-json');
    expect(judgeJson(Buffer.from('[]]'), 0, 2)).toBe('json');
    expect(judgeJson(Buffer.from('[]'), 0, 1)).toBe('not-json');
  });

  it('does not recurse', () => {
    const deep = Buffer.from(`${'['.repeat(1_000_000)}${']'.repeat(1_000_000)}`);
    expect(judge(deep)).toBe('json');
  });

  it('agrees with JSON.parse on valid JSON, pretty or not', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.integer({ min: 0, max: 3 }), (value, indent) => {
        const bytes = Buffer.from(JSON.stringify(value, null, indent));
        expect(judge(bytes)).toBe(expected(bytes));
      }),
      { numRuns: 1_000 },
    );
  });

  it('agrees with JSON.parse on damaged JSON', () => {
    const edit = fc.record({ at: fc.nat(), byte: fc.constantFrom(...Buffer.from('{}[]",:0123eE+-.\\u tfn\n\xff')) });
    fc.assert(
      fc.property(fc.json(), fc.array(edit, { minLength: 1, maxLength: 3 }), (text, edits) => {
        const bytes = Buffer.from(text);
        for (const { at, byte } of edits) bytes[at % bytes.length] = byte;
        expect(judge(bytes)).toBe(expected(bytes));
      }),
      { numRuns: 5_000 },
    );
  });

  it('agrees with JSON.parse on short texts of JSON characters', () => {
    const text = fc.string({ unit: fc.constantFrom(...'{}[]",:01eE+-.\\u tn'.split('')), maxLength: 8 });
    fc.assert(
      fc.property(text, sample => {
        const bytes = Buffer.from(sample);
        expect(judge(bytes)).toBe(expected(bytes));
      }),
      { numRuns: 20_000 },
    );
  });
});
