// The client in a page: `npm run build` writes it as one file, dist/sdk/browser.js, that a page imports as it is; bundlers
// find it as `@sluice/client/browser`. A page of another origin than the broker's needs `sluice start --allow-origin`.

// #region connect
import { Sluice, SluiceError, defineTopic, json, text } from '@sluice/client/browser';

const sluice = new Sluice({ url: 'http://127.0.0.1:8080' }); // default: where the page came from
const clicks = defineTopic({ name: 'clicks', key: text, value: json<{ readonly x: number }>() });
// #endregion

await sluice.admin.createTopic({ name: 'clicks' }).catch((error: unknown) => {
  if (!(error instanceof SluiceError) || error.code !== 'TOPIC_EXISTS') throw error;
});

// #region produce
const producer = sluice.producer({ topic: clicks });
const { partition, offset } = await producer.send({ key: 'user-1', value: { x: 12 } });
console.log(`durable at ${partition}/${offset}`);
// #endregion

// #region tail
const kept: string | null = null; // for example localStorage.getItem('clicks')
const reader = sluice.reader({ topic: clicks, from: kept === null ? 'earliest' : { cursor: kept } });
for await (const message of reader) {
  console.log(message.key, message.value?.x);
  const { cursor } = reader; // for example localStorage.setItem('clicks', cursor)
  if (cursor !== null) break;
}
// #endregion

await sluice.close();
