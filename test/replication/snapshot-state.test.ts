// The state of a snapshot in parts: it comes together whole and once, or not at all.

import { describe, expect, test } from 'vitest';
import { SNAPSHOT_CHUNK_BYTES_MAX, SNAPSHOT_STATE_BYTES_MAX } from '../../server/base/limits.ts';
import { positionAt } from '../../server/base/position.ts';
import { partAt, StateAssembly, type StatePart } from '../../server/replication/snapshot-state.ts';

const BASE = positionAt(3, 40);
const STATE = new Uint8Array(2 * SNAPSHOT_CHUNK_BYTES_MAX + 17).map((_, index) => index % 251);

const partsOf = (state: Uint8Array): StatePart[] => {
  const parts: StatePart[] = [partAt(BASE, state, 0)];
  for (let at = SNAPSHOT_CHUNK_BYTES_MAX; at < state.length; at += SNAPSHOT_CHUNK_BYTES_MAX)
    parts.push(partAt(BASE, state, at));
  return parts;
};

const assembled = (parts: readonly StatePart[]): StateAssembly => {
  const assembly = new StateAssembly();
  for (const part of parts) assembly.take(part);
  return assembly;
};

describe('the state of a snapshot', () => {
  test('comes together from its parts, once', () => {
    const parts = partsOf(STATE);
    expect(parts.map(part => part.bytes.length)).toEqual([SNAPSHOT_CHUNK_BYTES_MAX, SNAPSHOT_CHUNK_BYTES_MAX, 17]);
    const assembly = assembled(parts);
    expect(Buffer.from(assembly.finish(BASE)!).equals(STATE)).toBe(true);
    expect(assembly.finish(BASE)).toBeNull();
  });

  test('may be empty', () => {
    expect(assembled(partsOf(new Uint8Array(0))).finish(BASE)).toEqual(new Uint8Array(0));
  });

  test('is not there when a part is lost, comes twice, or belongs to another snapshot', () => {
    const [first, second, third] = partsOf(STATE) as [StatePart, StatePart, StatePart];
    for (const parts of [
      [first, second],
      [first, third],
      [second, third],
      [first, second, second, third],
      [first, { ...second, base: positionAt(3, 41) }, third],
      [first, { ...second, byteLength: STATE.length + 1 }, third],
    ])
      expect(assembled(parts).finish(BASE)).toBeNull();
    expect(assembled([first, second, third]).finish(positionAt(3, 41))).toBeNull();
  });

  test('begins again with a first part', () => {
    const [first, second, third] = partsOf(STATE) as [StatePart, StatePart, StatePart];
    expect(assembled([first, second, first, second, third]).finish(BASE)).not.toBeNull();
  });

  test('beyond its bound is not even begun', () => {
    const assembly = new StateAssembly();
    assembly.take({ base: BASE, byteLength: SNAPSHOT_STATE_BYTES_MAX + 1, at: 0, bytes: new Uint8Array(1) });
    expect(assembly.finish(BASE)).toBeNull();
  });
});
