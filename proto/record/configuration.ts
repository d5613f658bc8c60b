// A configuration batch: who belongs to a replica group from this offset on.
//
//   control batch, one record, last offset delta 0
//   key      version int16 = 0 | type int16 = 0x534c              Kafka's shape; a type that Kafka does not use
//   value    version int16 = 0 | flags int8 | voters | outgoing | learners | learners next
//   a list   count int16 | each: length int8 | ASCII               NODE/DIRECTORY-UUID, ascending, none twice
//
// Flags: bit 0, the leader leaves the joint configuration by itself. All integers are big-endian.
//
// One configuration has one form: what the decoder accepts, the encoder writes byte for byte. The decoder takes any bytes
// and never throws; a fault is a value with its reason.

import { CONTROL_KEY_BYTES, CONTROL_KEY_VERSION, controlType } from './control.ts';
import { decodeRecords } from './decoder.ts';
import { encodeBatch } from './encoder.ts';
import { ATTRIBUTES_AT, CONTROL_BIT, readInt16, readLastOffsetDelta, writeInt16 } from './layout.ts';
import { sealBatch, stampBatch } from './stamp.ts';

export const CONFIGURATION_TYPE = 0x534c;
const CONFIGURATION_VERSION = 0;
const AUTO_LEAVE_BIT = 1;
/** More replicas than this in one set is no group that anybody runs, but a damaged count. */
export const CONFIGURATION_REPLICAS_MAX = 128;
const REPLICA_PATTERN = /^\d{1,10}\/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const LISTS = ['voters', 'outgoing', 'learners', 'learnersNext'] as const;

/** Replicas by NODE/DIRECTORY-UUID, each list ascending. */
export interface StoredConfiguration {
  readonly voters: readonly string[];
  /** The old voters while the configuration is joint. */
  readonly outgoing: readonly string[];
  readonly learners: readonly string[];
  readonly learnersNext: readonly string[];
  readonly autoLeave: boolean;
}

export interface ConfigurationStamp {
  readonly epoch: number;
  readonly baseOffset: number;
  readonly timestamp: number;
}

export type DecodedConfiguration =
  | { readonly ok: true; readonly configuration: StoredConfiguration }
  | { readonly ok: false; readonly detail: string };

/** Stamped already. Lists are sorted here; what the format cannot hold is a RangeError. */
export function encodeConfiguration(configuration: StoredConfiguration, stamp: ConfigurationStamp): Uint8Array {
  const key = new Uint8Array(CONTROL_KEY_BYTES);
  writeInt16(key, 0, CONTROL_KEY_VERSION);
  writeInt16(key, 2, CONFIGURATION_TYPE);
  const built = encodeBatch([{ key, value: encodeValue(configuration), timestamp: stamp.timestamp }], {
    initialBytes: 256,
  });
  const batch = new Uint8Array(built);
  writeInt16(batch, ATTRIBUTES_AT, CONTROL_BIT);
  sealBatch(batch);
  stampBatch(batch, { baseOffset: stamp.baseOffset, leaderEpoch: stamp.epoch });
  return batch;
}

/** Relies on inspectBatch having accepted the batch. */
export function isConfiguration(batch: Uint8Array): boolean {
  return controlType(batch) === CONFIGURATION_TYPE;
}

/** For any bytes that inspectBatch accepted. */
export function decodeConfiguration(batch: Uint8Array): DecodedConfiguration {
  if (!isConfiguration(batch)) return faulty('it is no configuration batch');
  if (readLastOffsetDelta(batch, 0) !== 0) return faulty('it spans more than one offset');
  const decoded = decodeRecords(batch);
  if (!decoded.ok) return faulty('detail' in decoded.fault ? decoded.fault.detail : decoded.fault.kind);
  const [record, ...more] = decoded.records;
  if (record === undefined || more.length > 0) return faulty('it holds not one record');
  if (record.key?.length !== CONTROL_KEY_BYTES || readInt16(record.key, 0) !== CONTROL_KEY_VERSION) {
    return faulty('its key is not of this version');
  }
  if (record.headers.length > 0 || record.value === null) return faulty('its record is not of this form');
  return decodeValue(record.value);
}

function encodeValue(configuration: StoredConfiguration): Uint8Array {
  const lists = LISTS.map(name => [...configuration[name]].sort());
  const value = new Uint8Array(3 + lists.reduce((sum, list) => sum + 2 + listBytes(list), 0));
  writeInt16(value, 0, CONFIGURATION_VERSION);
  value[2] = configuration.autoLeave ? AUTO_LEAVE_BIT : 0;
  let at = 3;
  for (const list of lists) {
    if (list.length > CONFIGURATION_REPLICAS_MAX) throw new RangeError(`${list.length} replicas in one set`);
    writeInt16(value, at, list.length);
    at += 2;
    for (const [index, replica] of list.entries()) {
      if (!REPLICA_PATTERN.test(replica)) throw new RangeError(`not a replica: ${replica}`);
      if (replica === list[index - 1]) throw new RangeError(`replica ${replica} twice`);
      value[at++] = replica.length;
      for (let unit = 0; unit < replica.length; unit++) value[at++] = replica.charCodeAt(unit);
    }
  }
  return value;
}

const listBytes = (list: readonly string[]): number => list.reduce((sum, replica) => sum + 1 + replica.length, 0);

function decodeValue(value: Uint8Array): DecodedConfiguration {
  if (value.length < 3) return faulty('its value ends early');
  if (readInt16(value, 0) !== CONFIGURATION_VERSION) return faulty(`version ${readInt16(value, 0)} of it`);
  const flags = value[2]!;
  if ((flags & ~AUTO_LEAVE_BIT) !== 0) return faulty(`flags ${flags}`);
  const lists: string[][] = [];
  let at = 3;
  for (const name of LISTS) {
    if (at + 2 > value.length) return faulty(`its value ends before ${name}`);
    const count = readInt16(value, at);
    at += 2;
    if (count < 0 || count > CONFIGURATION_REPLICAS_MAX) return faulty(`${count} ${name}`);
    const list: string[] = [];
    for (let index = 0; index < count; index++) {
      const end = at < value.length ? at + 1 + value[at]! : Number.POSITIVE_INFINITY;
      if (end > value.length) return faulty(`its value ends within ${name}`);
      const replica = String.fromCharCode(...value.subarray(at + 1, end));
      if (!REPLICA_PATTERN.test(replica)) return faulty(`a replica of ${name} is not NODE/DIRECTORY-UUID`);
      if (index > 0 && replica <= list[index - 1]!) return faulty(`${name} do not ascend`);
      list.push(replica);
      at = end;
    }
    lists.push(list);
  }
  if (at !== value.length) return faulty(`${value.length - at} bytes behind its last list`);
  const [voters = [], outgoing = [], learners = [], learnersNext = []] = lists;
  if (voters.length === 0) return faulty('it has no voters');
  const autoLeave = (flags & AUTO_LEAVE_BIT) !== 0;
  return { ok: true, configuration: { voters, outgoing, learners, learnersNext, autoLeave } };
}

function faulty(detail: string): DecodedConfiguration {
  return { ok: false, detail };
}
