// openapi.yaml as code: its operations, and the checks that its schemas are. What is plainly right is seen without compiling a schema
// (plain-schema.ts); the first query or body that is not has the check of its operation compiled.
//
// The document is the source. Routes are its paths; query parameters and JSON bodies are judged by its schemas; what a
// schema cannot say (two parameters that exclude each other) is in the handlers.
//
// Guarantees: a refused query or body names the parameter or member. Query values come out typed, with the document's
// defaults filled in. A parameter given twice is refused, as is one that the operation does not have.
// Relies on a document that is right (a test compiles every check of it); a mistake throws.

import { createRequire } from 'node:module';
import type { FormatsPlugin } from 'ajv-formats';
import type { Ajv2020, ErrorObject, Options, ValidateFunction } from 'ajv/dist/2020.js';
import type * as Yaml from 'yaml';
import type { ErrorCode, Problem, Result } from '@sluice/protocol/errors';
import { accepted, isErrorCode, problem } from '@sluice/protocol/errors';
import { assert } from '../../base/assert.ts';
import type { PlainJudge, PlainSchema } from './plain-schema.ts';
import { plainJudge } from './plain-schema.ts';

export type QueryValue = string | number | boolean;
export type Query = Readonly<Record<string, QueryValue | undefined>>;

/** Methods in the order in which `Allow` lists them. */
const methods = ['get', 'post', 'put', 'patch', 'delete'] as const;

export interface Operation {
  readonly id: string;
  /** As HTTP spells it. */
  readonly method: string;
  /** In braces as in the document: /v1/topics/{topic}. */
  readonly path: string;
  /** Judges what stands behind the question mark. */
  query(search: string): Result<Query>;
  /** Judges a parsed JSON body. */
  body(value: unknown): Problem | null;
}

interface SchemaNode extends PlainSchema {
  readonly type?: string;
  readonly default?: QueryValue;
}

interface Parameter {
  readonly name: string;
  readonly in: string;
  readonly required?: boolean;
  readonly schema: SchemaNode;
  readonly 'x-refused-as'?: string;
}

interface OperationNode {
  readonly operationId: string;
  readonly parameters?: readonly (Parameter | { readonly $ref: string })[];
  readonly requestBody?: {
    readonly content?: Readonly<Record<string, { readonly schema?: { readonly $ref?: string } }>>;
  };
}

interface DocumentNode {
  readonly paths: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly components: {
    readonly parameters: Readonly<Record<string, Parameter>>;
    readonly schemas: Readonly<Record<string, PlainSchema>>;
  };
}

/** Where the document keeps its schemas, and under which name they are registered for the compiler of checks. */
const IN_DOCUMENT = '#/components/schemas/';
const REGISTERED = 'openapi#/$defs/';

export class Contract {
  readonly operations: readonly Operation[];
  /** The document as JSON text. */
  readonly json: string;
  readonly #compiler: () => Ajv2020;

  /** `json` is the document as `documentJson` makes it, from whoever has kept that. */
  constructor(yaml: string, json: string = documentJson(yaml)) {
    const document = JSON.parse(json) as DocumentNode;
    this.json = json;
    this.#compiler = once(() => schemaCompiler(this.json));
    const operations: Operation[] = [];
    for (const [path, item] of Object.entries(document.paths)) {
      for (const method of methods) {
        const node = item[method] as OperationNode | undefined;
        if (node !== undefined)
          operations.push(this.#operation(document, node, { method: method.toUpperCase(), path }));
      }
    }
    this.operations = operations;
  }

  /** The compiled schema of a component, for those who judge the same by hand. */
  schema(name: string): ValidateFunction {
    return this.#compiler().compile({ $ref: `${REGISTERED}${name}` });
  }

  #operation(document: DocumentNode, node: OperationNode, at: { method: string; path: string }): Operation {
    const parameters = (node.parameters ?? [])
      .map(entry => ('$ref' in entry ? resolveParameter(document, entry.$ref) : entry))
      .filter(parameter => parameter.in === 'query');
    const byName = new Map(
      parameters.map(parameter => [
        parameter.name,
        { ...parameter, isPlain: once(() => plainJudge(parameter.schema)) },
      ]),
    );
    const required = parameters.filter(parameter => parameter.required === true).map(parameter => parameter.name);
    const judgeQuery = once(() =>
      this.#compiler().compile({
        type: 'object',
        additionalProperties: false,
        required,
        properties: Object.fromEntries(parameters.map(parameter => [parameter.name, parameter.schema])),
      }),
    );
    const withDefault = parameters.filter(parameter => parameter.schema.default !== undefined);
    const defaults = Object.fromEntries(withDefault.map(parameter => [parameter.name, parameter.schema.default]));
    const withoutQuery = accepted(Object.freeze(defaults) as Query);
    const bodySchema = node.requestBody?.content?.['application/json']?.schema?.$ref;
    const isPlainBody = once(() => {
      const schema = bodySchema === undefined ? {} : document.components.schemas[bodySchema.slice(IN_DOCUMENT.length)];
      return schema === undefined ? null : plainJudge(schema);
    });
    const judgeBody = once(() =>
      bodySchema === undefined ? null : this.#compiler().compile({ $ref: bodySchema.replace(IN_DOCUMENT, REGISTERED) }),
    );
    return {
      id: node.operationId,
      method: at.method,
      path: at.path,
      query: search =>
        search === '' && required.length === 0
          ? withoutQuery
          : readQuery(search, { parameters: byName, defaults, required, judge: judgeQuery }),
      body: value => {
        if (isPlainBody()?.(value) === true) return null;
        const judge = judgeBody();
        return judge === null || judge(value) ? null : bodyProblem(judge.errors?.[0]);
      },
    };
  }
}

const load = createRequire(import.meta.url);

/** Takes longer than everything else at a start: a thousand lines of YAML. */
export const documentJson = (yaml: string): string => JSON.stringify((load('yaml') as typeof Yaml).parse(yaml));

/**
 * Loaded when the first check is needed, which the routes of records do not do: the compiler is a sixth of all code.
 * That the document's schemas are schemas is for the tests to say (they compile all of them, against the meta-schema):
 * judging that at every start took longer than everything else the compiler does.
 */
const schemaCompiler = (json: string): Ajv2020 => {
  const { Ajv2020 } = load('ajv/dist/2020.js') as { readonly Ajv2020: new (options: Options) => Ajv2020 };
  const formats = load('ajv-formats') as { readonly default: FormatsPlugin };
  const compiler = new Ajv2020({
    strict: true,
    allowUnionTypes: true,
    strictRequired: false,
    useDefaults: true,
    validateSchema: false,
    meta: false,
  });
  formats.default(compiler);
  const { schemas } = JSON.parse(json.replaceAll(IN_DOCUMENT, REGISTERED)).components as DocumentNode['components'];
  return compiler.addSchema({ $id: 'openapi', $defs: schemas });
};

/** Compiling all checks takes longer than the rest of a broker's start; most are never needed. */
const once = <T>(make: () => T): (() => T) => {
  let made: { readonly value: T } | null = null;
  return () => (made ??= { value: make() }).value;
};

const resolveParameter = (document: DocumentNode, reference: string): Parameter => {
  const parameter = document.components.parameters[reference.slice(reference.lastIndexOf('/') + 1)];
  assert(parameter !== undefined, `${reference} is in the document`);
  return parameter;
};

interface QueryForm {
  readonly parameters: ReadonlyMap<string, Parameter & { readonly isPlain: () => PlainJudge | null }>;
  readonly defaults: Query;
  readonly required: readonly string[];
  readonly judge: () => ValidateFunction;
}

const readQuery = (search: string, { parameters, defaults, required, judge }: QueryForm): Result<Query> => {
  const query: Record<string, QueryValue> = {};
  let isPlain = true;
  for (const [name, text] of new URLSearchParams(search)) {
    const parameter = parameters.get(name);
    if (parameter === undefined) {
      return invalid(name, `there is no query parameter ${JSON.stringify(name)} here`);
    }
    if (Object.hasOwn(query, name)) return invalid(name, `the query parameter ${name} is given twice`);
    query[name] = typed(text, parameter.schema.type);
    isPlain &&= parameter.isPlain()?.(query[name]) === true;
  }
  if (isPlain && required.every(name => Object.hasOwn(query, name))) return accepted({ ...defaults, ...query });
  const compiled = judge();
  if (compiled(query)) return accepted(query);
  const error = compiled.errors?.[0];
  if (error?.keyword === 'required') {
    const missing = String(error.params['missingProperty']);
    return invalid(missing, `the query parameter ${missing} is missing`);
  }
  const name = error?.instancePath.slice(1) ?? '';
  const refusedAs = parameters.get(name)?.['x-refused-as'] ?? 'INVALID_REQUEST';
  assert(isErrorCode(refusedAs), `${refusedAs} is a code`);
  return invalid(name, `the query parameter ${name} ${wording(error)}`, refusedAs);
};

const invalid = (field: string, detail: string, code: ErrorCode = 'INVALID_REQUEST'): Result<Query> => ({
  ok: false,
  problem: problem(code, detail, { field }),
});

/** What the text stands for under its schema's type; text that is not of the type is left for the schema to refuse. */
const typed = (text: string, type: string | undefined): QueryValue => {
  if (type === 'integer' && /^-?\d{1,16}$/.test(text)) return Number(text);
  if (type === 'boolean' && (text === 'true' || text === 'false')) return text === 'true';
  return text;
};

const bodyProblem = (error: ErrorObject | undefined): Problem => {
  const at = (error?.instancePath ?? '').slice(1).replaceAll('/', '.');
  const extra = error?.keyword === 'additionalProperties' ? String(error.params['additionalProperty']) : null;
  const missing = error?.keyword === 'required' ? String(error.params['missingProperty']) : null;
  const field = [at, extra ?? missing ?? ''].filter(part => part !== '').join('.');
  if (extra !== null) return problem('INVALID_REQUEST', `there is no field ${JSON.stringify(field)} here`, { field });
  if (missing !== null) return problem('INVALID_REQUEST', `the field ${field} is missing`, { field });
  return problem('INVALID_REQUEST', `${field === '' ? 'the body' : field} ${wording(error)}`, { field });
};

const wording = (error: ErrorObject | undefined): string => {
  if (error === undefined) return 'is not valid';
  if (error.keyword === 'enum') {
    const allowed: unknown = error.params['allowedValues'];
    return `must be one of ${Array.isArray(allowed) ? allowed.join(', ') : 'the allowed values'}`;
  }
  return error.message ?? 'is not valid';
};
