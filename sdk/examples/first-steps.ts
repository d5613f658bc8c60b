// The client from the first topic to the last record, against a broker on this machine: `node sdk/examples/first-steps.ts`.
// The README's snippets are cut from here.

// #region connect
import { Sluice, defineTopic, json, text } from '@sluice/client';

interface Order {
  readonly item: string;
  readonly total: number;
}

const sluice = new Sluice({ servers: ['127.0.0.1:9090'] });
const orders = defineTopic({ name: 'orders', key: text, value: json<Order>() });
// #endregion

// #region create
await sluice.admin.createTopic({ name: 'orders', partitionCount: 3, config: { 'retention.ms': 86_400_000 } });
// #endregion

// #region produce
const producer = sluice.producer({ topic: orders });
const { partition, offset } = await producer.send({ key: 'user-1', value: { item: 'tea', total: 12 } });
console.log(`durable at ${partition}/${offset}`);
// #endregion

// #region enqueue
for (let index = 0; index < 100_000; index++) {
  if (!producer.hasRoom) await producer.ready();
  producer.enqueue({ key: `user-${index % 100}`, value: { item: 'cup', total: index } });
}
await producer.drain();
// #endregion

// #region read
for await (const message of sluice.reader({ topic: orders, from: 'earliest', untilEnd: true })) {
  if (message.value !== null && message.value.total > 99_990) console.log(message.key, message.value.item);
}
// #endregion

// #region batches
let total = 0;
for await (const messages of sluice.reader({ topic: orders, untilEnd: true }).batches()) {
  for (const message of messages) total += message.value?.total ?? 0;
}
console.log(total);
// #endregion

// #region close
await sluice.admin.deleteTopic('orders');
await sluice.close();
// #endregion
