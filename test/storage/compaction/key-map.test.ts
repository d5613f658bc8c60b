// The map of keys: exact whatever keys hash to, and never larger than it may be.

import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { keyHash } from '../../../server/storage/compaction/key-hash.ts';
import { KeyMap } from '../../../server/storage/compaction/key-map.ts';

const SEED = { low: 0x03020100, high: 0x07060504 };
const bytesOf = (text: string): Uint8Array => Buffer.from(text, 'latin1');

const put = (map: KeyMap, key: Uint8Array, offset: number): boolean => map.put(key, 0, key.length, offset);
const last = (map: KeyMap, key: Uint8Array): number => map.lastOffset(key, 0, key.length);

describe('the hash', () => {
  test('is HalfSipHash: the vector of its authors for no input, two and four rounds', () => {
    const hash = keyHash(SEED, { bytes: new Uint8Array(0), start: 0, end: 0 }, { perWord: 2, atEnd: 4 });
    expect(hash.toString(16)).toBe('5b9f35a9');
  });

  test('depends on every byte, the length and the seed, and not on where the key lies', () => {
    const hashes = new Set<number>();
    const key = bytesOf('0123456789');
    for (let at = 0; at < key.length; at++) {
      const other = new Uint8Array(key);
      other[at]! ^= 1;
      hashes.add(keyHash(SEED, { bytes: other, start: 0, end: other.length }));
      hashes.add(keyHash(SEED, { bytes: key, start: 0, end: at }));
    }
    hashes.add(keyHash(SEED, { bytes: key, start: 0, end: key.length }));
    hashes.add(keyHash({ ...SEED, low: 1 }, { bytes: key, start: 0, end: key.length }));
    expect(hashes.size).toBe(2 * key.length + 2);
    const within = Buffer.concat([bytesOf('xyz'), key, bytesOf('q')]);
    expect(keyHash(SEED, { bytes: within, start: 3, end: 13 })).toBe(
      keyHash(SEED, { bytes: key, start: 0, end: key.length }),
    );
  });
});

describe('the map', () => {
  test('says of each key what was noted last, as any map does', () => {
    const keys = fc.array(fc.uint8Array({ maxLength: 6 }), { maxLength: 300 });
    fc.assert(
      fc.property(keys, fc.integer(), fc.integer(), (noted, low, high) => {
        const map = new KeyMap({ seed: { low, high }, bytesMax: 1_000_000, keysMax: 300 });
        const model = new Map<string, number>();
        for (const [offset, key] of noted.entries()) {
          if (!put(map, key, offset)) return false;
          model.set(Buffer.from(key).toString('hex'), offset);
        }
        const isSame = noted.every(key => last(map, key) === model.get(Buffer.from(key).toString('hex')));
        return isSame && map.size === model.size && last(map, bytesOf('nowhere')) === -1;
      }),
      { numRuns: 200 },
    );
  });

  test('tells keys apart that hash alike', () => {
    // With 32 bits a few collide among so many.
    const byHash = new Map<number, string>();
    const pairs: [string, string][] = [];
    for (let index = 0; pairs.length < 3; index++) {
      const key = `key ${index}`;
      const bytes = bytesOf(key);
      const hash = keyHash(SEED, { bytes, start: 0, end: bytes.length });
      const known = byHash.get(hash);
      if (known === undefined) byHash.set(hash, key);
      else pairs.push([known, key]);
    }
    const map = new KeyMap({ seed: SEED, bytesMax: 1_000_000, keysMax: 100 });
    for (const [index, [one, other]] of pairs.entries()) {
      put(map, bytesOf(one), 2 * index);
      expect(last(map, bytesOf(other))).toBe(-1);
      put(map, bytesOf(other), 2 * index + 1);
      expect([last(map, bytesOf(one)), last(map, bytesOf(other))]).toEqual([2 * index, 2 * index + 1]);
    }
  });

  test('refuses a further key where it is full, and takes known ones', () => {
    const map = new KeyMap({ seed: SEED, bytesMax: 4_000, keysMax: 1_000_000 });
    let count = 0;
    while (put(map, bytesOf(`key ${count}`), count)) count++;
    expect(count).toBeGreaterThan(20);
    expect(map.usedBytes).toBeLessThanOrEqual(4_000);
    expect(put(map, bytesOf('key 3'), 1_000)).toBe(true);
    expect(last(map, bytesOf('key 3'))).toBe(1_000);
    expect(last(map, bytesOf(`key ${count}`))).toBe(-1);
  });

  test('always takes one key, however large', () => {
    const map = new KeyMap({ seed: SEED, bytesMax: 100, keysMax: 5 });
    const large = new Uint8Array(1_000_000).fill(7);
    expect(put(map, large, 3)).toBe(true);
    expect(last(map, large)).toBe(3);
    expect(put(map, bytesOf('more'), 4)).toBe(false);
  });
});
