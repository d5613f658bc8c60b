// The document of the REST door as JSON is kept between starts, and believed only when it is whole.

import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { BrokerProcess } from './broker-process.ts';

const folder = mkdtempSync(join(tmpdir(), 'sluice-kept-'));
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

const servedJson = async (): Promise<string> => {
  const broker = await BrokerProcess.start(join(folder, 'data'));
  try {
    return await (await fetch(`http://${broker.http}/openapi.json`)).text();
  } finally {
    await broker.terminate();
  }
};

test('a kept document is served as it was made, and made again when it is damaged', async () => {
  vi.stubEnv('XDG_CACHE_HOME', join(folder, 'cache'));
  const made = await servedJson();
  expect(JSON.parse(made)).toHaveProperty('paths');
  const kept = readdirSync(join(folder, 'cache'), { recursive: true, encoding: 'utf8' }).filter(name =>
    /openapi-[0-9a-f]{64}\.json$/.test(name),
  );
  expect(kept).toHaveLength(1);
  const path = join(folder, 'cache', kept[0]!);
  const text = readFileSync(path, 'utf8');
  const { ino } = statSync(path);

  expect(await servedJson()).toBe(made);
  // Written again, it would be another file.
  expect(statSync(path).ino).toBe(ino);

  writeFileSync(path, text.replace('"paths"', '"pathz"'));
  expect(await servedJson()).toBe(made);
  expect(readFileSync(path, 'utf8')).toBe(text);
});
