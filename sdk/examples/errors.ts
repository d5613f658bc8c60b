// What a program does about failures: `node sdk/examples/errors.ts`. The README's snippets are cut from here.

import { Sluice, SluiceError } from '@sluice/client';

const sluice = new Sluice({ servers: ['127.0.0.1:9090'], connectTimeoutMs: 2_000 });

// #region admin-error
try {
  await sluice.admin.createTopic({ name: 'events' });
} catch (error) {
  if (!(error instanceof SluiceError) || error.code !== 'TOPIC_EXISTS') throw error;
}
// #endregion

// #region outcome
const producer = sluice.producer({ topic: 'events' });
try {
  await producer.send({ value: 'paid' });
} catch (error) {
  if (error instanceof SluiceError && error.outcome === 'unknown') {
    // It may have been written. Sending again may write it twice: a decision for the program, not for the client.
    console.error('nobody knows whether it was written');
  } else throw error;
}
// #endregion

// #region abort
const controller = new AbortController();
process.once('SIGINT', () => controller.abort());
try {
  for await (const message of sluice.reader({ topic: 'events', from: 'latest', signal: controller.signal })) {
    console.log(message.offset, Buffer.from(message.value ?? []).toString());
  }
} catch (error) {
  if (!controller.signal.aborted) throw error;
} finally {
  await sluice.close();
}
// #endregion
