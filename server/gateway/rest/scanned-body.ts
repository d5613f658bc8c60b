// The records of a body `{"records": […]}` from its bytes into batches, each read where it lies (record-scan.ts).
//
// A record that cannot be read so is parsed alone. For everything that is wrong the answer is null: whoever asked parses the whole body
// then, and tells the first thing that is wrong with it in the order in which it always has been told. So nothing is judged twice.
//
// Relies on: nothing reaches a log before the body was seen to its end.

import { isUtf8 } from 'node:buffer';
import { JSON_DEPTH_MAX } from '../../base/limits.ts';
import { FAULT, JsonScan, literal, skipJson, skipSpace } from '../json-bytes.ts';
import { parseJson } from '../json-text.ts';
import { readRecordForm } from '../record-json.ts';
import type { Placed, PlacementPlan } from '../record-placement.ts';
import { Placement } from '../record-placement.ts';
import type { RecordScan } from '../record-scan.ts';
import { NOT_PLAIN } from '../record-scan.ts';

/** Of a record: the levels of its value, or of its headers, inside it. */
const RECORD_DEPTH_MAX = JSON_DEPTH_MAX + 1;
const OBJECT_START = 0x7b;
const OBJECT_END = 0x7d;
const LIST_START = 0x5b;
const LIST_END = 0x5d;
const COLON = 0x3a;
const COMMA = 0x2c;

export interface ScannedPlan extends PlacementPlan {
  readonly scan: RecordScan;
}

/** Null where the body must be parsed: something is wrong, or it is one record, which may share a batch with other requests. */
export const placeScanned = (bytes: Buffer, plan: ScannedPlan): Placed | null => {
  const json = new JsonScan(RECORD_DEPTH_MAX);
  const from = listStart(bytes, json);
  if (from === FAULT || !hasSeveral(bytes, from, json) || !isUtf8(bytes)) return null;
  const placement = new Placement(plan);
  if (placeList(bytes, from, { plan, placement, json })) return placement.done();
  placement.drop();
  return null;
};

/** Behind `{"records":[`, or FAULT. */
const listStart = (bytes: Buffer, json: JsonScan): number => {
  const end = bytes.length;
  let at = expect(bytes, skipSpace(bytes, 0, end, json), OBJECT_START);
  if (at === FAULT) return FAULT;
  at = literal(bytes, skipSpace(bytes, at, end, json), end, '"records"');
  if (at === FAULT) return FAULT;
  at = expect(bytes, skipSpace(bytes, at, end, json), COLON);
  return at === FAULT ? FAULT : expect(bytes, skipSpace(bytes, at, end, json), LIST_START);
};

/** Seen before anything is placed: a place for a record without a key is taken in turns. */
const hasSeveral = (bytes: Buffer, from: number, json: JsonScan): boolean => {
  const behind = skipJson(bytes, skipSpace(bytes, from, bytes.length, json), bytes.length, json);
  return behind !== FAULT && expect(bytes, skipSpace(bytes, behind, bytes.length, json), COMMA) !== FAULT;
};

const expect = (bytes: Buffer, at: number, byte: number): number =>
  at < bytes.length && bytes[at] === byte ? at + 1 : FAULT;

interface Placing {
  readonly plan: ScannedPlan;
  readonly placement: Placement;
  readonly json: JsonScan;
}

const placeList = (bytes: Buffer, from: number, placing: Placing): boolean => {
  const { json } = placing;
  const end = bytes.length;
  let at = from;
  for (;;) {
    at = placeRecord(bytes, skipSpace(bytes, at, end, json), placing);
    if (at === FAULT) return false;
    at = skipSpace(bytes, at, end, json);
    if (at >= end) return false;
    const next = bytes[at++]!;
    if (next === COMMA) continue;
    if (next !== LIST_END) return false;
    at = expect(bytes, skipSpace(bytes, at, end, json), OBJECT_END);
    return at !== FAULT && skipSpace(bytes, at, end, json) === end;
  }
};

const placeRecord = (bytes: Buffer, from: number, { plan, placement, json }: Placing): number => {
  const { scan } = plan;
  const scanned = scan.record(bytes, from);
  if (scanned !== NOT_PLAIN) return placement.addScanned(scan) === null ? scanned : FAULT;
  const behind = skipJson(bytes, from, bytes.length, json);
  if (behind === FAULT) return FAULT;
  const parsed = parseJson(bytes.toString('utf8', from, behind));
  if (!parsed.ok) return FAULT;
  const record = readRecordForm(parsed.value);
  return record.kind === 'record' && placement.add(record, false) === null ? behind : FAULT;
};
