// The simulation on the oldest line of Node that the broker runs on and on this one: the same seeds go the same way, call for call, as the
// hashes of their traces say. The other Node comes from the registry; where that cannot be reached this is skipped, loudly.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { outcomeOf, skipLoudly } from './tool.ts';

const VERSION = '22.23.3';
const SEEDS = 12;

const name = `node-linux-${process.arch}`;
const isHere = process.platform === 'linux' && ['x64', 'arm64'].includes(process.arch);
const reachable = await outcomeOf('npm', ['view', `${name}@${VERSION}`, 'version'], { timeoutMs: 60_000 });
const canRun = isHere && reachable.status === 0 && reachable.output.trim() !== '';
if (!canRun) skipLoudly(`Node ${VERSION}`, isHere ? 'npm does not reach a registry' : `there is none as ${name}`);

const root = new URL('../..', import.meta.url).pathname;

describe.skipIf(!canRun)(`Node ${VERSION} and Node ${process.versions.node}`, () => {
  let folder: string;
  let other: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sluice-node-'));
    const words = ['install', '--prefix', folder, '--no-save', '--no-audit', '--no-fund', `${name}@${VERSION}`];
    expect(await outcomeOf('npm', words, { timeoutMs: 240_000 })).toMatchObject({ status: 0 });
    other = join(folder, 'node_modules', name, 'bin/node');
  });

  afterAll(() => rm(folder, { recursive: true, force: true }));

  /** One line a seed: its number, its kind, and the hash of its trace. */
  const hashes = async (node: string): Promise<readonly string[]> => {
    const words = ['test/simulation/simulate.ts', '--seeds', String(SEEDS), '--processes', '1', '--hashes'];
    const { status, output } = await outcomeOf(node, words, { cwd: root, timeoutMs: 240_000 });
    expect(status, output).toBe(0);
    return output.split('\n').filter(line => /^\d+ (groups|brokers) [0-9a-f]{64}$/.test(line));
  };

  test('are two programs', async () => {
    const { output } = await outcomeOf(other, ['--version'], { timeoutMs: 30_000 });
    expect(output.trim()).toBe(`v${VERSION}`);
    expect(process.versions.node).not.toBe(VERSION);
  });

  test('run the same seeds in the same way', { timeout: 600_000 }, async () => {
    const here = await hashes(process.execPath);
    expect(here).toHaveLength(SEEDS);
    expect(await hashes(other)).toEqual(here);
  });
});
