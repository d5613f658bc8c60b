// What the door does when a handler is wrong: one request fails and is logged, but a broken invariant ends the process.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { describe, expect, it } from 'vitest';
import type { LogFields, Logger } from '../../../server/base/logger.ts';
import { createMetrics } from '../../../server/base/metrics.ts';
import type { Broker } from '../../../server/broker/broker.ts';
import { BodyBudget } from '../../../server/gateway/body-budget.ts';
import { LoopShare } from '../../../server/gateway/loop-share.ts';
import { OutgoingBudget } from '../../../server/gateway/outgoing-budget.ts';
import { RecordFeeds } from '../../../server/gateway/record-feed.ts';
import { Contract } from '../../../server/gateway/rest/contract.ts';
import { RestDoor } from '../../../server/gateway/rest/door.ts';
import type { Handler } from '../../../server/gateway/rest/handlers.ts';
import { OriginRule } from '../../../server/gateway/origin-rule.ts';
import { realClock } from '../../../server/io/real/clock.ts';
import { realRandom } from '../../../server/io/real/random.ts';
import { call } from '../../integration/http-call.ts';

const DOCUMENT = `
openapi: 3.1.0
info: { title: one operation, version: '1' }
paths: { /thing: { get: { operationId: getThing, responses: {} } } }
components: { parameters: {}, schemas: {} }
`;

interface Served extends AsyncDisposable {
  readonly base: string;
  readonly logged: { fields: LogFields; message: string }[];
}

const serve = async (handle: Handler): Promise<Served> => {
  const logged: Served['logged'] = [];
  const log = (fields: LogFields, message: string): void => {
    logged.push({ fields, message });
  };
  const logger: Logger = { debug: log, info: log, warn: log, error: log, fatal: log };
  // No handler here asks it for anything.
  const broker = Object.freeze({}) as Broker;
  const loopShare = new LoopShare(realClock, 4);
  const door = new RestDoor({
    context: {
      broker,
      clock: realClock,
      random: realRandom,
      logger,
      metrics: createMetrics(),
      bodyBudget: new BodyBudget(1),
      outgoing: new OutgoingBudget(realClock, 1_000_000),
      loopShare,
      recordFeeds: new RecordFeeds(broker, loopShare),
      version: '0',
    },
    contract: new Contract(DOCUMENT),
    handlers: { getThing: { verb: 'thing', handle } },
    originRule: new OriginRule([], [], []),
  });
  const server = createServer((request, response) => door.handle(request, response, false));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  return {
    base: `http://127.0.0.1:${port}`,
    logged,
    async [Symbol.asyncDispose]() {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
    },
  };
};

describe('a handler that throws', () => {
  it.each<[string, Handler]>([
    [
      'at once',
      () => {
        throw new Error('secret cause');
      },
    ],
    ['later', () => Promise.reject(new Error('secret cause'))],
  ])('%s is answered INTERNAL, and only the log has the cause', async (_when, handle) => {
    await using served = await serve(handle);
    const answer = await call(served.base, '/thing');
    expect(answer.json).toMatchObject({ status: 500, code: 'INTERNAL', request_id: answer.headers['request-id'] });
    expect(answer.text).not.toContain('secret');
    expect(served.logged).toHaveLength(1);
    expect(served.logged[0]?.fields).toMatchObject({
      request_id: answer.headers['request-id'],
      err: { message: 'secret cause' },
    });
  });

  it('after it began to answer breaks the connection', async () => {
    await using served = await serve(exchange => {
      exchange.beginStream(200, 'text/plain', 'X');
      exchange.response.write('half');
      throw new Error('too late');
    });
    await expect(call(served.base, '/thing')).rejects.toThrow('aborted');
    expect(served.logged).toHaveLength(1);
  });

  it('because an invariant is broken ends the process', async () => {
    const url = (path: string): string => new URL(path, import.meta.url).href;
    const program = `
      const { RestDoor } = await import(${JSON.stringify(url('../../../server/gateway/rest/door.ts'))});
      const { Contract } = await import(${JSON.stringify(url('../../../server/gateway/rest/contract.ts'))});
      const { OriginRule } = await import(${JSON.stringify(url('../../../server/gateway/origin-rule.ts'))});
      const { createMetrics } = await import(${JSON.stringify(url('../../../server/base/metrics.ts'))});
      const { assert } = await import(${JSON.stringify(url('../../../server/base/assert.ts'))});
      const { realClock } = await import(${JSON.stringify(url('../../../server/io/real/clock.ts'))});
      const { realRandom } = await import(${JSON.stringify(url('../../../server/io/real/random.ts'))});
      const { createServer, get } = await import('node:http');
      const door = new RestDoor({
        context: { clock: realClock, random: realRandom, metrics: createMetrics() },
        contract: new Contract(${JSON.stringify(DOCUMENT)}),
        handlers: { getThing: { verb: 'thing', handle: async () => assert(false, 'two and two are four') } },
        originRule: new OriginRule([], [], []),
      });
      const server = createServer((request, response) => door.handle(request, response, false));
      server.listen(0, '127.0.0.1', () => get({ port: server.address().port, host: '127.0.0.1', path: '/thing' }));
    `;
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let stderr = '';
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    const [exitCode] = (await once(child, 'close')) as [number];
    expect(exitCode).not.toBe(0);
    expect(stderr).toContain('two and two are four');
  });
});
