// Requests to the REST door as values to generate: of every operation that openapi.yaml lists, with the parameters that stand
// there, and of none of them.
//
// An operation without a recipe here throws: a new route comes with one.

import { readFileSync } from 'node:fs';
import * as fc from 'fast-check';
import { Contract, documentJson } from '../../server/gateway/rest/contract.ts';
import type { Call } from '../integration/http-call.ts';

export interface FuzzRequest {
  /** Null for a request that is made of no operation. */
  readonly operation: string | null;
  /** `CURSOR` stands for one that the broker gave. */
  readonly path: string;
  readonly call: Call;
}

const yaml = readFileSync(new URL('../../openapi.yaml', import.meta.url), 'utf8');

interface Parameter {
  readonly name: string;
  readonly in: string;
}

interface OperationNode {
  readonly parameters?: readonly (Parameter | { readonly $ref: string })[];
}

/** What of the document is looked at beside its operations. */
interface ApiDocument {
  readonly paths: Readonly<Record<string, Readonly<Record<string, OperationNode>>>>;
  readonly components: { readonly parameters: Readonly<Record<string, Parameter>> };
}

const document = JSON.parse(documentJson(yaml)) as ApiDocument;
export const { operations } = new Contract(yaml);

const parametersOf = (path: string, method: string): readonly string[] =>
  (document.paths[path]?.[method.toLowerCase()]?.parameters ?? [])
    .map(entry => ('$ref' in entry ? document.components.parameters[entry.$ref.split('/').at(-1)!]! : entry))
    .filter(parameter => parameter.in === 'query')
    .map(parameter => parameter.name);

// ---- Queries ------------------------------------------------------------------------------------------------------

const token = fc.string({ unit: 'binary-ascii', maxLength: 12 }).map(text => encodeURIComponent(text));

/** Values that are right, at least with some operation. */
const sound: Readonly<Record<string, readonly string[]>> = {
  acks: ['all', '1', '0'],
  timeout_ms: ['30000', '300000'],
  compression: ['none', 'gzip', 'snappy', 'lz4', 'zstd'],
  envelope: ['record', 'none'],
  key: ['/a', '', '/a~1b/0'],
  partitions: ['0', '0-2', '2,0'],
  from: ['earliest', 'latest'],
  offset: ['0', '1', 'earliest', 'latest'],
  timestamp: ['0', '1700000000000', '2024-01-01T00:00:00Z'],
  tail: ['0', '1', '10'],
  cursor: ['CURSOR'],
  limit: ['1', '5', '10000'],
  max_bytes: ['1', '1000', '16777216'],
  wait: ['0', '5'],
  reset: ['earliest', 'latest'],
  isolation: ['read_committed', 'read_uncommitted'],
  values: ['text', 'base64'],
  before: ['0', '1', '2'],
  include: ['defaults'],
  dry_run: ['true', 'false'],
  prefix: ['t', 'x', ''],
  internal: ['true', 'false'],
  after: ['t', 'x1'],
};

const unsound = fc.constantFrom(
  '',
  '0',
  '1',
  '-1',
  '1e3',
  '9007199254740991',
  '9007199254740993',
  '99999999999999999999',
  'null',
  '~',
  '2-0',
  '0-9999999999',
  '%00',
  '%ff',
  '%F0%9F%98%80',
  '2024-13-01T00:00:00Z',
  'AAAA',
  '[]',
  '{}',
  "'",
);

/** A name may be one of those that every object has. */
const soundValues = (name: string): readonly string[] => (Object.hasOwn(sound, name) ? sound[name]! : ['']);

const valueOf = (name: string): fc.Arbitrary<string> =>
  fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom(...soundValues(name)) },
    { weight: 1, arbitrary: unsound },
    { weight: 1, arbitrary: token },
  );

const anyName = fc.oneof(fc.constantFrom(...Object.keys(sound), 'nope'), token);

/** Waits that are long, and time-outs that a disk may rightly miss, would be answered late or with 504 as they should be. */
const withoutWaits = (query: string): string =>
  query.replaceAll(/([?&]wait=\d{0,2})\d*/g, '$1').replaceAll(/([?&]timeout_ms=)\d{1,4}(?=&|$)/g, '$130000');

const queryText = (pairs: readonly (readonly [string, string])[]): string =>
  withoutWaits(pairs.length === 0 ? '' : `?${pairs.map(([name, text]) => `${name}=${text}`).join('&')}`);

const anyQuery = fc
  .array(
    anyName.chain(name => fc.tuple(fc.constant(name), valueOf(name))),
    { maxLength: 4 },
  )
  .map(queryText);

const queryOf = (names: readonly string[]): fc.Arbitrary<string> => {
  if (names.length === 0)
    return fc.oneof({ weight: 9, arbitrary: fc.constant('') }, { weight: 1, arbitrary: anyQuery });
  const pair = fc.constantFrom(...names).chain(name => fc.tuple(fc.constant(name), valueOf(name)));
  return fc.oneof(
    { weight: 9, arbitrary: fc.array(pair, { maxLength: 3 }).map(queryText) },
    { weight: 1, arbitrary: anyQuery },
  );
};

// ---- Headers ------------------------------------------------------------------------------------------------------

export const headerText = fc.string({ unit: fc.constantFrom(...'azAZ09 ,;=*/"%+-.'.split('')), maxLength: 20 });
const headers = fc.dictionary(
  fc.constantFrom('Accept', 'Origin', 'Content-Encoding', 'Sluice-Key', 'Sluice-Headers', 'Sluice-Header-A', 'Range'),
  headerText.map(text => text.trim()),
  { maxKeys: 2, noNullPrototype: true },
);
const noHeaders = fc.constant<Readonly<Record<string, string>>>({});
const someHeaders = fc.oneof({ weight: 4, arbitrary: noHeaders }, { weight: 1, arbitrary: headers });
const accept = fc
  .constantFrom(
    'application/json',
    'application/x-ndjson',
    'text/plain',
    'application/octet-stream',
    '*/*;q=0.1',
    'a/b',
  )
  .map(text => ({ Accept: text }));

// ---- Bodies -------------------------------------------------------------------------------------------------------

export interface Body {
  readonly type: string;
  readonly body: string | Uint8Array;
}

const contentType = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.constantFrom('application/json', 'application/x-ndjson', 'text/plain', 'application/octet-stream'),
  },
  { weight: 1, arbitrary: fc.constantFrom('', 'x', 'text/plain;charset', 'application/json; charset=utf-8') },
);
const recordLike = fc.dictionary(
  fc.constantFrom('key', 'key_base64', 'value', 'value_text', 'value_base64', 'headers', 'partition', 'timestamp', 'x'),
  fc.oneof(fc.jsonValue({ maxDepth: 2 }), fc.nat(3), fc.constantFrom('AA==', '\ud800', { a: 'b' }, [{ key: 'k' }])),
  { maxKeys: 4, noNullPrototype: true },
);
const soundRecord = fc.record(
  {
    value: fc.jsonValue({ maxDepth: 2 }),
    key: fc.oneof(
      fc.constant(null),
      fc.string({ maxLength: 8 }).map(text => text.toWellFormed()),
    ),
    headers: fc.dictionary(fc.constantFrom('a', 'b'), fc.constantFrom('', 'x'), { maxKeys: 2, noNullPrototype: true }),
    timestamp: fc.constantFrom(0, 1, 1_700_000_000_000),
  },
  { requiredKeys: ['value'], noNullPrototype: true },
);
const bytes = fc.oneof(
  fc.array(fc.oneof(soundRecord, recordLike), { maxLength: 4 }).map(records => JSON.stringify({ records })),
  fc
    .array(fc.oneof(soundRecord, recordLike), { maxLength: 4 })
    .map(records => records.map(record => JSON.stringify(record)).join('\n')),
  fc.json(),
  fc.uint8Array({ maxLength: 200 }),
  fc.string({ unit: 'binary', maxLength: 50 }),
  fc.constantFrom('['.repeat(50_000), `{"records":[{"value":${'['.repeat(500)}${']'.repeat(500)}}]}`, '\ufeff{}', ''),
);
const soundRecords = fc
  .array(soundRecord, { minLength: 1, maxLength: 4 })
  .map(records => ({ type: 'application/json', body: JSON.stringify({ records }) }));
const anyBody: fc.Arbitrary<Body> = fc.record({ type: contentType, body: bytes });
const recordsBody: fc.Arbitrary<Body> = fc.oneof(
  { weight: 1, arbitrary: soundRecords },
  { weight: 2, arbitrary: anyBody },
);

/** No valid count is large: a topic of ten thousand partitions is no fault and takes its time. */
const count = fc.constantFrom<unknown>(1, 2, 4, 0, -1, 1.5, 10_001, 2 ** 31, 1e300, '1', null);
const configName = fc.constantFrom(
  'retention.ms',
  'segment.bytes',
  'segment.ms',
  'index.interval.bytes',
  'max.message.bytes',
  'flush.mode',
  'message.timestamp.type',
  'nope',
  '__proto__',
);
const configValue = fc.constantFrom<unknown>(
  1,
  '1',
  14,
  '128',
  -1,
  'interval',
  'LogAppendTime',
  '1e3',
  true,
  null,
  '',
  {},
);
const config = fc.dictionary(configName, configValue, { maxKeys: 3, noNullPrototype: true });
const jsonBody = (value: fc.Arbitrary<unknown>): fc.Arbitrary<Body> =>
  fc.oneof(
    { weight: 5, arbitrary: value.map(json => ({ type: 'application/json', body: JSON.stringify(json) })) },
    { weight: 1, arbitrary: anyBody },
  );

/** Few names, so that they are met again, and so that there are never many topics. */
const freeName = fc.constantFrom('x1', 'x2', 'x3', 'x4');
const topicName = fc.oneof(
  { weight: 3, arbitrary: freeName },
  {
    weight: 1,
    arbitrary: fc.constantFrom<unknown>('t', '', '.', '..', 'a/b', '\u{1f600}', 'x'.repeat(250), '__x ', 5, null),
  },
);
const newTopic = fc.record(
  { name: topicName, partition_count: count, replication_factor: count, config, nope: fc.constant(1) },
  { requiredKeys: ['name'], noNullPrototype: true },
);
const topicChange = fc.record({ partition_count: count, config }, { requiredKeys: [], noNullPrototype: true });

// ---- Groups -----------------------------------------------------------------------------------------------------

const aTopic = fc.oneof(
  { weight: 8, arbitrary: fc.constant<unknown>('t') },
  { weight: 1, arbitrary: fc.constantFrom<unknown>('none', '', '..', 5, null) },
);
const aNumber = fc.oneof(
  { weight: 8, arbitrary: fc.integer({ min: 0, max: 5 }) },
  { weight: 1, arbitrary: fc.constantFrom<unknown>(-1, 1.5, 2 ** 53, '0', null) },
);
const positions = fc.array(
  fc.record(
    { topic: aTopic, partition: aNumber, offset: aNumber, leader_epoch: aNumber, metadata: fc.string() },
    { requiredKeys: ['topic', 'partition', 'offset'], noNullPrototype: true },
  ),
  { maxLength: 3 },
);
const newMember = fc.record(
  {
    topics: fc.array(aTopic, { maxLength: 2 }),
    topic_pattern: fc.string({ unit: fc.constantFrom(...Array.from('t.*+?()[]|\\^$')), maxLength: 8 }),
    from: fc.constantFrom('earliest', 'latest', 'x'),
    instance_id: fc.constantFrom<unknown>('i', 'j', '', 5),
    session_timeout_ms: fc.constantFrom<unknown>(1_000, 6_000, 1, -1, 'x'),
    rebalance_timeout_ms: fc.constantFrom<unknown>(1_000, 6_000, 0),
    assignor: fc.constantFrom('uniform', 'range', 'round-robin', 'x'),
  },
  { requiredKeys: [], noNullPrototype: true },
);
const heartbeat = fc.record(
  {
    member_epoch: aNumber,
    owned: fc.array(fc.record({ topic: aTopic, partitions: fc.array(aNumber, { maxLength: 3 }) }), { maxLength: 2 }),
  },
  { requiredKeys: ['member_epoch'], noNullPrototype: true },
);
const commit = fc.record({ member_epoch: aNumber, offsets: positions }, { noNullPrototype: true });
const aPosition = { topic: 't', partition: 0, offset: 1 };
const producer = fc.record({ transactional_id: fc.string() }, { requiredKeys: [], noNullPrototype: true });

// ---- Paths --------------------------------------------------------------------------------------------------------

const places: Readonly<Record<string, fc.Arbitrary<string>>> = {
  topic: fc.oneof(
    { weight: 8, arbitrary: fc.constant('t') },
    { weight: 2, arbitrary: freeName },
    { weight: 1, arbitrary: fc.constantFrom('none', '..', '%2F', '%00') },
    { weight: 1, arbitrary: token },
  ),
  partition: fc.oneof(
    { weight: 8, arbitrary: fc.constantFrom('0', '1', '2') },
    { weight: 2, arbitrary: fc.constantFrom('99', '-1', '1e3', '2147483648', '00') },
    { weight: 1, arbitrary: token },
  ),
  group: fc.oneof(
    { weight: 8, arbitrary: fc.constantFrom('g', 'h') },
    { weight: 1, arbitrary: fc.constantFrom('none', '..', '%2F', '%00', '%F0%9F%98%80') },
    { weight: 1, arbitrary: token },
  ),
  member: fc.oneof(
    { weight: 8, arbitrary: fc.constant('MEMBER') },
    { weight: 1, arbitrary: fc.constantFrom('none', '..', '%2F', '%00') },
    { weight: 1, arbitrary: token },
  ),
  offset: fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom('0', '1', '2', '5') },
    { weight: 2, arbitrary: fc.constantFrom('-1', '1e3', '9007199254740991', '9007199254740993', '..') },
    { weight: 1, arbitrary: token },
  ),
};

/** `pattern` with something in the place of each name in braces. */
const pathOf = (pattern: string, own: Readonly<Record<string, fc.Arbitrary<string>>>): fc.Arbitrary<string> => {
  const pieces = pattern.split('/').map(piece => {
    const name = /^\{(\w+)\}$/.exec(piece)?.[1];
    if (name === undefined) return fc.constant(piece);
    const place = own[name] ?? places[name];
    if (place === undefined) throw new Error(`nothing to stand for {${name}} of ${pattern}`);
    return place;
  });
  return fc.tuple(...pieces).map(parts => parts.join('/'));
};

// ---- Operations ---------------------------------------------------------------------------------------------------

interface Recipe {
  /** A request that succeeds at the start: every run of the fuzz begins with them. */
  readonly example: { readonly path: string; readonly body?: unknown };
  readonly body?: fc.Arbitrary<Body>;
  readonly places?: Readonly<Record<string, fc.Arbitrary<string>>>;
}

const records = { records: [{ value: 1 }] };

const recipes: Readonly<Record<string, Recipe>> = {
  createTopic: { example: { path: '/v1/topics', body: { name: 'x1' } }, body: jsonBody(newTopic) },
  alterTopic: { example: { path: '/v1/topics/x1', body: { partition_count: 2 } }, body: jsonBody(topicChange) },
  deleteTopic: { example: { path: '/v1/topics/x1' }, places: { topic: freeName } },
  getTopic: { example: { path: '/v1/topics/t?include=defaults' } },
  listTopics: { example: { path: '/v1/topics?limit=1' } },
  produce: { example: { path: '/v1/topics/t/records', body: records }, body: recordsBody },
  produceToPartition: { example: { path: '/v1/topics/t/partitions/0/records', body: records }, body: recordsBody },
  readTopic: { example: { path: '/v1/topics/t/records' } },
  readPartition: { example: { path: '/v1/topics/t/partitions/0/records' } },
  getRecord: { example: { path: '/v1/topics/t/partitions/0/records/1' } },
  deleteRecords: { example: { path: '/v1/topics/t/partitions/0/records?before=1' } },
  listOffsets: { example: { path: '/v1/topics/t/offsets?timestamp=0' } },
  initProducer: { example: { path: '/v1/producers', body: {} }, body: jsonBody(producer) },
  joinGroup: { example: { path: '/v1/groups/g/members', body: { topics: ['t'] } }, body: jsonBody(newMember) },
  heartbeat: {
    example: { path: '/v1/groups/g/members/MEMBER/heartbeat', body: { member_epoch: 1 } },
    body: jsonBody(heartbeat),
  },
  commitOffsets: {
    example: { path: '/v1/groups/g/members/MEMBER/commit', body: { member_epoch: 1, offsets: [aPosition] } },
    body: jsonBody(commit),
  },
  leaveGroup: { example: { path: '/v1/groups/g/members/MEMBER' } },
  listGroups: { example: { path: '/v1/groups?prefix=g' } },
  getGroup: { example: { path: '/v1/groups/g' } },
  deleteGroup: { example: { path: '/v1/groups/h' } },
  getGroupOffsets: { example: { path: '/v1/groups/g/offsets' } },
  setGroupOffsets: {
    example: { path: '/v1/groups/h/offsets', body: { offsets: [aPosition] } },
    body: jsonBody(fc.record({ offsets: positions }, { noNullPrototype: true })),
  },
  getCluster: { example: { path: '/v1/cluster' } },
  listBrokers: { example: { path: '/v1/brokers' } },
  getPage: { example: { path: '/' } },
  getOpenApiYaml: { example: { path: '/openapi.yaml' } },
  getOpenApiJson: { example: { path: '/openapi.json' } },
  // The upgrade and what follows it: websocket.test.ts.
  openWebSocket: { example: { path: '/v1/ws' } },
};

const recipeOf = (id: string): Recipe => {
  const recipe = recipes[id];
  if (recipe === undefined) throw new Error(`openapi.yaml has an operation that is not fuzzed: ${id}`);
  return recipe;
};

/** One request of each operation that is answered well, in an order in which they all are. */
export const exampleRequests = (): readonly FuzzRequest[] => {
  const byId = new Map(operations.map(operation => [operation.id, operation]));
  const known = Object.keys(recipes).flatMap(id => byId.get(id) ?? []);
  // What has no recipe throws.
  for (const { id } of operations) recipeOf(id);
  const first = new Set(['createTopic', 'joinGroup', 'setGroupOffsets']);
  const last = new Set(['deleteTopic', 'leaveGroup', 'deleteGroup']);
  const order = (id: string): number => (first.has(id) ? 0 : last.has(id) ? 2 : 1);
  return known
    .toSorted((left, right) => order(left.id) - order(right.id))
    .map(({ id, method }) => {
      const { path, body } = recipeOf(id).example;
      const sent = body === undefined ? {} : { type: 'application/json', body: JSON.stringify(body) };
      return { operation: id, path, call: { method, ...sent } };
    });
};

const bodyHeaders = ({ type, body }: Body): Call => ({
  type,
  body,
  // Node sends the body of a GET without saying how long it is.
  headers: { 'Content-Length': String(Buffer.byteLength(body)) },
});

const operationRequest = ({ id, method, path }: (typeof operations)[number]): fc.Arbitrary<FuzzRequest> => {
  const recipe = recipeOf(id);
  const names = parametersOf(path, method);
  const body = recipe.body ?? fc.oneof({ weight: 15, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: anyBody });
  const extra = names.includes('values') ? fc.oneof(accept, someHeaders) : someHeaders;
  return fc.tuple(pathOf(path, recipe.places ?? {}), queryOf(names), extra, body).map(([at, query, more, sent]) => {
    const { headers: own = {}, ...rest } = sent === null ? {} : bodyHeaders(sent);
    const needed = id === 'deleteRecords' && query === '' ? '?before=1' : query;
    return { operation: id, path: `${at}${needed}`, call: { method, ...rest, headers: { ...more, ...own } } };
  });
};

const events: fc.Arbitrary<FuzzRequest> = fc
  .tuple(
    fc.constantFrom('/v1/topics/t/records', '/v1/topics/t/partitions/1/records', '/v1/topics/none/records'),
    queryOf(['from', 'tail', 'timestamp', 'cursor', 'values', 'reset', 'isolation', 'max_bytes']),
    fc.oneof(
      noHeaders,
      fc.constantFrom('CURSOR', 'x', '').map(id => ({ 'Last-Event-ID': id })),
    ),
  )
  .map(([at, query, more]) => {
    // It has no end by itself.
    const path = `${at}${query === '' ? '?' : `${query}&`}limit=3&wait=5`;
    return { operation: null, path, call: { headers: { Accept: 'text/event-stream', ...more } } };
  });

const segment = fc.oneof(fc.constantFrom('t', 'none', '0', '1', '99', '..', '%2F', '%00', '-1', '1e3'), token);
const anyPath = fc.oneof(
  fc.constantFrom('/v1/topics', '/v1/cluster', '/v1/brokers', '/openapi.json', '/', '/v1/topics/t/records'),
  fc.tuple(segment).map(([topic]) => `/v1/topics/${topic}`),
  fc.tuple(segment, fc.constantFrom('records', 'offsets', 'partitions')).map(parts => `/v1/topics/${parts.join('/')}`),
  fc.tuple(segment, segment).map(([topic, partition]) => `/v1/topics/${topic}/partitions/${partition}/records`),
  fc.tuple(segment, segment).map(([partition, at]) => `/v1/topics/t/partitions/${partition}/records/${at}`),
);
const noise: fc.Arbitrary<FuzzRequest> = fc
  .tuple(fc.constantFrom('GET', 'POST', 'PATCH', 'PUT', 'OPTIONS', 'HEAD', 'TRACE'), anyPath, anyQuery, headers)
  .map(([method, path, query, extra]) => ({
    operation: null,
    path: `${path}${query}`,
    call: { method, headers: extra },
  }));

/** Changes of topics wait for the disk several times each: fewer of them. */
const weightOf = ({ id, method }: (typeof operations)[number]): number =>
  id.startsWith('produce') ? 20 : method === 'GET' ? 5 : 1;

/** Of every operation, of event streams, and without sense. */
export const anyRequest: fc.Arbitrary<FuzzRequest> = fc.oneof(
  ...operations.map(operation => ({ weight: weightOf(operation), arbitrary: operationRequest(operation) })),
  { weight: 6, arbitrary: events },
  { weight: 20, arbitrary: noise },
);

const managementPath = fc.oneof(
  fc.constantFrom('/livez', '/readyz', '/metrics', '/', '/livez/', '/metrics/x'),
  anyPath,
);

/** To the management port. */
export const managementRequest: fc.Arbitrary<FuzzRequest> = fc
  .tuple(fc.constantFrom('GET', 'GET', 'HEAD', 'POST', 'DELETE', 'OPTIONS'), managementPath, anyQuery, headers)
  .map(([method, path, query, extra]) => ({
    operation: null,
    path: `${path}${query}`,
    call: { method, headers: extra },
  }));
