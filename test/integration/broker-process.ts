// A broker in a process of its own, started by the command line as a user would: what a test may kill.
//
// Every address is chosen by the system and read from what `sluice start` prints. A process that is still running when
// the test process ends is killed with it.

import { type ChildProcessByStdio, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';

export const LAUNCHER = new URL('../../server/sluice.cjs', import.meta.url).pathname;

const ANNOUNCED_MS_MAX = 60_000;

export interface ProcessEnd {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

type Flags = Readonly<Record<string, string>>;

const running = new Set<BrokerProcess>();
process.on('exit', () => {
  for (const broker of running) broker.child.kill('SIGKILL');
});

export class BrokerProcess {
  readonly dataDir: string;
  readonly child: ChildProcessByStdio<null, Readable, Readable>;
  /** Resolves when the process is gone, however it went. */
  readonly ended: Promise<ProcessEnd>;
  private stdout = '';
  private stderr = '';
  private announced = (_text: string): void => {};

  private constructor(dataDir: string, flags: Flags, launcher = LAUNCHER) {
    this.dataDir = dataDir;
    const words = Object.entries({
      'data-dir': dataDir,
      http: '127.0.0.1:0',
      grpc: '127.0.0.1:0',
      management: '127.0.0.1:0',
      ...flags,
    }).flatMap(([name, value]) => [`--${name}`, value]);
    this.child = spawn(process.execPath, [launcher, 'start', ...words], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: environmentWithoutSettings(),
    });
    running.add(this);
    this.child.stdout.setEncoding('utf8').on('data', (piece: string) => {
      this.stdout += piece;
      this.announced(this.stdout);
    });
    this.child.stderr.setEncoding('utf8').on('data', (piece: string) => {
      this.stderr += piece;
    });
    this.ended = new Promise((resolve, reject) => {
      this.child.on('error', reject);
      this.child.on('close', (status, signal) => {
        running.delete(this);
        resolve({ status, signal, stdout: this.stdout, stderr: this.stderr });
      });
    });
  }

  /** Resolves when it listens. Throws with what it said when it ends before that. */
  static start(dataDir: string, flags: Flags = {}, launcher?: string): Promise<BrokerProcess> {
    return new BrokerProcess(dataDir, flags, launcher).listening();
  }

  /** Without waiting for anything: for a node that needs others before it can listen. */
  static launch(dataDir: string, flags: Flags = {}): BrokerProcess {
    return new BrokerProcess(dataDir, flags);
  }

  /** As `start`. Asked for once. */
  async listening(): Promise<this> {
    const announced = new Promise<true>(resolve => {
      this.announced = text => {
        if (text.includes('\nTry: ')) resolve(true);
      };
      this.announced(this.stdout);
    });
    const first = await Promise.race([announced, this.ended, expired(ANNOUNCED_MS_MAX)]);
    if (first === true) return this;
    this.child.kill('SIGKILL');
    throw new Error(`${first === null ? 'the broker does not say where it listens' : 'ended early'}: ${this.stderr}`);
  }

  /** Resolves once a line of its log, from now on or before, matches. Throws when it ends without one. */
  async logged(pattern: RegExp): Promise<string> {
    for (;;) {
      const line = this.stderr.split('\n').find(each => pattern.test(each));
      if (line !== undefined) return line;
      const more = new Promise<true>(resolve => this.child.stderr.once('data', () => resolve(true)));
      if ((await Promise.race([more, this.ended])) !== true) throw new Error(`no line ${pattern}: ${this.stderr}`);
    }
  }

  /** All it said on standard error so far. */
  get log(): string {
    return this.stderr;
  }

  /** A start that should be refused: how it ended. Throws when the broker comes up instead. */
  static async refusedStart(dataDir: string, flags: Flags = {}): Promise<ProcessEnd> {
    const broker = new BrokerProcess(dataDir, flags);
    const listening = new Promise<true>(resolve => {
      broker.announced = text => {
        if (text.includes('\nTry: ')) resolve(true);
      };
    });
    const first = await Promise.race([listening, broker.ended, expired(ANNOUNCED_MS_MAX)]);
    if (first !== true && first !== null) return first;
    broker.child.kill('SIGKILL');
    throw new Error(`the start was not refused: ${broker.stdout}${broker.stderr}`);
  }

  /** HOST:PORT */
  get http(): string {
    return this.addressOf(/HTTP\s+http:\/\/(\S+)/);
  }

  get grpc(): string {
    return this.addressOf(/gRPC\s+(\S+)/);
  }

  get management(): string {
    return this.addressOf(/management\s+http:\/\/(\S+)/);
  }

  async kill(): Promise<ProcessEnd> {
    this.child.kill('SIGKILL');
    return this.ended;
  }

  async terminate(): Promise<ProcessEnd> {
    this.child.kill('SIGTERM');
    return this.ended;
  }

  private addressOf(pattern: RegExp): string {
    const address = pattern.exec(this.stdout)?.[1];
    if (address === undefined) throw new Error(`no address in: ${this.stdout}`);
    return address;
  }
}

/** Settings of the surrounding shell would change what is tested. */
export function environmentWithoutSettings(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('SLUICE_')));
}

/** A bound on a hang, not a pause: resolves null when nothing else settled the race. */
function expired(ms: number): Promise<null> {
  return new Promise(resolve => {
    setTimeout(resolve, ms, null).unref();
  });
}
