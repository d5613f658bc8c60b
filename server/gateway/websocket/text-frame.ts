// Texts as WebSocket messages, many in one buffer: an answer is short, and framing each on its own costs more than the answer.

/** A whole text message (RFC 6455, section 5.2), not masked. */
const FIN_TEXT = 0x81;
const LENGTH_16 = 126;
const LENGTH_64 = 127;

export const frameHeaderBytes = (payloadBytes: number): number =>
  payloadBytes < LENGTH_16 ? 2 : payloadBytes < 0x1_0000 ? 4 : 10;

/** Answers where the payload begins. */
export const writeFrameHeader = (into: Buffer, at: number, payloadBytes: number): number => {
  into[at] = FIN_TEXT;
  if (payloadBytes < LENGTH_16) {
    into[at + 1] = payloadBytes;
    return at + 2;
  }
  if (payloadBytes < 0x1_0000) {
    into[at + 1] = LENGTH_16;
    return into.writeUInt16BE(payloadBytes, at + 2);
  }
  into[at + 1] = LENGTH_64;
  into.writeUInt16BE(0, at + 2);
  return into.writeUIntBE(payloadBytes, at + 4, 6);
};

/** One message a text, in order. */
export const textFrames = (texts: readonly string[]): Buffer => {
  const lengths: number[] = [];
  let bytes = 0;
  for (const text of texts) {
    const length = Buffer.byteLength(text, 'utf8');
    lengths.push(length);
    bytes += frameHeaderBytes(length) + length;
  }
  const frames = Buffer.allocUnsafe(bytes);
  let at = 0;
  for (const [index, text] of texts.entries()) {
    const length = lengths[index]!;
    at = writeFrameHeader(frames, at, length);
    at += frames.write(text, at, length === text.length ? 'latin1' : 'utf8');
  }
  return frames;
};
