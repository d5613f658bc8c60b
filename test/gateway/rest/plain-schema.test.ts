// What the plain judge allows, the compiled schema allows and leaves as it is; and it allows what most requests are.

import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { documentJson } from '../../../server/gateway/rest/contract.ts';
import type { PlainSchema } from '../../../server/gateway/rest/plain-schema.ts';
import { plainJudge } from '../../../server/gateway/rest/plain-schema.ts';

interface DocumentShape {
  components: { schemas: Record<string, PlainSchema>; parameters: Record<string, { schema: PlainSchema }> };
}
const yaml = readFileSync(new URL('../../../openapi.yaml', import.meta.url), 'utf8');
const { components } = JSON.parse(documentJson(yaml)) as DocumentShape;

const compiled = (schema: PlainSchema): ((value: unknown) => boolean) => {
  const compiler = new Ajv2020({ strict: true, allowUnionTypes: true, strictRequired: false, useDefaults: true });
  // Of a parameter as a whole, which whoever reads the query fills in.
  const { default: _filledIn, ...judged } = schema;
  const judge = compiler.compile(judged);
  return value => {
    const before = JSON.stringify(value);
    return judge(value) && JSON.stringify(value) === before;
  };
};

const text = fc.oneof(
  fc.string({ maxLength: 6 }),
  fc.string({ unit: 'binary', maxLength: 4 }),
  fc.constantFrom('all', '1', 'none', 'earliest', '12', '/a/b', '0-15,32', '2020-01-01T00:00:00Z', 'x'.repeat(300)),
);
const number = fc.oneof(
  fc.integer({ min: -3, max: 5 }),
  fc.double(),
  fc.constantFrom(0, -0, 249, 1_000, 1_001, 2 ** 31, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY),
);
const scalar = fc.oneof(text, number, fc.boolean(), fc.constantFrom(null, undefined, [], {}));
const names = fc.constantFrom('name', 'partition_count', 'replication_factor', 'config', 'toString', 'a');
const value = fc.oneof(
  scalar,
  fc.array(scalar, { maxLength: 2 }),
  fc.dictionary(names, fc.oneof(scalar, fc.dictionary(fc.string({ maxLength: 3 }), scalar, { maxKeys: 2 }))),
);

const isJudged = ([, schema]: readonly [string, PlainSchema]): boolean => plainJudge(schema) !== null;
const parameters = Object.entries(components.parameters).map(([name, { schema }]) => [name, schema] as const);
const bodies = Object.entries(components.schemas);

const made: readonly (readonly [string, PlainSchema])[] = [
  ['an object', { type: 'object', required: ['a'], properties: { a: { type: 'integer', minimum: 1 } } }],
  ['one of types', { type: ['string', 'null'] }],
  ['at least three characters', { type: 'string', minLength: 3 }],
  ['other members of a type', { type: 'object', properties: { name: {} }, additionalProperties: { type: 'boolean' } }],
];

describe('a schema that is judged plainly', () => {
  it.each([...parameters, ...bodies, ...made].filter(isJudged))('allows no more than compiled: %s', (_name, schema) => {
    const isPlain = plainJudge(schema)!;
    const isAllowed = compiled(schema);
    fc.assert(
      fc.property(value, candidate => !isPlain(candidate) || isAllowed(candidate)),
      { numRuns: 500 },
    );
  });

  it.each<[PlainSchema, readonly unknown[], readonly unknown[]]>([
    [components.schemas['CreateTopic']!, [{ name: 'a' }, { name: 'a', config: { x: 1, y: 'z', z: true } }], [{}, null]],
    [components.schemas['AlterTopic']!, [{}, { config: { x: null } }, { partition_count: 2 }], [{ config: { x: [] } }]],
    [{ type: 'integer', minimum: 1, maximum: 3 }, [1, 3], [0, 4, 1.5, '1']],
    [{ type: 'string', minLength: 2, maxLength: 4 }, ['abcd'], ['a', 'abcde', 1]],
    [{ type: 'string', enum: ['a', 'b'] }, ['a'], ['c']],
    [{ type: 'string', pattern: '^a+$' }, ['aa'], ['ab']],
  ])('%j', (schema, right, wrong) => {
    const isPlain = plainJudge(schema)!;
    for (const each of right) expect([each, isPlain(each)]).toEqual([each, true]);
    for (const each of wrong) expect([each, isPlain(each)]).toEqual([each, false]);
  });

  it.each<[string, PlainSchema]>([
    ['a keyword that is not judged', { type: 'string', format: 'uri' }],
    ['one further down', { type: 'object', properties: { a: { not: {} } } }],
    ['a reference', { $ref: '#/components/schemas/Topic' }],
    ['a member that would be filled in', { type: 'object', properties: { a: { type: 'string', default: 'x' } } }],
    ['a type that there is not', { type: 'toString' }],
  ])('is not one with %s', (_name, schema) => {
    expect(plainJudge(schema)).toBeNull();
  });
});
