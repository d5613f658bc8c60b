// Record frames byte by byte, read back by the frame parser of ws.

import type { Writable } from 'node:stream';
import * as ws from 'ws';
import { describe, expect, it } from 'vitest';
import type { FeedPiece } from '../../../server/gateway/record-feed.ts';
import { RecordFrames } from '../../../server/gateway/websocket/record-frame.ts';

/** Exported, and missing in the package's types. */
const { Receiver } = ws as unknown as { Receiver: new (options: { isServer: boolean }) => Writable };

const pieceOf = (text: string): FeedPiece => ({
  text: Buffer.from(text),
  recordCount: 1,
  storedBytes: text.length,
  positions: [],
  cursor: 'CURSOR',
});

const readBack = (chunks: readonly Buffer[]): Promise<string> =>
  new Promise((resolve, reject) => {
    const receiver = new Receiver({ isServer: false });
    receiver.on('message', (data: Buffer, isBinary: boolean) => {
      expect(isBinary).toBe(false);
      resolve(data.toString('utf8'));
    });
    receiver.on('error', reject);
    for (const chunk of chunks) receiver.write(Buffer.from(chunk));
  });

describe('a record frame', () => {
  it.each([1, 50, 125, 126, 200, 8_000, 8_192, 65_400, 65_535, 70_000, 5_000_000])(
    'of %d bytes of text is one whole message',
    async length => {
      const text = JSON.stringify('é'.repeat(length / 2));
      const message = await readBack(new RecordFrames().frame(pieceOf(text), 's1'));
      expect(message).toBe(`{"op":"records","subscription":"s1","records":[${text}],"cursor":"CURSOR"}`);
    },
  );

  it('is made once for subscriptions of one name, and a long text is never copied', () => {
    const frames = new RecordFrames();
    const piece = pieceOf(`"${'x'.repeat(20_000)}"`);
    const first = frames.frame(piece, 's1');
    expect(frames.frame(piece, 's1')).toBe(first);
    expect(first).toContain(piece.text);
    const other = frames.frame(piece, 's2');
    expect(other).toContain(piece.text);
    expect(other).not.toBe(first);
    expect(frames.frame(pieceOf('1'), 's2')).not.toBe(other);
  });
});
