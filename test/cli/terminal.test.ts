// The terminal: back-pressure, a reader that goes away, signals. The host is made of streams that the test holds.

import { EventEmitter } from 'node:events';
import { PassThrough, Writable } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { openTerminal, type Host, type Terminal } from '../../server/cli/terminal.ts';

class TestHost extends EventEmitter implements Host {
  readonly stdin = new PassThrough();
  readonly stdout: Writable;
  readonly stderr = new PassThrough();
  readonly env = {};
  readonly exits: number[] = [];

  constructor(stdout: Writable) {
    super();
    this.stdout = stdout;
  }

  exit(code: number): never {
    this.exits.push(code);
    throw new Error('exit');
  }
}

const opened = (stdout: Writable = new PassThrough()): { readonly host: TestHost; readonly terminal: Terminal } => {
  const host = new TestHost(stdout);
  return { host, terminal: openTerminal(host) };
};

const isSettled = async (promise: Promise<unknown>): Promise<boolean> => {
  let settled = false;
  void promise.then(() => (settled = true));
  // Everything that can run without new input has run after a turn of the loop.
  await new Promise(done => setImmediate(done));
  return settled;
};

describe('printing', () => {
  test('waits while the reader is slow, and goes on when it reads', async () => {
    const stdout = new PassThrough({ highWaterMark: 4 });
    const { terminal } = opened(stdout);
    await terminal.print('ab');
    const second = terminal.print('cdef');
    expect(await isSettled(second)).toBe(false);
    expect(stdout.read()?.toString()).toBe('abcdef');
    await second;
  });

  test('a reader that went away interrupts, and nothing waits for it any more', async () => {
    const stdout = new PassThrough({ highWaterMark: 1 });
    const { terminal } = opened(stdout);
    const waiting = terminal.print('more than fits');
    stdout.destroy(Object.assign(new Error('gone'), { code: 'EPIPE' }));
    await waiting;
    expect(terminal.interrupted.aborted).toBe(true);
    await terminal.print('nobody reads this');
  });

  test('flush resolves when everything has left', async () => {
    const left: string[] = [];
    const pending: (() => void)[] = [];
    const stdout = new Writable({
      write(chunk: Buffer, _, done) {
        left.push(chunk.toString());
        pending.push(done);
      },
    });
    const { terminal } = opened(stdout);
    void terminal.print('last');
    const flushed = terminal.flush();
    expect(await isSettled(flushed)).toBe(false);
    while (pending.length > 0) {
      pending.shift()?.();
      await new Promise(done => setImmediate(done));
    }
    await flushed;
    expect(left[0]).toBe('last');
  });
});

describe('signals', () => {
  test.each(['SIGINT', 'SIGTERM'])('the first %s asks to end, the second ends at once with 1', signal => {
    const { host, terminal } = opened();
    expect(terminal.interrupted.aborted).toBe(false);
    host.emit(signal);
    expect([terminal.interrupted.aborted, host.exits]).toEqual([true, []]);
    expect(() => host.emit(signal)).toThrow('exit');
    expect(host.exits).toEqual([1]);
  });
});
