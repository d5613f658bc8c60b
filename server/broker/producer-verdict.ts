// What is to be done with produced batches that a producer signed, by what the partition's log knows of it.
//
// The batches of one request are one thing: all new, in the order of their sequences, or all of them a repeat of what was written together.

import { type Facts, type Problem, problem } from '@sluice/protocol/errors';
import { readBaseSequence, readProducerEpoch, readProducerId, readRecordCount } from '@sluice/protocol/record';
import { sequenceAfter } from '../state/producers/sequence.ts';
import type { BatchClaim, ProducerTable, Verdict } from '../state/producers/producer-table.ts';
import type { ProduceAck } from './broker.ts';

export type ProducerCode =
  | 'PRODUCER_FENCED'
  | 'OUT_OF_ORDER_SEQUENCE'
  | 'DUPLICATE_SEQUENCE'
  | 'UNKNOWN_PRODUCER_ID'
  | 'INVALID_REQUEST'
  | 'THROTTLED';

export type ProducedVerdict =
  | { readonly kind: 'fresh' }
  | { readonly kind: 'repeat'; readonly ack: ProduceAck }
  | { readonly kind: 'refused'; readonly problem: Problem<ProducerCode> };

const FRESH: ProducedVerdict = { kind: 'fresh' };

/** Whether anybody signed them; no batch of a request is signed by somebody else than the first (batch-check.ts). */
export const isSigned = (batches: readonly Uint8Array[]): boolean => readProducerId(batches[0]!, 0) >= 0;

const claimOf = (batch: Uint8Array): BatchClaim => ({
  producerId: readProducerId(batch, 0),
  epoch: readProducerEpoch(batch, 0),
  baseSequence: readBaseSequence(batch, 0),
  count: readRecordCount(batch, 0),
});

export const judgeProduced = (table: ProducerTable, batches: readonly Uint8Array[]): ProducedVerdict => {
  const first = claimOf(batches[0]!);
  const verdict = table.judge(first);
  if (verdict.kind !== 'fresh' && verdict.kind !== 'repeat') return refusal(first, verdict);
  let last = first;
  let count = first.count;
  let timestampMs = verdict.kind === 'repeat' ? verdict.timestamp : 0;
  for (let index = 1; index < batches.length; index++) {
    const claim = claimOf(batches[index]!);
    const expected = sequenceAfter(last.baseSequence, last.count);
    if (claim.baseSequence !== expected) return refusal(claim, { kind: 'out-of-order', expected });
    if (verdict.kind === 'repeat') {
      const next = table.judge(claim);
      if (next.kind !== 'repeat' || next.baseOffset !== verdict.baseOffset + count) return torn(claim);
      timestampMs = Math.max(timestampMs, next.timestamp);
    }
    last = claim;
    count += claim.count;
  }
  if (verdict.kind === 'fresh') return FRESH;
  return { kind: 'repeat', ack: { baseOffset: verdict.baseOffset, count, timestampMs } };
};

const torn = (claim: BatchClaim): ProducedVerdict =>
  refuse(claim, 'INVALID_REQUEST', 'some batches of the request were written with others before, and some were not');

const refuse = (claim: BatchClaim, code: ProducerCode, detail: string, facts: Facts = {}): ProducedVerdict => {
  const { producerId, epoch, baseSequence } = claim;
  const all = { producer_id: producerId, producer_epoch: epoch, sequence: baseSequence, ...facts };
  return { kind: 'refused', problem: problem(code, detail, all) };
};

const refusal = (claim: BatchClaim, verdict: Exclude<Verdict, { kind: 'fresh' | 'repeat' }>): ProducedVerdict => {
  const { producerId, epoch, baseSequence } = claim;
  switch (verdict.kind) {
    case 'duplicate':
      return refuse(
        claim,
        'DUPLICATE_SEQUENCE',
        `the records from sequence ${baseSequence} on were written before, too long ago to say where`,
      );
    case 'out-of-order':
      return refuse(
        claim,
        'OUT_OF_ORDER_SEQUENCE',
        `the records begin at sequence ${baseSequence}, and ${verdict.expected} is due; nothing was written`,
        { expected_sequence: verdict.expected },
      );
    case 'fenced':
      return refuse(
        claim,
        'PRODUCER_FENCED',
        `producer ${producerId} is in epoch ${verdict.epoch} now, and these records are of epoch ${epoch}`,
        { current_epoch: verdict.epoch },
      );
    case 'unknown':
      return refuse(
        claim,
        'UNKNOWN_PRODUCER_ID',
        `nothing is known of producer ${producerId} here, so sequence 0 is due; go on from 0 with the next epoch`,
      );
    case 'full':
      return refuse(
        claim,
        'THROTTLED',
        'the partition has too many producers; try again later, or without a producer id',
      );
  }
};
