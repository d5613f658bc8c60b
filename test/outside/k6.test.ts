// k6 as a client that knows nothing of this project: each script of bench/k6 runs against a broker for a few seconds and
// must see every answer and every record that it asks for. Speed is judged leniently; the scripts' own thresholds are for
// measuring. A run with nobody there must fail, or a run that succeeds proves nothing.

import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BrokerProcess } from '../integration/broker-process.ts';
import { findTool, outcomeOf, skipLoudly, type ToolOutcome } from './tool.ts';

const root = new URL('../..', import.meta.url).pathname;
const summaries = join(root, '.work/k6');
const P95_MS_LENIENT = '5000';

const k6 = await findTool('k6', 'version');
if (k6 === null) skipLoudly('k6', 'it is not installed (bench/k6/README.md says how to get it)');

interface Summary {
  readonly metrics: Readonly<Record<string, { readonly values: { readonly count?: number } } | undefined>>;
}

describe.skipIf(k6 === null)('with k6 as the client', () => {
  let folder: string;
  let broker: BrokerProcess;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sluice-k6-'));
    await mkdir(summaries, { recursive: true });
    broker = await BrokerProcess.start(join(folder, 'data'));
  });

  afterAll(async () => {
    await broker.kill();
    await rm(folder, { recursive: true, force: true });
  });

  const run = (script: string, settings: Readonly<Record<string, string>>): Promise<ToolOutcome> => {
    const told = { VUS: '2', P95_MS: P95_MS_LENIENT, ...settings };
    const words = Object.entries(told).flatMap(([name, value]) => ['--env', `${name}=${value}`]);
    const file = join(root, 'bench/k6', `${script}.js`);
    return outcomeOf(k6 ?? '', ['run', '--quiet', ...words, file], { timeoutMs: 120_000, cwd: folder });
  };

  test.each([
    { script: 'rest', duration: '1s' },
    { script: 'websocket', duration: '3s' },
    { script: 'grpc', duration: '3s' },
  ])('$script: what is written is read, and the summary says so', async ({ script, duration }) => {
    const file = join(summaries, `${script}.json`);
    await rm(file, { force: true });
    const doors = { SLUICE_HTTP: broker.http, SLUICE_GRPC: broker.grpc };
    const ended = await run(script, { ...doors, DURATION: duration });
    expect(ended).toEqual({ status: 0, output: expect.stringContaining('every threshold is met') });
    const { metrics } = JSON.parse(await readFile(file, 'utf8')) as Summary;
    for (const name of ['records_written', 'records_read']) expect(metrics[name]?.values.count).toBeGreaterThan(0);
    const http = await fetch(`http://${broker.http}/v1/topics?prefix=k6-`);
    expect(await http.json()).toMatchObject({ topics: [] });
  });

  test('a run fails when nobody answers', async () => {
    const nobody = { SLUICE_HTTP: '127.0.0.1:1', SLUICE_GRPC: '127.0.0.1:1', DURATION: '1s' };
    for (const script of ['rest', 'websocket', 'grpc']) {
      const ended = await run(script, nobody);
      expect(ended.status).toBeGreaterThan(0);
      expect(ended.output).not.toContain('every threshold is met');
    }
  });
});
