// The WebSocket door: takes connections over from the HTTP door and keeps them until one of the two sides ends them.
//
// Guarantees: what is wrong with a handshake is an HTTP answer with a problem document; nothing was upgraded then. A stop
// tells every connection, answers what is under way, and closes with 1012; who does not close in turn is cut.

import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { WEBSOCKET_DRAIN_MS_MAX } from '../../base/limits.ts';
import type { VerbMetrics } from '../../base/metrics.ts';
import type { GatewayContext, UpgradeDoor } from '../gateway.ts';
import type { OriginRule } from '../origin-rule.ts';
import { BuilderPool } from '../partition-batches.ts';
import { TextBuffer } from '../text-buffer.ts';
import { PartitionChoice } from '../partition-choice.ts';
import type { AnsweringServer, AnsweringWebSocket } from './answering-server.ts';
import { answeringServer } from './answering-server.ts';
import { CLOSE_RESTART, Connection } from './connection.ts';
import { judgeHandshake, refuseUpgrade } from './handshake.ts';
import { RecordFrames } from './record-frame.ts';
import { SendTurn } from '../send-turn.ts';
import type { SharedState } from './session.ts';

export class WebSocketDoor implements UpgradeDoor {
  readonly #context: GatewayContext;
  readonly #originRule: OriginRule;
  readonly #shared: SharedState;
  readonly #handshakes: VerbMetrics;
  readonly #frames = new RecordFrames();
  readonly #connections = new Set<Connection>();
  #server: AnsweringServer | null = null;
  #isDraining = false;

  constructor(context: GatewayContext, originRule: OriginRule) {
    this.#context = context;
    this.#originRule = originRule;
    const { metrics, clock, loopShare } = context;
    this.#handshakes = metrics.verb('websocket', 'connect');
    this.#shared = {
      choice: new PartitionChoice(),
      pool: new BuilderPool(),
      text: new TextBuffer(),
      turn: new SendTurn(clock, loopShare),
      verbs: {
        produce: metrics.verb('websocket', 'produce'),
        subscribe: metrics.verb('websocket', 'subscribe'),
        credit: metrics.verb('websocket', 'credit'),
        unsubscribe: metrics.verb('websocket', 'unsubscribe'),
        unknown: metrics.verb('websocket', 'unknown'),
      },
    };
  }

  isFor(request: IncomingMessage): boolean {
    return request.headers.upgrade?.toLowerCase() === 'websocket';
  }

  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const startedMs = this.#context.clock.monotonicMs();
    const { method, url, headers } = request;
    const refusal = judgeHandshake(
      { method, url, headers, localAddress: request.socket.localAddress },
      { originRule: this.#originRule, isDraining: this.#isDraining, connectionCount: this.#connections.size },
    );
    this.#handshakes.finished(refusal?.code ?? 'ok', (this.#context.clock.monotonicMs() - startedMs) / 1000);
    if (refusal !== null) {
      refuseUpgrade(socket, refusal, this.#context.random.uuid());
      return;
    }
    this.#server ??= answeringServer();
    this.#server.handleUpgrade(request, socket, head, webSocket => {
      const connection = new Connection({
        context: this.#context,
        shared: this.#shared,
        frames: this.#frames,
        webSocket: webSocket as AnsweringWebSocket,
        socket,
      });
      this.#connections.add(connection);
      // oxlint-disable-next-line typescript/no-floating-promises -- resolves with the connection's end
      connection.closed.then(() => this.#connections.delete(connection));
    });
  }

  async drain(): Promise<void> {
    this.#isDraining = true;
    const ended = Promise.all([...this.#connections].map(drainOne));
    const { promise: expired, resolve } = Promise.withResolvers<void>();
    const timer = this.#context.clock.schedule(WEBSOCKET_DRAIN_MS_MAX, resolve);
    await Promise.race([ended, expired]);
    timer.cancel();
  }

  async close(): Promise<void> {
    this.#isDraining = true;
    const connections = [...this.#connections];
    for (const connection of connections) connection.cut();
    await Promise.all(connections.map(({ closed }) => closed));
  }
}

const drainOne = async (connection: Connection): Promise<void> => {
  await connection.session.drain();
  connection.close(CLOSE_RESTART, 'this broker is stopping');
  await connection.closed;
};
