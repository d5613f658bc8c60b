// Frames of texts, many in one buffer, read back by the frame parser of ws.

import type { Writable } from 'node:stream';
import * as ws from 'ws';
import { describe, expect, it } from 'vitest';
import { textFrames } from '../../../server/gateway/websocket/text-frame.ts';

/** Exported, and missing in the package's types. */
const { Receiver } = ws as unknown as { Receiver: new (options: { isServer: boolean }) => Writable };

describe('texts', () => {
  it('of every length and any characters come back as one message each, in order', async () => {
    const lengths = [0, 1, 125, 126, 127, 65_535, 65_536, 200_000];
    const texts = lengths.flatMap(length => ['x'.repeat(length), 'é'.repeat(length / 2), '€𝄞'.repeat(length / 7)]);
    const received = await new Promise<string[]>((resolve, reject) => {
      const messages: string[] = [];
      const receiver = new Receiver({ isServer: false });
      receiver.on('message', (data: Buffer) => {
        messages.push(data.toString('utf8'));
        if (messages.length === texts.length) resolve(messages);
      });
      receiver.on('error', reject);
      receiver.write(textFrames(texts));
    });
    expect(received).toEqual(texts);
  });
});
