// Credit adds up, goes whole and may fall below zero.

import { create } from '@bufbuild/protobuf';
import { CreditSchema, type Credit as CreditMessage } from '@sluice/protocol/services';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { Credit } from '../../../server/gateway/grpc/credit.ts';

const grant = (records: bigint, bytes: bigint): CreditMessage => create(CreditSchema, { records, bytes });

const opened = (records: bigint, bytes: bigint): Credit => {
  const credit = Credit.of(grant(records, bytes));
  if (credit === null) throw new Error('not credit');
  return credit;
};

test('credit is left while both counts are', () => {
  expect(opened(1n, 1n).isLeft).toBe(true);
  expect(opened(1n, 0n).isLeft).toBe(false);
  expect(opened(0n, 1n).isLeft).toBe(false);
});

test('the last piece goes whole, and the debt is paid by later grants', () => {
  const credit = opened(10n, 100n);
  credit.spend(3, 250);
  expect(credit.isLeft).toBe(false);
  expect(credit.grant(grant(0n, 150n))).toBeNull();
  expect(credit.isLeft).toBe(false);
  expect(credit.grant(grant(0n, 1n))).toBeNull();
  expect(credit.isLeft).toBe(true);
});

test('grants add up', () => {
  fc.assert(
    fc.property(fc.array(fc.record({ records: fc.nat(), bytes: fc.nat() })), grants => {
      const credit = opened(0n, 0n);
      let records = 0;
      let bytes = 0;
      for (const each of grants) {
        const isNothing = each.records === 0 && each.bytes === 0;
        expect(credit.grant(grant(BigInt(each.records), BigInt(each.bytes))) === null).toBe(!isNothing);
        records += each.records;
        bytes += each.bytes;
        expect(credit.isLeft).toBe(records > 0 && bytes > 0);
        expect(credit.bytes).toBe(bytes);
      }
    }),
  );
});

test('what is negative, nothing or more than a safe integer is refused and changes nothing', () => {
  const credit = opened(5n, 5n);
  for (const bad of [grant(-1n, 5n), grant(5n, -1n), grant(0n, 0n), grant(2n ** 53n, 0n), undefined]) {
    expect(credit.grant(bad)).toEqual(expect.any(String));
  }
  expect(credit.grant(grant(0n, BigInt(Number.MAX_SAFE_INTEGER) - 4n))).toContain('adds up');
  expect(credit.bytes).toBe(5);
});

test('a read opened without credit takes no grants and never runs out', () => {
  const credit = Credit.unlimited();
  credit.spend(1e9, 1e12);
  expect(credit.isLeft).toBe(true);
  expect(credit.grant(grant(1n, 1n))).toContain('without credit');
});

test('an opening credit out of range is none', () => {
  expect(Credit.of(grant(-1n, 1n))).toBeNull();
  expect(Credit.of(grant(1n, 2n ** 53n))).toBeNull();
});
