// Branded identifiers: a number that was checked to be an offset is not just a number.
//
// The brand is built only by the functions here, by storage (which counts offsets it has written) and by decoders that
// checked the range.

declare const brand: unique symbol;
type Branded<T, B extends string> = T & { readonly [brand]: B };

/** A record's place in its partition: 0 to 2^53 - 1. One above the last record is an offset too (the log end). */
export type Offset = Branded<number, 'Offset'>;

/** The leader's term as stored in every batch: 0 to 2^31 - 1. */
export type LeaderEpoch = Branded<number, 'LeaderEpoch'>;

export type NodeId = Branded<number, 'NodeId'>;

/** A UUID in its lower-case text form. */
export type TopicId = Branded<string, 'TopicId'>;

export const isOffset = (value: number): value is Offset => Number.isSafeInteger(value) && value >= 0;

/** For values that are offsets by construction; a wrong one is a broken invariant. */
export const offset = (value: number): Offset => {
  if (!isOffset(value)) throw new RangeError(`not an offset: ${value}`);
  return value;
};

export const leaderEpoch = (value: number): LeaderEpoch => {
  if (!Number.isInteger(value) || value < 0 || value > 0x7fffffff) throw new RangeError(`not a leader epoch: ${value}`);
  return value as LeaderEpoch;
};

export const nodeId = (value: number): NodeId => {
  if (!Number.isInteger(value) || value < 0 || value > 0x7fffffff) throw new RangeError(`not a node id: ${value}`);
  return value as NodeId;
};

const uuidPattern = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

export const isTopicId = (text: string): text is TopicId => uuidPattern.test(text);

export const topicId = (text: string): TopicId => {
  if (!isTopicId(text)) throw new RangeError(`not a topic id: ${text}`);
  return text;
};

// Without Node's Buffer: browsers load this file too.
export const topicIdBytes = (id: TopicId): Uint8Array => {
  const bytes = new Uint8Array(16);
  let digitCount = 0;
  for (let at = 0; at < id.length; at++) {
    const code = id.charCodeAt(at);
    if (code === 0x2d) continue;
    // '0' to '9' hold their digit in the low bits; 'a' is 0x61.
    const digit = code < 0x40 ? code & 0x0f : (code & 0x07) + 9;
    bytes[digitCount >> 1]! |= digit << (digitCount % 2 === 0 ? 4 : 0);
    digitCount++;
  }
  return bytes;
};

/** The text form of 16 bytes. */
export const topicIdFromBytes = (bytes: Uint8Array): TopicId => {
  const hex = Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('');
  return topicId(`${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`);
};

export const TOPIC_NAME_LENGTH_MAX = 249;

/** Null when the name is one of Kafka's legal topic names, else the reason. */
export const topicNameFault = (name: string): string | null => {
  if (name.length === 0) return 'a topic name cannot be empty';
  if (name.length > TOPIC_NAME_LENGTH_MAX) return `a topic name has at most ${TOPIC_NAME_LENGTH_MAX} characters`;
  if (name === '.' || name === '..') return 'a topic name cannot be "." or ".."';
  if (!/^[a-zA-Z0-9._-]+$/.test(name)) return 'a topic name is made of ASCII letters, digits, ".", "_" and "-"';
  return null;
};
