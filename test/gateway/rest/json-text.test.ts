// JSON keeps what a double cannot hold, and refuses what must not be stored.

import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { JSON_DEPTH_MAX } from '../../../server/base/limits.ts';
import { decodeText, parseJson, structureFault } from '../../../server/gateway/json-text.ts';

const restored = (text: string): string => {
  const parsed = parseJson(text);
  if (!parsed.ok) throw new Error(parsed.fault);
  return JSON.stringify(parsed.value);
};

describe('numbers', () => {
  it.each([
    '12345678901234567890',
    '-9007199254740993',
    '0.12345678901234567890123',
    '1e400',
    '-1E-400',
    '123456789.123456789123456789',
  ])('keeps the digits of %s', text => {
    expect(restored(`{"n":${text}}`)).toBe(`{"n":${text}}`);
    expect(restored(text)).toBe(text);
  });

  it.each([
    ['0.0', '0'],
    ['1e2', '100'],
    ['1.50', '1.5'],
    ['-0.5e1', '-5'],
    ['100000000000000000000', '100000000000000000000'],
    ['0.1000000000000000000', '0.1'],
  ])('writes %s as %s, which is equal', (text, expected) => {
    expect(restored(text)).toBe(expected);
  });

  it('gives equal JSON for every number, however it is spelled', () => {
    const digits = fc.stringMatching(/^-?(0|[1-9]\d{0,24})(\.\d{1,24})?([eE][+-]?\d{1,3})?$/);
    fc.assert(
      fc.property(digits, text => {
        expect(decimal(restored(text))).toEqual(decimal(text));
      }),
      { numRuns: 2_000 },
    );
  });

  it('leaves strings that look like numbers alone', () => {
    const text = '{"a":"12345678901234567890","b":": 1e5","c":["[12345678901234567890"]}';
    expect(restored(text)).toBe(text);
  });
});

/** An exact decimal: sign, digits, power of ten. */
const decimal = (text: string): string => {
  const [, sign, whole, fraction = '', power = '0'] = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text)!;
  const digits = BigInt(`${whole}${fraction}`);
  if (digits === 0n) return '0';
  const trimmed = String(digits).replace(/0+$/, '');
  const zeros = String(digits).length - trimmed.length;
  return `${sign}${trimmed}e${Number(power) - fraction.length + zeros}`;
};

describe('parseJson', () => {
  it('answers what JSON.parse answers', () => {
    fc.assert(
      fc.property(fc.json(), text => {
        expect(restored(text)).toBe(JSON.stringify(JSON.parse(text)));
      }),
    );
  });

  it('never throws', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), text => {
        expect(typeof parseJson(text).ok).toBe('boolean');
      }),
    );
    expect(parseJson('['.repeat(1_000_000)).ok).toBe(false);
    expect(parseJson(`${'['.repeat(200_000)}1e2${']'.repeat(200_000)}`)).toHaveProperty('ok');
  });
});

describe('decodeText', () => {
  it('drops one byte order mark, and only one', () => {
    expect(decodeText(Buffer.from('\ufeff{}'))).toBe('{}');
    expect(parseJson(decodeText(Buffer.from('\ufeff\ufeff{}'))!).ok).toBe(false);
  });

  it('refuses what is not UTF-8', () => {
    expect(decodeText(Buffer.from([0x22, 0xff, 0x22]))).toBeNull();
    expect(decodeText(Buffer.from([0xc0, 0x80]))).toBeNull();
    expect(decodeText(Buffer.from([0xed, 0xa0, 0x80]))).toBeNull();
  });
});

describe('structureFault', () => {
  it('allows nesting up to the limit and refuses one more', () => {
    const nested = (depth: number): unknown => JSON.parse(`${'['.repeat(depth)}1${']'.repeat(depth)}`);
    expect(structureFault(nested(JSON_DEPTH_MAX))).toBeNull();
    expect(structureFault(nested(JSON_DEPTH_MAX + 1))).toContain('deeper');
    expect(structureFault(JSON.parse(`${'{"a":'.repeat(65)}1${'}'.repeat(65)}`))).toContain('deeper');
  });

  it.each(['{"__proto__":1}', '{"a":[{"__proto__":{}}]}', '{"\\u005f_proto__":null}'])('refuses %s', text => {
    expect(structureFault(JSON.parse(text))).toContain('__proto__');
  });

  it('allows names that only resemble it', () => {
    expect(structureFault(JSON.parse('{"proto":1,"__proto":2,"constructor":3}'))).toBeNull();
  });
});
