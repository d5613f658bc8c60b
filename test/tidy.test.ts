// The rules that the code keeps without anybody watching: who may import whom, no cycles between files, and no time,
// randomness, files, sockets or shared state but through the interfaces of server/io.
//
// The rules stand here as data. Sources are parsed, not searched, so that a word in a comment or a string is no finding;
// the first half of the tests proves on made-up sources that each rule can fail.
//
// Not seen: what a third-party package does by itself, and a clock reached through a computed name.

import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { parseAst } from 'vitest/node';

const root = fileURLToPath(new URL('..', import.meta.url));

// ---- The import table --------------------------------------------------------------------------------------------

interface Area {
  /** A folder or one file. A file belongs to the longest entry that holds it. */
  readonly at: string;
  /** Areas, or single files, that may be imported. An area always may import itself. */
  readonly may: readonly string[];
  /** The same for `import type` alone. */
  readonly mayTypes?: readonly string[];
  readonly because: string;
}

const proto = ['proto', 'proto/record', 'proto/ids.ts', 'proto/errors.ts'];
const facade = [...proto, 'server/base', 'server/io', 'server/broker', 'server/gateway'];
const facadeReason =
  'a facade sees the broker interface and what all facades share: never storage, never another facade';
const pureReason = 'it is a pure function of its inputs';

const areas: readonly Area[] = [
  { at: 'proto', may: proto, because: 'the protocol is all that two sides of a wire agree on, and knows neither' },
  { at: 'proto/record', may: [], because: 'the record format stands alone' },
  { at: 'proto/ids.ts', may: [], because: 'identifiers are the bottom of the vocabulary' },
  { at: 'proto/errors.ts', may: [], because: 'the error table is the bottom of the vocabulary' },
  { at: 'sdk', may: proto, because: 'a client knows the wire, never the server' },
  {
    at: 'sdk/browser',
    may: ['proto/ids.ts', 'proto/errors.ts', 'sdk'],
    because: 'a page has no batches and no gRPC, and shares what needs neither',
  },
  { at: 'sdk/examples', may: ['sdk', 'sdk/browser'], because: 'these are programs as a user would write them' },
  {
    at: 'server/base',
    may: ['proto/ids.ts', 'proto/errors.ts'],
    because: 'everything stands on the leaf vocabulary, so it stands on nothing of the server',
  },
  {
    at: 'server/io',
    may: ['server/base', 'proto/ids.ts'],
    because: 'these are interfaces, the same for the real and the simulated world',
  },
  {
    at: 'server/io/real',
    may: ['server/base', 'server/io', 'proto/ids.ts', 'proto/peer.ts', 'proto/record'],
    because: 'it only implements the interfaces, over the wire and with the checksum that the protocol says',
  },
  {
    at: 'server/storage',
    // What a log's batches say of their producers is derived from it as its indexes are, and is cut with them.
    may: ['server/base', 'proto/record', 'proto/ids.ts', 'server/io', 'server/state/producers'],
    because: 'one partition on disk knows neither peers nor clients, and the disk only as an interface',
  },
  { at: 'server/raft', may: ['server/base', 'proto/ids.ts', 'proto/record'], because: pureReason },
  {
    at: 'server/state',
    may: ['server/base', 'proto/ids.ts', 'proto/errors.ts', 'proto/record', 'proto/cluster.ts', 'proto/groups.ts'],
    because: pureReason,
  },
  { at: 'server/state/producers', may: ['server/base', 'proto/ids.ts', 'proto/record'], because: pureReason },
  {
    at: 'server/replication',
    may: [...proto, 'server/base', 'server/io', 'server/storage', 'server/raft'],
    because: 'it drives Raft over storage and knows nothing above',
  },
  {
    at: 'server/coordinator',
    may: [
      ...proto,
      'server/base',
      'server/io',
      'server/state',
      'server/replication',
      // How a small file is replaced whole, and says that it is as it was written.
      'server/storage/small-file.ts',
      'server/storage/checked-document.ts',
    ],
    because: 'it hosts state machines on replicated partitions and sees logs through replication only',
  },
  {
    at: 'server/broker',
    may: [
      ...proto,
      'server/base',
      'server/io',
      'server/storage',
      'server/replication',
      'server/coordinator',
      // What a leader asks of the state that its log keeps.
      'server/state/producers',
    ],
    mayTypes: ['server/state'],
    because: 'the broker is below every facade',
  },
  {
    at: 'server/gateway',
    may: [...proto, 'server/base', 'server/io', 'server/broker'],
    because: 'what all facades share knows none of them',
  },
  { at: 'server/gateway/grpc', may: facade, because: facadeReason },
  { at: 'server/gateway/rest', may: facade, because: facadeReason },
  { at: 'server/gateway/websocket', may: facade, because: facadeReason },
  { at: 'server/gateway/management', may: facade, because: facadeReason },
  {
    at: 'server/config.ts',
    may: ['server/base'],
    mayTypes: ['server/gateway/gateway.ts'],
    because: 'settings are words and numbers that the parts are built from',
  },
  {
    at: 'server/cli',
    may: ['sdk', ...proto, 'server/base', 'server/config.ts', 'server/cli/offline'],
    because: 'the command line talks to a broker as a user would',
  },
  {
    at: 'server/cli/offline',
    may: [
      'sdk',
      ...proto,
      'server/base',
      'server/config.ts',
      'server/cli',
      'server/storage',
      'server/broker/kept-topics.ts',
      'server/broker/topic-settings.ts',
      'server/io',
      'server/io/real',
    ],
    because: 'offline commands open the files of a stopped broker, the catalogue among them, and nothing else of it',
  },
  {
    at: 'server/node.ts',
    may: [
      ...proto,
      'server/base',
      'server/io',
      'server/io/real',
      'server/storage',
      'server/raft',
      'server/state',
      'server/replication',
      'server/coordinator',
      'server/broker',
      'server/gateway',
      'server/gateway/grpc',
      'server/gateway/rest',
      'server/gateway/websocket',
      'server/gateway/management',
      'server/config.ts',
    ],
    because: 'a broker is put together without its command line',
  },
  {
    at: 'server/testing.ts',
    may: [
      ...proto,
      'server/base',
      'server/config.ts',
      'server/node.ts',
      'server/broker',
      'server/io',
      'server/io/real',
    ],
    because: 'it starts a whole broker for tests and reaches into none of its parts',
  },
  {
    at: 'server/main.ts',
    may: ['server/base', 'server/cli', 'server/node.ts'],
    because: 'it hands the command line the function that starts a broker',
  },
];

// ---- The purity rules --------------------------------------------------------------------------------------------

const exempt: readonly RegExp[] = [
  /^server\/io\/real\//,
  /^server\/gateway\/[^/]+\/listen\.ts$/,
  /^server\/cli\//,
  /^server\/main\.ts$/,
  /^server\/testing\.ts$/,
  /^sdk\/(?:browser\/)?real-defaults\.ts$/,
  // Programs as a user would write them.
  /^sdk\/examples\//,
];

const timeReason = 'time comes through the injected clock, or a run cannot be repeated';
const randomReason = 'randomness comes through the injected source, or a run cannot be repeated';
const worldReason = 'files and sockets are reached through server/io';
const httpReason = 'importing its values loads an HTTP client too: gateway/http-server.ts has the server without it';

const refusedNames = new Map([
  ['Date', timeReason],
  ['performance', timeReason],
  ['setTimeout', timeReason],
  ['setInterval', timeReason],
  ['setImmediate', timeReason],
  ['clearTimeout', timeReason],
  ['clearInterval', timeReason],
  ['clearImmediate', timeReason],
  ['globalThis', 'it is a way around every rule here'],
]);

const refusedMembers: readonly (readonly [RegExp, string])[] = [
  [/^Math\.random$/, randomReason],
  [/^crypto\.(?:random|getRandom)/, randomReason],
  [/^process\.(?:nextTick|hrtime|uptime)$/, timeReason],
  [/^AbortSignal\.(?:timeout|any)$/, timeReason],
];

/** Values of these modules; their types are only words. */
const refusedModules = new Map([
  ['fs', worldReason],
  ['fs/promises', worldReason],
  ['net', worldReason],
  ['timers', timeReason],
  ['timers/promises', timeReason],
  ['perf_hooks', timeReason],
]);

/** The same, and in listeners too. */
const refusedEverywhere = new Map([['http', httpReason]]);

const pureFolders: readonly RegExp[] = [/^server\/raft\//, /^server\/state\//];

const mutatingMethods = new Set([
  'set',
  'add',
  'delete',
  'clear',
  'push',
  'pop',
  'shift',
  'unshift',
  'splice',
  'sort',
  'reverse',
  'fill',
  'copyWithin',
]);

const topLevel = new Set([
  'package.json',
  'package-lock.json',
  'tsconfig.json',
  'openapi.yaml',
  'README.md',
  'LICENSE',
  'proto',
  'sdk',
  'server',
  'test',
  'bench',
  // Not in the repository: what installing, building and running leave behind.
  'node_modules',
  'dist',
  'data',
  'coverage',
]);

// ---- Judging -----------------------------------------------------------------------------------------------------

interface Finding {
  readonly path: string;
  readonly line: number;
  readonly found: string;
  readonly because: string;
}

type Sources = ReadonlyMap<string, string>;

/** A node of the syntax tree (ESTree with TypeScript's nodes). */
interface SyntaxNode {
  readonly type: string;
  readonly start: number;
  readonly [field: string]: unknown;
}

interface Place {
  readonly node: SyntaxNode;
  readonly parent: SyntaxNode | null;
  readonly field: string;
  readonly inFunction: boolean;
}

const isNode = (value: unknown): value is SyntaxNode =>
  typeof value === 'object' && value !== null && 'type' in value && typeof value.type === 'string';

const child = (node: SyntaxNode, field: string): SyntaxNode | null => {
  const value = node[field];
  return isNode(value) ? value : null;
};

const children = (node: SyntaxNode, field: string): readonly SyntaxNode[] => {
  const value = node[field];
  return Array.isArray(value) ? value.filter(isNode) : [];
};

const isFunction = (node: SyntaxNode): boolean =>
  ['FunctionDeclaration', 'FunctionExpression', 'ArrowFunctionExpression'].includes(node.type);

function* walk(node: SyntaxNode, parent: SyntaxNode | null, field: string, inFunction: boolean): Generator<Place> {
  yield { node, parent, field, inFunction };
  const inside = inFunction || isFunction(node);
  for (const name of Object.keys(node)) {
    if (name === 'parent') continue;
    const value = node[name];
    if (isNode(value)) yield* walk(value, node, name, inside);
    else if (Array.isArray(value)) for (const item of value) if (isNode(item)) yield* walk(item, node, name, inside);
  }
}

/** Throws on what is no TypeScript. */
const parse = (path: string, text: string): SyntaxNode =>
  parseAst(text, { lang: 'ts', astType: 'ts' }, path) as unknown as SyntaxNode;

const lineOf = (text: string, position: number): number => text.slice(0, position).split('\n').length;

interface Import {
  readonly specifier: string | null;
  readonly typesOnly: boolean;
  readonly node: SyntaxNode;
}

const importSyntax = new Set([
  'ImportDeclaration',
  'ExportNamedDeclaration',
  'ExportAllDeclaration',
  'ImportExpression',
  'TSImportType',
]);

const literalText = (node: SyntaxNode | null): string | null => {
  if (node === null) return null;
  if (node.type === 'TSLiteralType') return literalText(child(node, 'literal'));
  return typeof node['value'] === 'string' ? node['value'] : null;
};

const importsOf = (tree: SyntaxNode): readonly Import[] => {
  const found: Import[] = [];
  for (const { node } of walk(tree, null, '', false)) {
    if (!importSyntax.has(node.type)) continue;
    const source = child(node, 'source') ?? child(node, 'argument');
    if (source === null && node.type !== 'ImportExpression') continue;
    const specifiers = children(node, 'specifiers');
    const typesOnly =
      node.type === 'TSImportType' ||
      node['importKind'] === 'type' ||
      node['exportKind'] === 'type' ||
      (specifiers.length > 0 &&
        specifiers.every(each => each['importKind'] === 'type' || each['exportKind'] === 'type'));
    found.push({ specifier: literalText(source), typesOnly, node });
  }
  return found;
};

/** What `@sluice/protocol/record` and its like mean, from the packages' own `exports`. */
const packageDoors = (): ReadonlyMap<string, string> => {
  const doors = new Map<string, string>();
  for (const folder of ['proto', 'sdk', 'server']) {
    const described = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8')) as {
      name: string;
      exports: Record<string, string>;
    };
    for (const [door, file] of Object.entries(described.exports)) {
      doors.set(join(described.name, door), join(folder, file));
    }
  }
  return doors;
};

const doors = packageDoors();
const ourPackages = /^(?:@sluice\/|sluice(?:\/|$))/;

const areaOf = (path: string): Area | null => {
  let best: Area | null = null;
  for (const area of areas) {
    const holds = path === area.at || path.startsWith(`${area.at}/`);
    if (holds && (best === null || area.at.length > best.at.length)) best = area;
  }
  return best;
};

type Target = { readonly path: string } | { readonly refusal: string } | null;

const targetOf = (from: string, specifier: string): Target => {
  if (ourPackages.test(specifier)) {
    const path = doors.get(specifier);
    return path === undefined ? { refusal: 'the package has no such door in its exports' } : { path };
  }
  if (!specifier.startsWith('.')) return null;
  const path = normalize(join(dirname(from), specifier));
  if (/^(?:test|bench)\//.test(path)) return { refusal: 'nothing imports tests or benchmarks' };
  if (path.split('/')[0] !== from.split('/')[0]) return { refusal: 'another package is imported by its name' };
  return { path };
};

const judgeImport = (path: string, one: Import): string | null => {
  if (one.specifier === null) return 'a computed import cannot be judged';
  const target = targetOf(path, one.specifier);
  if (target === null) return judgeModule(one);
  if ('refusal' in target) return target.refusal;
  const area = areaOf(path);
  if (area === null) return 'the file is in no area of the import table';
  const targetArea = areaOf(target.path);
  if (targetArea === null) return 'the target is in no area of the import table';
  if (targetArea === area) return null;
  const holds = (list: readonly string[]): boolean => list.includes(targetArea.at) || list.includes(target.path);
  if (holds(area.may)) return null;
  if (holds(area.mayTypes ?? [])) return one.typesOnly ? null : `only types of it: ${area.because}`;
  return area.because;
};

const judgeModule = (one: Import): string | null => refusedValues(one, refusedModules);

const refusedValues = (one: Import, refused: ReadonlyMap<string, string>): string | null => {
  if (one.typesOnly || one.specifier === null) return null;
  return refused.get(one.specifier.replace(/^node:/, '')) ?? null;
};

const isExempt = (path: string): boolean => exempt.some(pattern => pattern.test(path));
const isRuledForPurity = (path: string): boolean => /^(?:server|sdk)\//.test(path) && !isExempt(path);

/** Fields in which an identifier is a mere label, not the thing of that name. */
const labelFields = new Map<string, string>([
  ['MemberExpression', 'property'],
  ['Property', 'key'],
  ['MethodDefinition', 'key'],
  ['PropertyDefinition', 'key'],
  ['TSPropertySignature', 'key'],
  ['TSMethodSignature', 'key'],
  ['TSQualifiedName', 'right'],
  ['ImportSpecifier', 'imported'],
]);

const isLabel = ({ parent, field }: Place): boolean =>
  parent !== null && parent['computed'] !== true && labelFields.get(parent.type) === field;

const nameOf = (node: SyntaxNode | null): string | null =>
  node?.type === 'Identifier' && typeof node['name'] === 'string' ? node['name'] : null;

const memberOf = (node: SyntaxNode): string | null => {
  if (node.type !== 'MemberExpression') return null;
  const object = nameOf(child(node, 'object'));
  const property = child(node, 'property');
  const name = node['computed'] === true ? literalText(property) : nameOf(property);
  return object === null || name === null ? null : `${object}.${name}`;
};

type Complaint = readonly [node: SyntaxNode, found: string, because: string];

function* impureReferences(tree: SyntaxNode): Generator<Complaint> {
  for (const place of walk(tree, null, '', false)) {
    const { node } = place;
    const name = nameOf(node);
    const reason = name === null || isLabel(place) ? undefined : refusedNames.get(name);
    if (name !== null && reason !== undefined) yield [node, name, reason];
    const member = memberOf(node);
    if (member !== null) {
      for (const [pattern, because] of refusedMembers) if (pattern.test(member)) yield [node, member, because];
    }
    if (node.type === 'ImportDeclaration' && /^(?:node:)?crypto$/.test(literalText(child(node, 'source')) ?? '')) {
      for (const specifier of children(node, 'specifiers')) {
        if (specifier.type !== 'ImportSpecifier') {
          yield [specifier, 'all of node:crypto', 'import what is needed by name, so that randomness can be seen'];
        } else if (/^(?:random|getRandom|webcrypto)/.test(nameOf(child(specifier, 'imported')) ?? '')) {
          yield [specifier, `${nameOf(child(specifier, 'imported'))} of node:crypto`, randomReason];
        }
      }
    }
  }
}

const stateReason = 'state at module level is shared by all brokers of a process and survives a simulated crash';

const unwrap = (node: SyntaxNode | null): SyntaxNode | null =>
  node !== null && ['TSSatisfiesExpression', 'TSNonNullExpression', 'ParenthesizedExpression'].includes(node.type)
    ? unwrap(child(node, 'expression'))
    : node;

/** `as const`, Object.freeze, or a type that has no mutating members. */
const isFrozen = (declarator: SyntaxNode, text: string): boolean => {
  const id = child(declarator, 'id');
  const annotation = id === null ? null : child(id, 'typeAnnotation');
  const init = unwrap(child(declarator, 'init'));
  const written = (node: SyntaxNode | null): string =>
    node === null ? '' : text.slice(node.start, node['end'] as number);
  if (/^:\s*(?:Readonly|readonly)/.test(written(annotation))) return true;
  if (init?.type === 'TSAsExpression')
    return /^(?:const|Readonly|readonly)/.test(written(child(init, 'typeAnnotation')));
  return init?.type === 'CallExpression' && memberOf(child(init, 'callee') ?? init) === 'Object.freeze';
};

const containers = new Set(['Map', 'Set', 'WeakMap', 'WeakSet', 'Array']);

function* moduleState(tree: SyntaxNode, text: string): Generator<Complaint> {
  const ours = new Set<string>();
  const constants = new Set<string>();
  const statements = children(tree, 'body').map(statement => ({
    exported: statement.type === 'ExportNamedDeclaration',
    declaration: child(statement, 'declaration') ?? statement,
  }));
  for (const { declaration } of statements) {
    const className = declaration.type === 'ClassDeclaration' ? nameOf(child(declaration, 'id')) : null;
    if (className !== null) ours.add(className);
    if (
      declaration.type === 'ImportDeclaration' &&
      /^(?:\.|@sluice\/)/.test(literalText(child(declaration, 'source')) ?? '')
    ) {
      for (const specifier of children(declaration, 'specifiers')) ours.add(nameOf(child(specifier, 'local')) ?? '');
    }
  }
  for (const { exported, declaration } of statements) {
    if (declaration.type !== 'VariableDeclaration' || declaration['declare'] === true) continue;
    if (declaration['kind'] !== 'const')
      yield [declaration, `${String(declaration['kind'])} at module level`, stateReason];
    for (const declarator of children(declaration, 'declarations')) {
      const name = nameOf(child(declarator, 'id'));
      const init = unwrap(child(declarator, 'init'));
      if (name === null || init === null) continue;
      constants.add(name);
      const built = init.type === 'NewExpression' ? nameOf(child(init, 'callee')) : null;
      if (built !== null && ours.has(built)) yield [init, `${name} = new ${built} at module level`, stateReason];
      const isContainer = init.type === 'ArrayExpression' || (built !== null && containers.has(built));
      if (exported && isContainer && !isFrozen(declarator, text)) {
        yield [declarator, `${name} is exported as a mutable container`, 'give it a Readonly type or `as const`'];
      }
    }
  }
  yield* mutations(tree, constants);
}

/** Changes, from inside a function, of what a module-level constant holds; and mutable static fields. */
function* mutations(tree: SyntaxNode, constants: ReadonlySet<string>): Generator<Complaint> {
  for (const { node, inFunction } of walk(tree, null, '', false)) {
    if (node.type === 'PropertyDefinition' && node['static'] === true && node['readonly'] !== true) {
      yield [node, 'a static field that is not readonly', stateReason];
    }
    if (!inFunction) continue;
    const written =
      child(node, node.type === 'AssignmentExpression' ? 'left' : 'argument') ??
      (node.type === 'CallExpression' ? child(node, 'callee') : null);
    if (written?.type !== 'MemberExpression') continue;
    const holder = nameOf(child(written, 'object'));
    if (holder === null || !constants.has(holder)) continue;
    const isDeletion = node.type === 'UnaryExpression' && node['operator'] === 'delete';
    const isWrite = node.type === 'AssignmentExpression' || node.type === 'UpdateExpression' || isDeletion;
    const method = nameOf(child(written, 'property')) ?? '';
    if (isWrite || (node.type === 'CallExpression' && mutatingMethods.has(method))) {
      yield [node, `${holder} is changed after the module was loaded`, stateReason];
    }
  }
}

function* waiting(tree: SyntaxNode): Generator<Complaint> {
  for (const { node } of walk(tree, null, '', false)) {
    if (isFunction(node) && node['async'] === true) yield [node, 'async', pureReason];
    if (node.type === 'AwaitExpression') yield [node, 'await', pureReason];
    if (node.type === 'NewExpression' && nameOf(child(node, 'callee')) === 'Promise')
      yield [node, 'Promise', pureReason];
  }
}

/** The first cycle found, as the files that it passes through. */
const findCycle = (graph: ReadonlyMap<string, readonly string[]>): readonly string[] | null => {
  const done = new Set<string>();
  const path: string[] = [];
  const visit = (file: string): readonly string[] | null => {
    const at = path.indexOf(file);
    if (at >= 0) return [...path.slice(at), file];
    if (done.has(file)) return null;
    path.push(file);
    for (const target of graph.get(file) ?? []) {
      const cycle = visit(target);
      if (cycle !== null) return cycle;
    }
    path.pop();
    done.add(file);
    return null;
  };
  for (const file of graph.keys()) {
    const cycle = visit(file);
    if (cycle !== null) return cycle;
  }
  return null;
};

const judge = (sources: Sources): readonly Finding[] => {
  const findings: Finding[] = [];
  const graph = new Map<string, string[]>();
  for (const [path, text] of sources) {
    const tree = parse(path, text);
    const complain = ([node, found, because]: Complaint): number =>
      findings.push({ path, line: lineOf(text, node.start), found, because });
    const targets: string[] = [];
    for (const one of importsOf(tree)) {
      const target = one.specifier === null ? null : targetOf(path, one.specifier);
      if (target !== null && 'path' in target && target.path !== path) targets.push(target.path);
      const isRuled = target !== null || one.specifier === null || isRuledForPurity(path);
      const because = (isRuled ? judgeImport(path, one) : null) ?? refusedValues(one, refusedEverywhere);
      if (because !== null) complain([one.node, `imports ${one.specifier ?? 'something computed'}`, because]);
    }
    graph.set(path, targets);
    if (isRuledForPurity(path)) {
      for (const complaint of impureReferences(tree)) complain(complaint);
      for (const complaint of moduleState(tree, text)) complain(complaint);
    }
    if (pureFolders.some(pattern => pattern.test(path))) for (const complaint of waiting(tree)) complain(complaint);
  }
  const cycle = findCycle(graph);
  if (cycle !== null) {
    const [path = ''] = cycle;
    findings.push({ path, line: 1, found: cycle.join(' -> '), because: 'files must not depend on themselves' });
  }
  return findings;
};

const told = (findings: readonly Finding[]): readonly string[] =>
  findings.map(({ path, line, found, because }) => `${path}:${line} ${found}: ${because}`);

// ---- The rules can fail ------------------------------------------------------------------------------------------

const found = (path: string, text: string): readonly string[] =>
  judge(new Map([[path, text]])).map(finding => finding.found);

describe('the rules find what they are for', () => {
  test.each([
    ['server/storage/a.ts', "import { x } from '../broker/broker.ts';", 'storage below the broker'],
    ['server/storage/a.ts', "import type { x } from '../gateway/gateway.ts';", 'types count'],
    ['server/storage/a.ts', "import { x } from '../io/real/disk.ts';", 'the real disk is no interface'],
    ['server/storage/a.ts', "import { x } from '@sluice/protocol/services';", 'storage knows no wire'],
    ['server/base/a.ts', "export * from '../io/clock.ts';", 'a re-export is an import'],
    ['server/base/a.ts', "export { x } from '../io/clock.ts';", 'a named re-export is an import'],
    ['server/base/a.ts', "type X = import('../io/clock.ts').Clock;", 'an import type is an import'],
    ['server/base/a.ts', "const f = () => import('../io/clock.ts');", 'a dynamic import is an import'],
    ['server/base/a.ts', 'const f = (name: string) => import(name);', 'a computed import cannot be judged'],
    ['server/broker/a.ts', "import { x } from '../state/group.ts';", 'only types of state'],
    ['server/gateway/rest/a.ts', "import { x } from '../grpc/status.ts';", 'never one facade another'],
    ['server/gateway/rest/a.ts', "import { x } from '../../storage/segment.ts';", 'never storage'],
    ['server/gateway/gateway.ts', "import { x } from './rest/a.ts';", 'the shared part knows no facade'],
    ['server/cli/a.ts', "import { x } from '../node.ts';", 'the command line is a client'],
    ['server/node.ts', "import { x } from './cli/a.ts';", 'no command line in a broker'],
    ['sdk/a.ts', "import { x } from '../server/base/assert.ts';", 'another package by its path'],
    ['sdk/a.ts', "import { x } from 'sluice/testing';", 'a client never sees the server'],
    ['sdk/a.ts', "import { x } from '@sluice/protocol/secret';", 'no such door'],
    ['proto/record/a.ts', "import { x } from '../ids.ts';", 'the record format stands alone'],
    ['server/base/a.ts', "import { x } from '../../test/model/a.ts';", 'nothing imports tests'],
    ['server/odd.ts', "import { x } from './base/assert.ts';", 'a file outside the table'],
    ['server/gateway/rest/listen.ts', "import { createServer } from 'node:http';", 'not even a listener'],
  ])('in %s: %s (%s)', (path, text) => {
    expect(found(path, text)).toHaveLength(1);
  });

  test.each([
    ['server/storage/a.ts', "import { x } from './b.ts'; import type { Disk } from '../io/disk.ts';"],
    ['server/storage/a.ts', "import { BatchView } from '@sluice/protocol/record';"],
    ['server/broker/a.ts', "import type { x } from '../state/group.ts'; import { type y } from '../state/group.ts';"],
    [
      'server/cli/offline/dump.ts',
      "import { x } from '../../io/real/disk.ts'; import { y } from '../../storage/segment.ts';",
    ],
    ['server/gateway/rest/a.ts', "import { x } from '../gateway.ts'; import { y } from '../../broker/broker.ts';"],
    ['proto/services.ts', "export * from './gen/sluice/v1/admin_pb.ts';"],
    ['server/storage/a.ts', "import { createHash } from 'node:crypto'; import type { Socket } from 'node:net';"],
  ])('and nothing in %s: %s', (path, text) => {
    expect(told(judge(new Map([[path, text]])))).toEqual([]);
  });

  test('a cycle is told with the files that it passes through', () => {
    const sources = new Map([
      ['server/base/a.ts', "import { b } from './b.ts'; export const a = () => b();"],
      ['server/base/b.ts', "import type { C } from './c.ts'; export const b = (): C | null => null;"],
      ['server/base/c.ts', "import { a } from './a.ts'; export type C = typeof a;"],
    ]);
    expect(judge(sources).map(finding => finding.found)).toEqual([
      'server/base/a.ts -> server/base/b.ts -> server/base/c.ts -> server/base/a.ts',
    ]);
  });

  test.each([
    'const now = () => Date.now();',
    'const now = () => new Date();',
    'const clock = { Date };',
    'const now = performance.now;',
    'const wait = () => setTimeout(() => {}, 1);',
    'const wait = () => setImmediate(() => {});',
    'const wait = (f: () => void) => process.nextTick(f);',
    'const wait = (f: () => void) => process["nextTick"](f);',
    'const draw = () => Math.random();',
    'const draw = () => crypto.randomUUID();',
    "import { randomBytes } from 'node:crypto';",
    "import * as anything from 'node:crypto';",
    "import crypto from 'node:crypto';",
    'const signal = () => AbortSignal.timeout(5);',
    'const signal = (a: AbortSignal) => AbortSignal.any([a]);',
    "import { readFileSync } from 'node:fs';",
    "import { readFileSync } from 'fs';",
    "import { open } from 'node:fs/promises';",
    "import { connect } from 'node:net';",
    "import { setTimeout as sleep } from 'node:timers/promises';",
    'const now = () => (globalThis as any).Date.now();',
    'let count = 0; export const next = () => ++count;',
    'export var count = 0;',
    'const seen = new Set<string>(); export const see = (name: string) => seen.add(name);',
    'const counts: Record<string, number> = {}; export const count = (name: string) => { counts[name] = 1; };',
    'const counts = { n: 0 }; export const count = () => counts.n++;',
    'const counts: any = { n: 0 }; export const forget = () => { delete counts.n; };',
    'export const names = new Map<string, string>();',
    'export const names = [1, 2];',
    'class Budget {} const budget = new Budget(); export const spend = () => budget;',
    "import { TailCache } from './tail-cache.ts'; export const cache = new TailCache();",
    'export class Budget { static used = 0; }',
  ])('%s', text => {
    for (const path of ['server/storage/a.ts', 'server/node.ts', 'sdk/a.ts']) {
      const expected = path.endsWith('node.ts') && text.includes('./tail-cache.ts') ? 2 : 1;
      expect(found(path, text)).toHaveLength(expected);
    }
    for (const path of ['server/gateway/rest/listen.ts', 'sdk/real-defaults.ts']) {
      expect(told(judge(new Map([[path, text]])))).toEqual([]);
    }
  });

  test.each([
    '// Date.now() and setTimeout\nconst text = "Date.now()" + `Math.random()`; const pattern = /performance/;',
    'const read = (clock: { Date: number }) => clock.Date;',
    'const stamp = (socket: { setTimeout(ms: number): void }) => socket.setTimeout(5);',
    'const table = new Map([["a", 1]]); export const look = (name: string) => table.get(name);',
    'export const names: ReadonlySet<string> = new Set(["a"]);',
    'export const names: readonly string[] = ["a"];',
    'export const names = ["a"] as const;',
    'export const table = { a: 1 } as const satisfies Record<string, number>;',
    'export const sorted = (list: number[]) => { const copy = [...list]; copy.sort(); return copy; };',
    'const table = new Uint32Array(256); for (let n = 0; n < 256; n++) table[n] = n; export const at = (n: number) => table[n];',
    'export class Budget { #used = 0; static readonly limit = 5; spend() { this.#used++; } }',
    'declare const brand: unique symbol; export type Offset = number & { [brand]: 1 };',
  ])('nothing in: %s', text => {
    expect(told(judge(new Map([['server/storage/a.ts', text]])))).toEqual([]);
  });

  test.each([
    'export const f = async () => {};',
    'export async function f() {}',
    'export const f = () => new Promise(() => {});',
  ])('a pure folder waits for nothing: %s', text => {
    expect(found('server/raft/a.ts', text)).toHaveLength(1);
    expect(found('server/state/a.ts', text)).toHaveLength(1);
    expect(found('server/storage/a.ts', text)).toHaveLength(0);
  });

  test('a finding names the file, the line, the thing and the reason', () => {
    const text = "// first\nimport { x } from '../broker/broker.ts';";
    expect(told(judge(new Map([['server/base/a.ts', text]])))).toEqual([
      'server/base/a.ts:2 imports ../broker/broker.ts: everything stands on the leaf vocabulary, so it stands on nothing of the server',
    ]);
  });
});

// ---- The code keeps them -----------------------------------------------------------------------------------------

const sourcesBelow = (folder: string): string[] => {
  const found: string[] = [];
  for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory() && entry.name !== 'node_modules' && path !== 'proto/gen') found.push(...sourcesBelow(path));
    else if (entry.isFile() && entry.name.endsWith('.ts')) found.push(path);
  }
  return found;
};

describe('the code', () => {
  const paths = [...sourcesBelow('proto'), ...sourcesBelow('sdk'), ...sourcesBelow('server')].sort();
  const sources = new Map(paths.map(path => [path, readFileSync(join(root, path), 'utf8')]));

  test('is all there to be judged', () => {
    expect(paths).toContain('server/broker/broker.ts');
    expect(paths).toContain('proto/record/index.ts');
  });

  test('imports what the table allows, has no cycles, and reaches the world through interfaces', () => {
    expect(told(judge(sources))).toEqual([]);
  });

  test('every file says at its beginning what it is', () => {
    const silent = paths.filter(path => !/^(?:#!.*\n)?\/(?:\/|\*)/.test(sources.get(path) ?? ''));
    expect(silent).toEqual([]);
  });

  test('the visible top level holds nothing that was not agreed', () => {
    const odd = readdirSync(root).filter(name => !name.startsWith('.') && !topLevel.has(name));
    expect(odd).toEqual([]);
  });
});
