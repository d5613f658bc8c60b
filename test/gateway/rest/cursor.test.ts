// Cursors come back as they were made, and nothing else is taken for one.

import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Offset } from '@sluice/protocol/ids';
import { topicId } from '@sluice/protocol/ids';
import { CURSOR_CHARS_MAX, READ_PARTITIONS_MAX } from '../../../server/base/limits.ts';
import type { Cursor } from '../../../server/gateway/cursor.ts';
import { CursorWriter, decodeCursor, encodeCursor } from '../../../server/gateway/cursor.ts';
import { TextBuffer } from '../../../server/gateway/text-buffer.ts';

const id = topicId('01234567-89ab-4def-8123-456789abcdef');

const positions = fc.uniqueArray(
  fc.record({ partition: fc.nat(9_999), offset: fc.maxSafeNat().map(value => value as Offset) }),
  { selector: position => position.partition, minLength: 1, maxLength: READ_PARTITIONS_MAX },
);

describe('a cursor', () => {
  it('comes back as it was made, with ascending partitions', () => {
    fc.assert(
      fc.property(positions, sample => {
        const text = encodeCursor({ topicId: id, positions: sample });
        const expected: Cursor = { topicId: id, positions: sample.toSorted((a, b) => a.partition - b.partition) };
        expect(decodeCursor(text)).toEqual(expected);
        expect(text).toMatch(/^[A-Za-z0-9_-]+$/);
      }),
    );
  });

  it('stays within its limit for the most partitions and the largest offsets', () => {
    const most = Array.from({ length: READ_PARTITIONS_MAX }, (_, index) => ({
      partition: 9_999 - index,
      offset: Number.MAX_SAFE_INTEGER as Offset,
    }));
    const text = encodeCursor({ topicId: id, positions: most });
    expect(text.length).toBeLessThanOrEqual(CURSOR_CHARS_MAX);
    expect(decodeCursor(text)?.positions).toHaveLength(READ_PARTITIONS_MAX);
  });

  it('is the same text for these positions in every version that reads version 1', () => {
    const text = encodeCursor({
      topicId: id,
      positions: [
        { partition: 0, offset: 5 as Offset },
        { partition: 300, offset: 1_000_000 as Offset },
      ],
    });
    expect(text).toBe('AQEjRWeJq03vgSNFZ4mrze8CAAWsAsCEPeBO9fs');
  });

  it('follows a read step by step, as the same text that its positions have alone', () => {
    // Offsets of every length, so that what lies behind one has to move both ways.
    const anyOffset = fc.integer({ min: 0, max: 52 }).chain(bits => fc.maxSafeNat().map(n => n % 2 ** bits));
    const moves = fc.array(fc.record({ choice: fc.nat(), offset: anyOffset }), { maxLength: 20 });
    fc.assert(
      fc.property(positions, moves, (sample, moved) => {
        const writer = new CursorWriter({ topicId: id, positions: sample });
        const now = sample.map(position => ({ ...position }));
        for (const { choice, offset } of moved) {
          const position = now[choice % now.length]!;
          position.offset = offset as Offset;
          writer.move(position.partition, position.offset);
          const alone = encodeCursor({ topicId: id, positions: now });
          expect(writer.toString()).toBe(alone);
          const out = new TextBuffer();
          writer.writeTo(out);
          expect(out.take().toString('latin1')).toBe(alone);
          const ascending = now.toSorted((a, b) => a.partition - b.partition);
          expect(decodeCursor(alone)).toEqual({ topicId: id, positions: ascending });
        }
      }),
    );
  });

  it('is refused when any character is changed, added or left out', () => {
    const text = encodeCursor({ topicId: id, positions: [{ partition: 3, offset: 4_711 as Offset }] });
    for (let at = 0; at < text.length; at++) {
      const other = text[at] === 'A' ? 'B' : 'A';
      expect(decodeCursor(text.slice(0, at) + other + text.slice(at + 1))).toBeNull();
      expect(decodeCursor(text.slice(0, at) + text.slice(at + 1))).toBeNull();
      expect(decodeCursor(`${text.slice(0, at)}A${text.slice(at)}`)).toBeNull();
    }
  });

  it('is never found in garbage, and garbage never throws', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.base64String()), text => {
        expect(decodeCursor(text)).toBeNull();
      }),
    );
    expect(decodeCursor('')).toBeNull();
    expect(decodeCursor('A'.repeat(CURSOR_CHARS_MAX + 1))).toBeNull();
  });
});
