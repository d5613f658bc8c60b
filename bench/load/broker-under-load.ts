// A broker in a process of its own for loads that look at it from outside: its memory as the system counts it, an honest
// client's latencies, its metrics.

import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';

const LAUNCHER = new URL('../../server/sluice.cjs', import.meta.url).pathname;
const HEADERS_END = Buffer.from('\r\n\r\n');
const PAGE_BYTES = 4_096;

export const delayed = (ms: number): Promise<void> =>
  new Promise(resolve => {
    setTimeout(resolve, ms);
  });

export const percentile = (sample: readonly number[], share: number): number => {
  const sorted = sample.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
};

/** The lines of /metrics that match. */
export const scrape = async (address: string, pattern: RegExp): Promise<readonly string[]> =>
  (await (await fetch(`http://${address}/metrics`)).text()).match(pattern) ?? [];

export class BrokerUnderLoad {
  readonly #child: ChildProcess;
  readonly #dataDir: string;
  readonly http: string;
  readonly grpc: string;
  readonly management: string;

  private constructor(child: ChildProcess, dataDir: string, said: string) {
    this.#child = child;
    this.#dataDir = dataDir;
    const address = (pattern: RegExp): string => {
      const found = pattern.exec(said)?.[1];
      if (found === undefined) throw new Error(`no address in: ${said}`);
      return found;
    };
    this.http = address(/HTTP\s+http:\/\/(\S+)/);
    this.grpc = address(/gRPC\s+(\S+)/);
    this.management = address(/management\s+http:\/\/(\S+)/);
  }

  static async start(): Promise<BrokerUnderLoad> {
    const dataDir = mkdtempSync(path.join(tmpdir(), 'sluice-load-'));
    const free = ['http', 'grpc', 'management'].flatMap(name => [`--${name}`, '127.0.0.1:0']);
    const child = spawn(process.execPath, [LAUNCHER, 'start', '--data-dir', dataDir, ...free], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const said = await new Promise<string>((resolve, reject) => {
      let text = '';
      child.stdout.setEncoding('utf8').on('data', (piece: string) => {
        text += piece;
        if (text.includes('\nTry: ')) resolve(text);
      });
      child.once('close', status => reject(new Error(`the broker ended with ${status}: ${text}`)));
    });
    return new BrokerUnderLoad(child, dataDir, said);
  }

  /** Resident pages, as Linux counts them. */
  rssBytes(): number {
    return Number(readFileSync(`/proc/${this.#child.pid}/statm`, 'utf8').split(' ')[1]) * PAGE_BYTES;
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  async createTopic(name: string, config: Readonly<Record<string, string>> = {}): Promise<void> {
    const answer = await fetch(`http://${this.http}/v1/topics`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ name, partition_count: 1, config }),
    });
    if (answer.status !== 201) throw new Error(await answer.text());
  }

  async stop(): Promise<void> {
    if (this.isRunning) {
      const ended = new Promise(resolve => this.#child.once('close', resolve));
      this.#child.kill('SIGTERM');
      await ended;
    }
    rmSync(this.#dataDir, { recursive: true, force: true });
  }
}

export interface Sample {
  /** Requests a second. */
  readonly rate: number;
  readonly latenciesMs: readonly number[];
}

/** One keep-alive connection that sends one request after another and fails on any answer but a good one. */
export class HonestClient {
  readonly #socket: Socket;
  #received: Buffer = Buffer.alloc(0);
  #settle: { readonly resolve: () => void; readonly reject: (error: Error) => void } | null = null;

  constructor(address: string) {
    const [host, port] = address.split(':') as [string, string];
    this.#socket = connect({ host, port: Number(port), noDelay: true });
    this.#socket.on('data', chunk => this.#take(chunk));
    this.#socket.on('error', error => this.#settle?.reject(error));
    this.#socket.on('close', () => this.#settle?.reject(new Error('the broker closed an honest connection')));
  }

  request(bytes: Buffer): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
      this.#socket.write(bytes);
    });
  }

  close(): void {
    this.#settle = null;
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
    const headersEnd = this.#received.indexOf(HEADERS_END);
    if (headersEnd < 0) return;
    const head = this.#received.toString('latin1', 0, headersEnd);
    const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? Number.NaN);
    if (this.#received.length < headersEnd + HEADERS_END.length + length) return;
    const text = this.#received.toString('utf8');
    this.#received = Buffer.alloc(0);
    const settle = this.#settle;
    this.#settle = null;
    if (/^HTTP\/1\.1 20\d /.test(head)) settle?.resolve();
    else settle?.reject(new Error(text));
  }
}

/** Measures `request` over and over. */
export const measured = async (durationMs: number, request: () => Promise<void>): Promise<Sample> => {
  const latenciesMs: number[] = [];
  const from = performance.now();
  const until = from + durationMs;
  for (let at = from; at < until; ) {
    await request();
    const now = performance.now();
    latenciesMs.push(now - at);
    at = now;
  }
  return { rate: latenciesMs.length / ((performance.now() - from) / 1_000), latenciesMs };
};

export class Producer {
  readonly #client: HonestClient;
  readonly #bytes: Buffer;

  constructor(address: string, topic: string, size: { readonly records: number; readonly bytes: number }) {
    this.#client = new HonestClient(address);
    const body = `{"records":[${Array.from({ length: size.records }, () => `{"value_text":"${'x'.repeat(size.bytes)}"}`).join(',')}]}`;
    this.#bytes = Buffer.from(
      `POST /v1/topics/${topic}/records HTTP/1.1\r\nHost: ${address}\r\nContent-Type: application/json\r\n` +
        `Content-Length: ${body.length}\r\n\r\n${body}`,
    );
  }

  send(): Promise<void> {
    return this.#client.request(this.#bytes);
  }

  measure(durationMs: number): Promise<Sample> {
    return measured(durationMs, () => this.send());
  }
}
