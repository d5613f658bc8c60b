// A test of a program that uses Sluice, with a real broker inside. The README's snippet is cut from here.

// #region testing
import { Sluice } from '@sluice/client';
import { startBroker } from 'sluice/testing';
import { expect, test } from 'vitest';

test('what is sent can be read', async () => {
  await using broker = await startBroker();
  await using sluice = new Sluice({ servers: [broker.grpc] });
  await sluice.admin.createTopic({ name: 'greetings' });
  const { offset } = await sluice.producer({ topic: 'greetings' }).send({ value: 'hello' });
  expect(offset).toBe(0);
});
// #endregion
