// Messages of the peer protocol as bytes: proto/sluice/internal/v1/peer.proto.
//
//   Frame:  1a | length of the rest | 0d | CRC-32C, 4 bytes little-endian | 12 | length of the payload | payload
//
// Frames are written by hand, so that a payload in pieces is joined and copied once; everything else is generated code.
// Guarantee: what decodes has a good checksum and lies within the limits; a payload is a view of what arrived.

import { create, fromBinary, toBinary, type MessageInitShape } from '@bufbuild/protobuf';
import {
  CallPartSchema,
  PeerMessageSchema,
  type CallPart,
  type CallPart_Kind,
  type Hello,
  type HelloSchema,
} from '@sluice/protocol/peer';
import { crc32c, crc32cContinue } from '@sluice/protocol/record';
import { assert } from '../../../base/assert.ts';
import { PEER_CALL_BYTES_MAX, PEER_DETAIL_CHARS_MAX, PEER_FRAME_BYTES_MAX } from '../../../base/limits.ts';
import type { Frame, PeerRefusal, PeerRefusalReason } from '../../peer-link.ts';

/** What a message with the largest frame takes; a part of a call is far below it. */
export const MESSAGE_BYTES_MAX = PEER_FRAME_BYTES_MAX + 64;

export type PeerMessage =
  | { readonly kind: 'hello'; readonly hello: Hello }
  | { readonly kind: 'proof'; readonly mac: Uint8Array }
  | { readonly kind: 'frame'; readonly payload: Uint8Array }
  | { readonly kind: 'ping' }
  | { readonly kind: 'refusal'; readonly refusal: PeerRefusal };

/** Why a connection ends that said something else. */
export interface BadMessage {
  readonly kind: 'bad';
  readonly detail: string;
}

const FRAME_TAG = 0x1a;
const CHECKSUM_TAG = 0x0d;
const PAYLOAD_TAG = 0x12;
const PART_BYTES_TAG = 0x2a;
const CHECKSUM_BYTES = 4;

const reasons: ReadonlySet<string> = new Set<PeerRefusalReason>([
  'protocol-version',
  'cluster-id',
  'own-node',
  'wrong-node',
  'secret',
  'duplicate-node',
  'stale-incarnation',
  'wiped-directory',
  'not-admitted',
]);

const readOptions = { readUnknownFields: false };

const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

export const encodeHello = (hello: MessageInitShape<typeof HelloSchema>): Buffer =>
  asBuffer(toBinary(PeerMessageSchema, create(PeerMessageSchema, { message: { case: 'hello', value: hello } })));

export const encodeProof = (mac: Uint8Array): Buffer =>
  asBuffer(toBinary(PeerMessageSchema, create(PeerMessageSchema, { message: { case: 'proof', value: { mac } } })));

export const encodeRefusal = (refusal: PeerRefusal): Buffer => {
  const { reason, detail } = refusal;
  const message = { case: 'refusal' as const, value: { reason, detail: detail.slice(0, PEER_DETAIL_CHARS_MAX) } };
  return asBuffer(toBinary(PeerMessageSchema, create(PeerMessageSchema, { message })));
};

export const encodePing = (): Buffer =>
  asBuffer(toBinary(PeerMessageSchema, create(PeerMessageSchema, { message: { case: 'ping', value: {} } })));

const varintBytes = (value: number): number => {
  let bytes = 1;
  for (let rest = value; rest > 0x7f; rest >>>= 7) bytes++;
  return bytes;
};

/** Answers where it ended. */
const writeVarint = (target: Uint8Array, start: number, value: number): number => {
  let at = start;
  let rest = value;
  for (; rest > 0x7f; rest >>>= 7) target[at++] = (rest & 0x7f) | 0x80;
  target[at++] = rest;
  return at;
};

export const frameBytes = (frame: Frame): number =>
  frame instanceof Uint8Array ? frame.length : frame.reduce((sum, piece) => sum + piece.length, 0);

export const encodeFrame = (frame: Frame): Buffer => {
  const pieces = frame instanceof Uint8Array ? [frame] : frame;
  const length = frameBytes(frame);
  assert(length > 0 && length <= PEER_FRAME_BYTES_MAX, 'a frame is neither empty nor beyond its limit');
  const rest = 1 + CHECKSUM_BYTES + 1 + varintBytes(length) + length;
  const message = Buffer.allocUnsafe(1 + varintBytes(rest) + rest);
  let at = 0;
  message[at++] = FRAME_TAG;
  at = writeVarint(message, at, rest);
  message[at++] = CHECKSUM_TAG;
  const checksumAt = at;
  at += CHECKSUM_BYTES;
  message[at++] = PAYLOAD_TAG;
  at = writeVarint(message, at, length);
  let checksum = 0;
  for (const piece of pieces) {
    checksum = crc32cContinue(checksum, piece);
    message.set(piece, at);
    at += piece.length;
  }
  message.writeUInt32LE(checksum, checksumAt);
  return message;
};

export const decodeMessage = (bytes: Uint8Array): PeerMessage | BadMessage => {
  let message: ReturnType<typeof fromBinary<typeof PeerMessageSchema>>['message'];
  try {
    message = fromBinary(PeerMessageSchema, bytes, readOptions).message;
  } catch {
    return { kind: 'bad', detail: 'bytes that are no message' };
  }
  switch (message.case) {
    case 'hello':
      return { kind: 'hello', hello: message.value };
    case 'proof':
      return { kind: 'proof', mac: message.value.mac };
    case 'refusal': {
      const { reason, detail } = message.value;
      if (!reasons.has(reason)) return { kind: 'bad', detail: 'a refusal without a reason' };
      const known = reason as PeerRefusalReason;
      return { kind: 'refusal', refusal: { reason: known, detail: detail.slice(0, PEER_DETAIL_CHARS_MAX) } };
    }
    case 'frame': {
      const { checksum, payload } = message.value;
      if (payload.length === 0 || payload.length > PEER_FRAME_BYTES_MAX)
        return { kind: 'bad', detail: `a frame of ${payload.length} bytes` };
      if (crc32c(payload) !== checksum) return { kind: 'bad', detail: 'a frame with a wrong checksum' };
      return { kind: 'frame', payload };
    }
    case 'ping':
      return { kind: 'ping' };
    case undefined:
      return { kind: 'bad', detail: 'an empty message' };
  }
};

const NOTHING = new Uint8Array();

export interface PartInit {
  readonly call: number;
  readonly kind: (typeof CallPart_Kind)[keyof typeof CallPart_Kind];
  readonly total?: number;
  readonly at?: number;
  readonly bytes?: Uint8Array;
}

/** The frame's payload for a part, in pieces: the bytes are not copied here. Relies on call ids above 0: no payload is empty. */
export const partFrame = (part: PartInit): Uint8Array[] => {
  const { call, kind, total = 0, at = 0, bytes = NOTHING } = part;
  const head = toBinary(CallPartSchema, create(CallPartSchema, { call, kind, total, at }));
  if (bytes.length === 0) return [head];
  const tag = new Uint8Array(1 + varintBytes(bytes.length));
  tag[0] = PART_BYTES_TAG;
  writeVarint(tag, 1, bytes.length);
  return [head, tag, bytes];
};

export const decodePart = (payload: Uint8Array): CallPart | null => {
  let part: CallPart;
  try {
    part = fromBinary(CallPartSchema, payload, readOptions);
  } catch {
    return null;
  }
  return part.total <= PEER_CALL_BYTES_MAX && part.at + part.bytes.length <= part.total ? part : null;
};
