// Positions that outlive the program, and messages that outlive their batch. The README's snippets are cut from here.

import { readFile, writeFile } from 'node:fs/promises';
import { Sluice, defineTopic, text, type Message } from '@sluice/client';

const sluice = new Sluice({ servers: ['127.0.0.1:9090'] });
const lines = defineTopic({ name: 'lines', value: text });

// #region positions
const saved = await readFile('positions.json', 'utf8').catch(() => '[]');
const positions = new Map(JSON.parse(saved) as [number, number][]);
const reader = sluice.reader({ topic: lines, from: positions.size === 0 ? 'earliest' : { positions }, untilEnd: true });
for await (const message of reader) console.log(message.value);
await writeFile('positions.json', JSON.stringify([...reader.positions()]));
// #endregion

// #region copy
const longest: Message<Uint8Array, string>[] = [];
for await (const message of sluice.reader({ topic: lines, untilEnd: true })) {
  // A message keeps its whole batch in memory; a copy keeps itself.
  if ((message.value?.length ?? 0) > 10_000) longest.push(message.copy());
}
// #endregion

await sluice.close();
