// A WebSocket client for tests: frames are awaited in the order in which they come, never slept for.

import { WebSocket } from 'ws';

export type Frame = Record<string, unknown> & {
  readonly op?: string;
  readonly id?: number | string;
  readonly subscription?: string;
  readonly cursor?: string;
  readonly problem?: {
    readonly code: string;
    readonly status: number;
    readonly field?: string;
    readonly request_id: string;
  };
  readonly records?: readonly { readonly partition: number; readonly offset: number; readonly value?: unknown }[];
  readonly offsets?: readonly { readonly partition: number; readonly offset?: number; readonly timestamp?: number }[];
};

export class TestSocket implements AsyncDisposable {
  readonly raw: WebSocket;
  /** Resolves with the code of the close; 1006 when there was none. */
  readonly closed: Promise<{ readonly code: number; readonly reason: string }>;
  private readonly arrived: Frame[] = [];
  private waiting: { readonly wanted: (frame: Frame) => boolean; readonly resolve: (frame: Frame) => void }[] = [];

  private constructor(raw: WebSocket) {
    this.raw = raw;
    raw.on('message', (data: Buffer) => this.take(JSON.parse(data.toString('utf8')) as Frame));
    raw.on('error', () => {});
    this.closed = new Promise(resolve => {
      raw.on('close', (code, reason) => resolve({ code, reason: reason.toString('utf8') }));
    });
  }

  /** `http`: http://HOST:PORT of the broker. */
  static async open(http: string, protocols: readonly string[] = ['sluice.v1.json']): Promise<TestSocket> {
    const raw = new WebSocket(`${http.replace('http', 'ws')}/v1/ws`, [...protocols]);
    const socket = new TestSocket(raw);
    await new Promise<void>((resolve, reject) => {
      raw.once('open', resolve);
      raw.once('error', reject);
    });
    return socket;
  }

  send(frame: unknown): void {
    this.raw.send(typeof frame === 'string' ? frame : JSON.stringify(frame));
  }

  /** The first frame that is like this, also when it came before; it is given once. */
  next(wanted: (frame: Frame) => boolean = () => true): Promise<Frame> {
    const at = this.arrived.findIndex(wanted);
    if (at >= 0) return Promise.resolve(this.arrived.splice(at, 1)[0]!);
    return new Promise((resolve, reject) => {
      this.waiting.push({ wanted, resolve });
      // oxlint-disable-next-line typescript/no-floating-promises -- only to end the wait
      this.closed.then(({ code }) => reject(new Error(`closed with ${code} before the frame came`)));
    });
  }

  /** The answer to a request. */
  ask(frame: { readonly id: number | string; readonly [name: string]: unknown }): Promise<Frame> {
    this.send(frame);
    return this.next(answer => answer.id === frame.id);
  }

  async subscribe(parameters: Record<string, unknown>): Promise<string> {
    const answer = await this.ask({ id: 'subscribe', op: 'subscribe', ...parameters });
    if (answer.subscription === undefined) throw new Error(JSON.stringify(answer));
    return answer.subscription;
  }

  /** Frames with records until there are so many of them. */
  async records(name: string, count: number): Promise<readonly Frame[]> {
    const frames: Frame[] = [];
    for (let seen = 0; seen < count; ) {
      const frame = await this.next(({ op, subscription }) => op === 'records' && subscription === name);
      frames.push(frame);
      seen += frame.records!.length;
    }
    return frames;
  }

  /** Frames that came and that nobody asked for. */
  get unread(): readonly Frame[] {
    return this.arrived;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.raw.terminate();
    await this.closed;
  }

  private take(frame: Frame): void {
    const at = this.waiting.findIndex(({ wanted }) => wanted(frame));
    if (at < 0) this.arrived.push(frame);
    else this.waiting.splice(at, 1)[0]!.resolve(frame);
  }
}
