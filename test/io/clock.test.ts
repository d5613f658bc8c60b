// The real clock keeps delays that one timer cannot hold.

import { expect, test } from 'vitest';
import { realClock } from '../../server/io/real/clock.ts';

test.each([Number.POSITIVE_INFINITY, 2 ** 31, 2 ** 40])(
  'a delay of %d ms does not end before a short one',
  async delayMs => {
    const order: string[] = [];
    const { promise, resolve } = Promise.withResolvers<void>();
    const long = realClock.schedule(delayMs, () => order.push('long'));
    realClock.schedule(20, () => {
      order.push('short');
      resolve();
    });
    await promise;
    long.cancel();
    expect(order).toEqual(['short']);
  },
);

test('a timer that was cancelled does not run', async () => {
  const order: string[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  realClock.schedule(1, () => order.push('cancelled')).cancel();
  realClock.schedule(5, () => {
    order.push('kept');
    resolve();
  });
  await promise;
  expect(order).toEqual(['kept']);
});
