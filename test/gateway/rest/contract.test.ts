// openapi.yaml as the source of routes, queries and codes.

import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, it } from 'vitest';
import { errorTable } from '@sluice/protocol/errors';
import type { Operation } from '../../../server/gateway/rest/contract.ts';
import { Contract } from '../../../server/gateway/rest/contract.ts';

const contract = new Contract(readFileSync(new URL('../../../openapi.yaml', import.meta.url), 'utf8'));
const operation = (id: string): Operation => {
  const found = contract.operations.find(one => one.id === id);
  if (found === undefined) throw new Error(`no operation ${id}`);
  return found;
};

interface DocumentShape {
  paths: Record<
    string,
    Record<string, { operationId?: string; parameters?: { $ref?: string; in?: string; name?: string }[] }>
  >;
  components: { schemas: { Code: { enum: string[] } }; parameters: Record<string, { schema: object }> };
}
const document = JSON.parse(contract.json) as DocumentShape;
const execute = promisify(execFile);

/** The names of an operation's query parameters. */
const queryParameters = (id: string): string[] => {
  const nodes = Object.values(document.paths).flatMap(path => Object.values(path));
  const parameters = nodes.find(node => node.operationId === id)?.parameters ?? [];
  return parameters.flatMap(parameter => {
    const { in: where, name } =
      parameter.$ref === undefined
        ? parameter
        : (document.components.parameters[parameter.$ref.split('/').at(-1)!] as { in?: string; name?: string });
    return where === 'query' && name !== undefined ? [name] : [];
  });
};

describe('the document', () => {
  it('lists exactly the codes of the error table', () => {
    expect(document.components.schemas.Code.enum.toSorted()).toEqual(Object.keys(errorTable).toSorted());
  });

  it('has schemas that are schemas, which no broker looks at again', () => {
    const judge = new Ajv2020({ strict: false });
    const { schemas, parameters } = document.components;
    for (const [name, schema] of [...Object.entries(schemas), ...Object.entries(parameters)]) {
      expect([name, judge.validateSchema('schema' in schema ? schema.schema : schema)]).toEqual([name, true]);
    }
    expect(judge.validateSchema({ type: 'strin' })).toBe(false);
  });

  it('names every operation once', () => {
    const ids = contract.operations.map(one => one.id);
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids).toContain('produce');
  });
});

describe('a query', () => {
  it('is typed, with the defaults filled in', () => {
    expect(operation('produce').query('')).toEqual({
      ok: true,
      value: { acks: 'all', timeout_ms: 30_000, compression: 'none', envelope: 'record' },
    });
    expect(operation('produce').query('acks=1&timeout_ms=5')).toMatchObject({ value: { acks: '1', timeout_ms: 5 } });
    expect(operation('listTopics').query('internal=true&limit=7')).toMatchObject({
      value: { internal: true, limit: 7 },
    });
  });

  it.each([
    ['produce', 'nope=1', 'nope', 'INVALID_REQUEST'],
    ['produce', 'acks=all&acks=1', 'acks', 'INVALID_REQUEST'],
    ['produce', 'acks=2', 'acks', 'INVALID_REQUEST'],
    ['produce', 'timeout_ms=0', 'timeout_ms', 'INVALID_REQUEST'],
    ['produce', 'timeout_ms=300001', 'timeout_ms', 'INVALID_REQUEST'],
    ['produce', 'timeout_ms=1e3', 'timeout_ms', 'INVALID_REQUEST'],
    ['produce', 'timeout_ms=', 'timeout_ms', 'INVALID_REQUEST'],
    ['produce', 'compression=brotli', 'compression', 'INVALID_REQUEST'],
    ['produce', 'key=a', 'key', 'INVALID_REQUEST'],
    ['produce', '__proto__=1', '__proto__', 'INVALID_REQUEST'],
    ['produce', 'constructor=1', 'constructor', 'INVALID_REQUEST'],
    ['listTopics', 'internal=1', 'internal', 'INVALID_REQUEST'],
    ['listTopics', 'limit=1001', 'limit', 'INVALID_REQUEST'],
    ['readTopic', 'offset=1', 'offset', 'INVALID_REQUEST'],
    ['readTopic', 'limit=0', 'limit', 'INVALID_REQUEST'],
    ['readTopic', 'limit=10001', 'limit', 'INVALID_REQUEST'],
    ['readTopic', 'wait=30001', 'wait', 'INVALID_REQUEST'],
    ['readTopic', 'max_bytes=16777217', 'max_bytes', 'INVALID_REQUEST'],
    ['readTopic', 'tail=-1', 'tail', 'INVALID_REQUEST'],
    ['readTopic', 'cursor=%20', 'cursor', 'INVALID_CURSOR'],
    ['readTopic', 'timestamp=soon', 'timestamp', 'INVALID_TIMESTAMP'],
    ['readPartition', 'offset=-1', 'offset', 'INVALID_REQUEST'],
    ['readPartition', 'partitions=0', 'partitions', 'INVALID_REQUEST'],
  ])('%s?%s names %s and is %s', (id, search, field, code) => {
    expect(operation(id).query(search)).toMatchObject({ ok: false, problem: { code, facts: { field } } });
  });
});

describe('a body', () => {
  it.each([
    [{}, 'name'],
    [{ name: 5 }, 'name'],
    [{ name: 'a', partitions: 3 }, 'partitions'],
    [{ name: 'a', partition_count: '3' }, 'partition_count'],
    [{ name: 'a', config: { 'retention.ms': null } }, 'config.retention.ms'],
    [[], ''],
  ])('%j names the field %j', (body, field) => {
    expect(operation('createTopic').body(body)).toMatchObject({ code: 'INVALID_REQUEST', facts: { field } });
  });

  it('is accepted when it is right', () => {
    const body = { name: 'a', partition_count: 3, config: { 'retention.ms': 5, 'cleanup.policy': 'compact', x: true } };
    expect(operation('createTopic').body(body)).toBeNull();
    expect(operation('alterTopic').body({ config: { a: null } })).toBeNull();
  });
});

describe('every operation', () => {
  /** Right for no parameter, so that the compiled check has to say what is wrong. */
  const WRONG = '%20'.repeat(5_000);

  it.each(contract.operations.map(one => [one.id, one] as const))('%s compiles', (id, one) => {
    expect(one.query('no_such_parameter=1')).toMatchObject({ problem: { facts: { field: 'no_such_parameter' } } });
    for (const name of queryParameters(id)) {
      expect(one.query(`${name}=${WRONG}`)).toMatchObject({ ok: false, problem: { facts: { field: name } } });
    }
    const withBody = [
      'createTopic',
      'alterTopic',
      'initProducer',
      'setGroupOffsets',
      'joinGroup',
      'heartbeat',
      'commitOffsets',
    ];
    const hasBody = withBody.includes(id);
    expect(one.body([])).toEqual(hasBody ? expect.objectContaining({ code: 'INVALID_REQUEST' }) : null);
  });
});

describe('ordinary requests', () => {
  it('are judged without loading the compiler of schemas', async () => {
    const program = `
      import { readFileSync } from 'node:fs';
      import { createRequire } from 'node:module';
      import { Contract } from './server/gateway/rest/contract.ts';
      const contract = new Contract(readFileSync('openapi.yaml', 'utf8'));
      const of = id => contract.operations.find(one => one.id === id);
      const { cache } = createRequire(import.meta.url);
      const isLoaded = () => Object.keys(cache).some(path => path.includes('/ajv/'));
      const answers = [
        of('createTopic').body({ name: 'a', partition_count: 3, config: { 'retention.ms': 5 } }),
        of('readTopic').query('from=earliest&limit=7').ok,
        isLoaded(),
        of('readTopic').query('limit=0').ok,
        isLoaded(),
      ];
      console.log(JSON.stringify(answers));`;
    const cwd = new URL('../../..', import.meta.url);
    const { stdout } = await execute(process.execPath, ['--input-type=module', '-e', program], { cwd });
    expect(JSON.parse(stdout)).toEqual([null, true, false, false, true]);
  });
});
