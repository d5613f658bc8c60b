// Runs a tool that is not ours to its end, and says how it went. Never throws: a missing tool is an outcome.

import { execFile } from 'node:child_process';

export interface ToolOutcome {
  /** Null when it could not be started or was stopped at the time limit. */
  readonly status: number | null;
  /** Standard output and standard error. */
  readonly output: string;
}

export interface ToolOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
}

const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;

export function outcomeOf(tool: string, words: readonly string[], options: ToolOptions): Promise<ToolOutcome> {
  return new Promise(resolve => {
    execFile(
      tool,
      words,
      {
        cwd: options.cwd,
        env: { ...process.env, ...options.env },
        timeout: options.timeoutMs,
        maxBuffer: OUTPUT_BYTES_MAX,
      },
      (error, stdout, stderr) => {
        const output = `${stdout}${stderr}`;
        if (error === null) resolve({ status: 0, output });
        else resolve({ status: typeof error.code === 'number' ? error.code : null, output: output || error.message });
      },
    );
  });
}

/** Where .ci/run puts the tools that it had to fetch. */
const FETCHED = ['bin', 'python/bin'].map(place => new URL(`../../.work/tools/${place}/`, import.meta.url).pathname);

/** How to call the tool, fetched or installed; null where it answers to neither. */
export async function findTool(name: string, versionFlag: string): Promise<string | null> {
  for (const path of [...FETCHED.map(place => place + name), name]) {
    const { status } = await outcomeOf(path, [versionFlag], { timeoutMs: 30_000 });
    if (status === 0) return path;
  }
  return null;
}

/** A judge that cannot run must be seen: the reason goes to the terminal, around the test runner's own reporting. */
export function skipLoudly(judge: string, reason: string): void {
  process.stderr.write(`\nSKIPPED ${judge}: ${reason}\n`);
}
