// A start that is refused leaves nothing behind: no listener, no lock, nothing that a second one would meet.

import { mkdtemp, rename, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { startBroker } from '../../server/testing.ts';

const directories: string[] = [];

afterEach(async () => {
  for (const directory of directories.splice(0)) await rm(directory, { recursive: true, force: true });
});

/** A port that is free now; rejects where `wanted` is taken. */
const bound = (wanted: number): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(wanted, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' ? (address?.port ?? 0) : 0));
    });
  });

test('metadata that cannot be opened ends the peer listener that was there before it', async () => {
  const dataDir = await mkdtemp(path.join(tmpdir(), 'sluice-refused-'));
  directories.push(dataDir);
  await (await startBroker({ dataDir })).stop();
  const kept = path.join(dataDir, 'cluster.json');
  await rename(kept, `${kept}.away`);
  const address = { host: '127.0.0.1', port: await bound(0) };
  const settings = { peer: address, cluster: [{ nodeId: 1, address }] };
  const start = startBroker({ dataDir, settings });
  await expect(start).rejects.toThrow(/no cluster\.json/);
  expect(await bound(address.port)).toBe(address.port);
  await rename(`${kept}.away`, kept);
  await (await startBroker({ dataDir, settings })).stop();
});
