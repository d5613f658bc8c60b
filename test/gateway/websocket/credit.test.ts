// Credit of a subscription, as numbers.

import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Credit } from '../../../server/gateway/websocket/credit.ts';

describe('credit', () => {
  it('is left while both counts are above zero', () => {
    expect(Credit.of({ records: 1, bytes: 1 }).isLeft).toBe(true);
    expect(Credit.of({ records: 0, bytes: 1 }).isLeft).toBe(false);
    expect(Credit.of({ records: 1, bytes: 0 }).isLeft).toBe(false);
  });

  it('falls below zero with a record that goes whole, and what is granted fills that up first', () => {
    const credit = Credit.of({ records: 10, bytes: 5 });
    credit.spend(1, 8);
    expect(credit.grant({ records: 0, bytes: 3 })).toBeNull();
    expect(credit.isLeft).toBe(false);
    expect(credit.grant({ records: 0, bytes: 1 })).toBeNull();
    expect(credit.demand(Number.POSITIVE_INFINITY)).toEqual({ records: 9, bytes: 1 });
  });

  it('adds up to what was granted less what was spent', () => {
    const amount = fc.record({ records: fc.nat(1000), bytes: fc.nat(100_000) });
    fc.assert(
      fc.property(amount, fc.array(amount), fc.array(amount), (first, grants, spends) => {
        const credit = Credit.of(first);
        let { records, bytes } = first;
        for (const grant of grants.filter(({ records: r, bytes: b }) => r + b > 0)) {
          expect(credit.grant(grant)).toBeNull();
          records += grant.records;
          bytes += grant.bytes;
        }
        for (const spend of spends) {
          credit.spend(spend.records, spend.bytes);
          records -= spend.records;
          bytes -= spend.bytes;
        }
        expect(credit.demand(Number.POSITIVE_INFINITY)).toEqual({ records, bytes });
        expect(credit.isLeft).toBe(records > 0 && bytes > 0);
      }),
    );
  });

  it('is bounded by the size of a frame, and without it that is the only bound', () => {
    expect(Credit.of({ records: 5, bytes: 100 }).demand(10)).toEqual({ records: 5, bytes: 10 });
    expect(Credit.unlimited().demand(10)).toEqual({ records: Number.POSITIVE_INFINITY, bytes: 10 });
    expect(Credit.unlimited().demand(Number.POSITIVE_INFINITY)).toBeUndefined();
  });

  it('is not granted where there is none to count, of nothing, or beyond what can be counted', () => {
    expect(Credit.unlimited().grant({ records: 1, bytes: 1 })).toMatch('without credit');
    expect(Credit.of({ records: 1, bytes: 1 }).grant({ records: 0, bytes: 0 })).toMatch('nothing');
    const full = Credit.of({ records: 1, bytes: Number.MAX_SAFE_INTEGER });
    expect(full.grant({ records: 1, bytes: 1 })).toMatch('adds up');
    // A refused grant changes nothing.
    expect(full.demand(Number.POSITIVE_INFINITY)).toEqual({ records: 1, bytes: Number.MAX_SAFE_INTEGER });
  });
});
