// Records to output: by a format, and as JSON like the HTTP door's.

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { RecordInput } from '@sluice/protocol/record';
import { durationMs } from '../../server/cli/duration.ts';
import { OutputBuffer } from '../../server/cli/output-buffer.ts';
import { compileFormat } from '../../server/cli/record-format.ts';
import { writeRecordJson } from '../../server/cli/record-json.ts';
import { recordPrefix, renderRecord } from '../../server/gateway/record-json.ts';
import { TextBuffer } from '../../server/gateway/text-buffer.ts';
import { PARTITION, storedMessage, TOPIC } from './stored-message.ts';

const record: RecordInput = {
  key: 'user-1',
  value: 'paid ü',
  headers: [
    { key: 'a', value: '1' },
    { key: 'b', value: null },
    { key: 'a', value: Uint8Array.of(0xff) },
  ],
  timestamp: 1_700_000_000_000,
};

const formatted = (format: string, of: RecordInput = record): string => {
  const compiled = compileFormat(format);
  if (!compiled.ok) throw new Error(compiled.reason);
  const output = new OutputBuffer();
  compiled.write(storedMessage(of).message, output);
  return Buffer.from(output.take()).toString('latin1');
};

const latin1 = (text: string): string => Buffer.from(text, 'utf8').toString('latin1');

describe('formats', () => {
  test.each([
    ['%t %p %o %e %d', 'orders 3 41 7 1700000000000'],
    ['%k=%v', latin1('user-1=paid ü')],
    ['%s', latin1('paid ü')],
    ['%K/%V', '6/7'],
    ['%h', 'a=1,b=,a=\u00ff'],
    ['%h{[%k %K %V]}', '[a 1 1][b 1 0][a 1 1]'],
    ['100%%', '100%'],
    [String.raw`\t\n\r\\\x41\xff`, '\t\n\r\\A\u00ff'],
    ['ü{}', latin1('ü{}')],
    ['', ''],
  ])('%s', (format, expected) => {
    expect(formatted(format)).toBe(expected);
  });

  test('null keys and values print nothing, and have length 0', () => {
    expect(formatted('[%k|%v|%K|%V|%h]', { key: null, value: null, timestamp: 0 })).toBe('[||0|0|]');
  });

  test.each([
    ['%', /ends after %/],
    ['%z', /%z means nothing/],
    ['%h{%k', /no closing/],
    ['%h{%o}', /%o means nothing.*in %h/],
    [String.raw`\q`, /\\q means nothing/],
    ['\\', /means nothing/],
    [String.raw`\x4`, /two hexadecimal digits/],
  ])('%s is refused', (format, expected) => {
    const compiled = compileFormat(format);
    expect(compiled).toMatchObject({ ok: false, reason: expect.stringMatching(expected) });
  });
});

describe('JSON', () => {
  const here = (of: RecordInput): string => {
    const output = new OutputBuffer();
    writeRecordJson(storedMessage(of).message, output);
    return Buffer.from(output.take()).toString('utf8');
  };

  const door = (of: RecordInput): string => {
    const out = new TextBuffer();
    renderRecord(storedMessage(of).cursor, recordPrefix(TOPIC, PARTITION), 'auto', out);
    return Buffer.from(out.take()).toString('utf8');
  };

  const field = fc.oneof(
    fc.string({ unit: 'grapheme' }),
    fc.uint8Array({ maxLength: 12 }),
    fc.json().map(text => text),
    fc.constantFrom(
      '',
      'null',
      ' null ',
      '{"a":\n1}',
      '{"a":\r\n[1]}',
      '[1 ,2]',
      '01',
      '"\u2028"',
      '\ufeff1',
      '1e400',
      '"a\\ud800"',
    ),
  );

  test('is what the HTTP door renders, on one line', () => {
    fc.assert(
      fc.property(
        fc.record({
          key: fc.option(field),
          value: fc.option(field),
          headers: fc.array(fc.record({ key: fc.string({ unit: 'grapheme' }), value: fc.option(field) }), {
            maxLength: 3,
          }),
          timestamp: fc.nat(),
        }),
        input => {
          const line = here(input);
          expect(JSON.parse(line)).toEqual(JSON.parse(door(input)));
          expect(line.trimEnd()).toBe(door(input));
          expect(line.indexOf('\n')).toBe(line.length - 1);
        },
      ),
      { numRuns: 1_000 },
    );
  });
});

describe('output in the making', () => {
  test('keeps what was appended, in order, and begins anew when taken', () => {
    const output = new OutputBuffer();
    const pieces = Array.from({ length: 5_000 }, (_, index) => `${index} ü €\n`);
    for (const [index, piece] of pieces.entries()) {
      if (index % 2 === 0) output.text(piece);
      else output.raw(Buffer.from(piece, 'utf8'));
    }
    const taken = output.take();
    output.text('next');
    expect(Buffer.from(taken).toString('utf8')).toBe(pieces.join(''));
    expect(Buffer.from(output.take()).toString('utf8')).toBe('next');
  });
});

describe('lengths of time', () => {
  test.each([
    ['30s', 30_000],
    ['15m', 900_000],
    ['2h', 7_200_000],
    ['7d', 604_800_000],
    ['0s', 0],
  ])('%s', (text, expected) => {
    expect(durationMs(text)).toBe(expected);
  });

  test.each(['', '2', 'h', '2w', '-2h', '1.5h', '2h30m', ' 2h'])('%j is none', text => {
    expect(durationMs(text)).toBeNull();
  });
});
