// Messages that arrive in pieces: what is held of the one that is not whole, wherever the pieces are cut.

import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { MessageFraming } from '../../../server/gateway/grpc/message-admission.ts';
import { frame } from './unread-call.ts';

test('any messages in any pieces are counted, and nothing is held behind the last', () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 5 }),
      fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 20 }),
      (messages, cuts) => {
        const framing = new MessageFraming();
        const bytes = Buffer.concat(messages.map(message => frame(message)));
        const ends: number[] = [0];
        for (const message of messages) ends.push(ends.at(-1)! + 5 + message.length);
        let at = 0;
        for (let index = 0; at < bytes.length; index++) {
          const end = Math.min(bytes.length, at + cuts[index % cuts.length]!);
          framing.receive(bytes.subarray(at, end));
          at = end;
          const whole = ends.filter(messageEnd => messageEnd <= at);
          expect(framing.messages).toBe(whole.length - 1);
          expect(framing.heldBytes).toBe(at - whole.at(-1)!);
        }
        expect(framing.heldBytes).toBe(0);
      },
    ),
  );
});

test('a length is believed for counting, and reserves nothing', () => {
  const framing = new MessageFraming();
  framing.receive(Buffer.from([0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3]));
  expect(framing.heldBytes).toBe(8);
});
