// schemathesis reads openapi.yaml from a running broker and sends what the document allows and what it forbids: the
// broker must answer as documented, refuse what is wrong, and never fail.
//
// Twice: once at names that mostly do not exist, once with the document's paths fixed to a topic with records. Three
// parameters are left out: `envelope` and `key`, because with envelope=none a body is any JSON value, and a schema of the
// body cannot depend on a query parameter; `timeout_ms`, because 1 ms is rightly answered 504 on a slow disk. The judge
// is put to the proof on a server that does not do what its document says.

import { createServer } from 'node:http';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BrokerProcess } from '../integration/broker-process.ts';
import { HttpClient } from '../integration/http-exchange.ts';
import { findTool, outcomeOf, skipLoudly, type ToolOutcome } from './tool.ts';

const CHECKS =
  'not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,' +
  'negative_data_rejection,unsupported_method';
const SEED = process.env['SLUICE_SCHEMATHESIS_SEED'] ?? `${Date.now() % 1_000_000}`;

const schemathesis = await findTool('schemathesis', '--version');
if (schemathesis === null) skipLoudly('schemathesis', 'it is not installed (pip install "schemathesis>=4,<5")');

interface Reference {
  readonly $ref?: string;
}

interface Operation {
  parameters?: readonly Reference[];
}

/** What of an OpenAPI document is looked at here. */
interface ApiDocument {
  readonly paths: Record<
    string,
    { readonly parameters?: readonly Reference[]; readonly get?: unknown; readonly post?: Operation }
  >;
}

const without = (parameters: readonly Reference[] | undefined, names: readonly string[]): readonly Reference[] =>
  (parameters ?? []).filter(({ $ref }) => !names.some(name => $ref?.endsWith(`/${name}`)));

describe.skipIf(schemathesis === null)('with schemathesis as the judge', () => {
  let folder: string;
  let broker: BrokerProcess;
  let documents = 0;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sluice-contract-'));
    broker = await BrokerProcess.start(join(folder, 'data'));
    const http = new HttpClient(broker.http);
    const topic = { method: 'POST', path: '/v1/topics', headers: { 'content-type': 'application/json' } };
    await http.json({ ...topic, body: '{"name":"judged","partition_count":3}' }, 201);
    const records = { method: 'POST', path: '/v1/topics/judged/records', headers: { 'content-type': 'text/plain' } };
    await http.json({ ...records, body: Array.from({ length: 500 }, (_, line) => `line ${line}`).join('\n') });
    http.close();
  });

  afterAll(async () => {
    await broker.kill();
    await rm(folder, { recursive: true, force: true });
  });

  /** Judges the server at this address by the document, written to a file first. */
  async function judge(address: string, document: ApiDocument, exampleCount: number): Promise<ToolOutcome> {
    const file = join(folder, `document-${documents++}.json`);
    await writeFile(file, JSON.stringify(document));
    const what = ['run', file, '--url', `http://${address}`, '--checks', CHECKS, '--max-examples', `${exampleCount}`];
    const how = ['--request-timeout', '60', '--seed', SEED, '--no-color', '--suppress-health-check', 'all'];
    return outcomeOf(schemathesis ?? '', [...what, ...how], { timeoutMs: 240_000, cwd: folder });
  }

  async function servedDocument(): Promise<ApiDocument> {
    const http = new HttpClient(broker.http);
    const { body } = await http.send({ path: '/openapi.yaml' });
    http.close();
    const document = parse(body.toString()) as ApiDocument;
    for (const { post } of Object.values(document.paths)) {
      if (post !== undefined) post.parameters = without(post.parameters, ['envelope', 'keyPointer', 'timeoutMs']);
    }
    return document;
  }

  /** The same with topic and partition filled in, but where the topic itself could be deleted. */
  function aimedAt(document: ApiDocument, topic: string): ApiDocument {
    const paths: ApiDocument['paths'] = {};
    for (const [path, operations] of Object.entries(document.paths)) {
      if (path.endsWith('{topic}')) paths[path] = operations;
      else {
        const parameters = without(operations.parameters, ['topic', 'partition']);
        paths[path.replace('{topic}', topic).replace('{partition}', '0')] = { ...operations, parameters };
      }
    }
    return { ...document, paths };
  }

  function verdict({ status, output }: ToolOutcome) {
    const count = Number(/(\d+) generated/.exec(output)?.[1] ?? 0);
    return { seed: SEED, status, isThorough: count > 500, complaint: status === 0 ? '' : output };
  }

  const SOUND = { seed: SEED, status: 0, isThorough: true, complaint: '' };

  test('whatever is asked of names that do not exist is answered as documented', async () => {
    expect(verdict(await judge(broker.http, await servedDocument(), 15))).toEqual(SOUND);
  });

  test('whatever is asked of a topic with records is answered as documented', async () => {
    expect(verdict(await judge(broker.http, aimedAt(await servedDocument(), 'judged'), 30))).toEqual(SOUND);
    const http = new HttpClient(broker.management);
    expect((await http.send({ path: '/readyz' })).status).toBe(200);
    http.close();
    const end = await broker.terminate();
    expect({ status: end.status, fatal: /"level":(50|60)/.exec(end.stderr)?.[0] }).toEqual({ status: 0 });
  });

  test('the judge accuses a server that answers otherwise than documented', async () => {
    const operation = {
      responses: { '200': { description: 'fine', content: { 'application/json': { schema: { type: 'object' } } } } },
    };
    const document = { openapi: '3.1.0', info: { title: 't', version: '1' }, paths: { '/thing': { get: operation } } };
    const liar = createServer((_, response) => {
      response.writeHead(500, { 'content-type': 'application/json' }).end('[]');
    }).listen(0, '127.0.0.1');
    await once(liar, 'listening');
    try {
      const address = `127.0.0.1:${(liar.address() as AddressInfo).port}`;
      const { status, output } = await judge(address, document, 5);
      expect({ status, isAboutTheAnswer: /server error/i.test(output) }).toEqual({ status: 1, isAboutTheAnswer: true });
    } finally {
      liar.close();
    }
  });
});
