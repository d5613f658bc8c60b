// Raft messages on the wire. Who sends and who receives is the session's: both ends proved who they are when it was made, so that a
// message carries neither.
//
//   message        kind u8 | topic id 16 | partition u32 | term u32 | recovery u32 | body
//   position       epoch u32 | offset u64
//
//   kind               body
//   1 pre-vote         position
//   2 vote             position | is a transfer u8
//   3 pre-vote answer  yes, if all, no: 0, 1, 2
//   4 vote answer      the same
//   5 append           prev position | commit position | log start u64 | batches to the end of the message
//   6 append matched   position | commit position
//   7 append rejected  prev position | hint position | may have lost u8
//   8 heartbeat        commit position | read round u32 | is the last u8
//   9 heartbeat answer commit position | read round u32
//   10 snapshot        base position | log start u64 | position of the configuration | configuration batch to the end
//   11 transfer        commit position | log start u64
//   12 outdated        -
//
// Three kinds are not Raft's:
//
//   32 leader          the sender leads the group in this term; recovery is 0
//   33 snapshot state  base position | length of all u32 | where this part belongs u32 | the part to the end; before its snapshot
//   34 wake            the sender has a replica that hears no leader; term and recovery are 0
//
// All but append, snapshot and its state have a known length, so that many stand in one control frame, one behind the other.

import type { LeaderEpoch, TopicId } from '@sluice/protocol/ids';
import { encodeConfiguration } from '@sluice/protocol/record';
import type { ConfigurationAt } from '../raft/configuration-history.ts';
import type { Answer, Append, Message, Snapshot } from '../raft/message.ts';
import type { Position } from '../base/position.ts';
import type { Content } from '../raft/replica.ts';
import type { ReplicaId } from '../raft/replica-id.ts';
import { splitHeads } from './batch-heads.ts';
import { ByteReader } from './byte-reader.ts';
import type { ByteWriter } from './byte-writer.ts';
import { storedForm } from './configuration-form.ts';
import type { GroupName } from './group-name.ts';
import type { LeaderNotice } from './leader-notices.ts';
import type { StatePart } from './snapshot-state.ts';

const kinds = [
  'pre-vote',
  'vote',
  'pre-vote-answer',
  'vote-answer',
  'append',
  'append-matched',
  'append-rejected',
  'heartbeat',
  'heartbeat-answer',
  'snapshot',
  'transfer',
  'outdated',
] as const satisfies readonly Message['kind'][];

const answers = ['yes', 'if-all', 'no'] as const satisfies readonly Answer[];

/** What both ends of a session know. */
export interface MessageEnds {
  readonly from: ReplicaId;
  readonly to: ReplicaId;
}

export interface AddressedMessage {
  readonly group: GroupName;
  readonly message: Message;
}

export interface ControlFrame {
  readonly messages: readonly AddressedMessage[];
  readonly leaders: readonly LeaderNotice[];
  /** Groups of which a replica hears no leader. */
  readonly wakes: readonly GroupName[];
}

export type BulkContent =
  | ({ readonly kind: 'message' } & AddressedMessage)
  | { readonly kind: 'snapshot-state'; readonly group: GroupName; readonly part: StatePart };

const LEADER = 32;
const SNAPSHOT_STATE = 33;
const WAKE = 34;

// ---- Writing

/** All of the message but the batches of an append, which follow as they are. */
export const writeMessage = (writer: ByteWriter, { group, message }: AddressedMessage): void => {
  writer.uint8(kinds.indexOf(message.kind) + 1);
  writer.uuid(group.topicId);
  writer.uint32(group.partition);
  writer.uint32(message.term);
  writer.uint32(message.recovery);
  writeBody(writer, message);
};

export const writeLeaderNotice = (writer: ByteWriter, { group, term }: LeaderNotice): void => {
  writeHead(writer, LEADER, { group, term });
};

export const writeWake = (writer: ByteWriter, group: GroupName): void => {
  writeHead(writer, WAKE, { group, term: 0 });
};

const writeHead = (writer: ByteWriter, code: number, about: { group: GroupName; term: number }): void => {
  writer.uint8(code);
  writer.uuid(about.group.topicId);
  writer.uint32(about.group.partition);
  writer.uint32(about.term);
  writer.uint32(0);
};

/** All but the bytes of the part, which follow as they are. */
export const writeStatePart = (writer: ByteWriter, group: GroupName, { base, byteLength, at }: StatePart): void => {
  writeHead(writer, SNAPSHOT_STATE, { group, term: 0 });
  writePosition(writer, base);
  writer.uint32(byteLength);
  writer.uint32(at);
};

const writeBody = (writer: ByteWriter, message: Message): void => {
  switch (message.kind) {
    case 'pre-vote':
      writePosition(writer, message.position);
      return;
    case 'vote':
      writePosition(writer, message.position);
      writer.uint8(Number(message.isTransfer));
      return;
    case 'pre-vote-answer':
    case 'vote-answer':
      writer.uint8(answers.indexOf(message.answer));
      return;
    case 'append':
      writePosition(writer, message.prev);
      writePosition(writer, message.commit);
      writer.offset(message.logStart);
      return;
    case 'append-matched':
      writePosition(writer, message.position);
      writePosition(writer, message.commit);
      return;
    case 'append-rejected':
      writePosition(writer, message.prev);
      writePosition(writer, message.hint);
      writer.uint8(Number(message.mayHaveLost));
      return;
    case 'heartbeat':
      writePosition(writer, message.commit);
      writer.uint32(message.readRound);
      writer.uint8(Number(message.isLast));
      return;
    case 'heartbeat-answer':
      writePosition(writer, message.commit);
      writer.uint32(message.readRound);
      return;
    case 'snapshot':
      writePosition(writer, message.base);
      writer.offset(message.logStart);
      writePosition(writer, message.configuration.position);
      writer.raw(configurationBatch(message.configuration));
      return;
    case 'transfer':
      writePosition(writer, message.commit);
      writer.offset(message.logStart);
      return;
    case 'outdated':
      return;
  }
};

const writePosition = (writer: ByteWriter, { epoch, offset }: Position): void => {
  writer.uint32(epoch);
  writer.offset(offset);
};

// ---- Reading

/** What a control frame holds; null where it holds anything else. */
export const readControlFrame = (frame: Uint8Array, ends: MessageEnds): ControlFrame | null => {
  const reader = new ByteReader(frame);
  const messages: AddressedMessage[] = [];
  const leaders: LeaderNotice[] = [];
  const wakes: GroupName[] = [];
  while (reader.left > 0) {
    const head = readHead(reader);
    if (head.code === LEADER || head.code === WAKE) {
      if (reader.isBroken) return null;
      if (head.code === WAKE) wakes.push(head.group);
      else leaders.push({ group: head.group, term: head.term });
      continue;
    }
    const message = readMessage(reader, head, ends);
    if (message === null || message.kind === 'append' || message.kind === 'snapshot') return null;
    messages.push({ group: head.group, message });
  }
  return reader.isBroken ? null : { messages, leaders, wakes };
};

/** The one message that came over the bulk lane; null where it is none. */
export const readBulkMessage = (bytes: Uint8Array, ends: MessageEnds): BulkContent | null => {
  const reader = new ByteReader(bytes);
  const head = readHead(reader);
  if (head.code === SNAPSHOT_STATE) {
    const base = readPosition(reader);
    const part = { base, byteLength: reader.uint32(), at: reader.uint32(), bytes: reader.rest() };
    return reader.isBroken ? null : { kind: 'snapshot-state', group: head.group, part };
  }
  const message = readMessage(reader, head, ends);
  return message === null || reader.left > 0 ? null : { kind: 'message', group: head.group, message };
};

interface Head {
  readonly code: number;
  readonly group: GroupName;
  readonly term: LeaderEpoch;
  readonly recovery: number;
}

const readHead = (reader: ByteReader): Head => {
  const code = reader.uint8();
  const topicId = reader.uuid() as TopicId;
  const partition = reader.uint32();
  return { code, group: { topicId, partition }, term: reader.epoch(), recovery: reader.uint32() };
};

const readMessage = (reader: ByteReader, { code, term, recovery }: Head, ends: MessageEnds): Message | null => {
  const kind = kinds[code - 1];
  if (kind === undefined || reader.isBroken) return null;
  const content = readBody(reader, kind);
  if (content === null || reader.isBroken) return null;
  return { ...content, ...ends, term, recovery };
};

const readBody = (reader: ByteReader, kind: Message['kind']): Content | null => {
  switch (kind) {
    case 'pre-vote':
      return { kind, position: readPosition(reader) };
    case 'vote':
      return { kind, position: readPosition(reader), isTransfer: reader.boolean() };
    case 'pre-vote-answer':
    case 'vote-answer': {
      const answer = answers[reader.uint8()];
      return answer === undefined ? null : { kind, answer };
    }
    case 'append':
      return readAppend(reader);
    case 'append-matched':
      return { kind, position: readPosition(reader), commit: readPosition(reader) };
    case 'append-rejected':
      return { kind, prev: readPosition(reader), hint: readPosition(reader), mayHaveLost: reader.boolean() };
    case 'heartbeat':
      return { kind, commit: readPosition(reader), readRound: reader.uint32(), isLast: reader.boolean() };
    case 'heartbeat-answer':
      return { kind, commit: readPosition(reader), readRound: reader.uint32() };
    case 'snapshot':
      return readSnapshot(reader);
    case 'transfer':
      return { kind, commit: readPosition(reader), logStart: reader.offset() };
    case 'outdated':
      return { kind };
  }
};

const readAppend = (reader: ByteReader): Content<Append> | null => {
  const prev = readPosition(reader);
  const commit = readPosition(reader);
  const logStart = reader.offset();
  const batches = splitHeads(reader.rest());
  return batches === null ? null : { kind: 'append', prev, commit, logStart, batches };
};

const readSnapshot = (reader: ByteReader): Content<Snapshot> | null => {
  const base = readPosition(reader);
  const logStart = reader.offset();
  const position = readPosition(reader);
  const [batch, ...more] = splitHeads(reader.rest()) ?? [];
  if (batch?.kind !== 'configuration' || more.length > 0) return null;
  return { kind: 'snapshot', base, logStart, configuration: { position, configuration: batch.configuration } };
};

const readPosition = (reader: ByteReader): Position => ({ epoch: reader.epoch(), offset: reader.offset() });

/** The form that it has in a log; where it stands there is told beside it. */
const configurationBatch = ({ configuration }: ConfigurationAt): Uint8Array =>
  encodeConfiguration(storedForm(configuration), { epoch: 0, baseOffset: 0, timestamp: 0 });
