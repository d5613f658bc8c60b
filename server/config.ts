// The broker's settings: which there are, how flags, environment, file and defaults are merged, and what is refused.
//
//   flag --data-dir  >  SLUICE_DATA_DIR  >  `data-dir:` in the YAML file  >  default
//
// Guarantees: a Config that comes out of resolveConfig was checked, one setting at a time and in combination; every value
// knows where it came from; an unknown key in the file or the environment is a fault, because a misspelt setting that is
// ignored is worse than a broker that does not start. Reading files and variables is the caller's: nothing here touches
// the world. Relies on the topic settings table for what may stand under `topic-defaults:`.

import { createRequire } from 'node:module';
import type * as Yaml from 'yaml';
import { assert } from './base/assert.ts';
import { type LogLevel, logLevels } from './base/logger.ts';
import { nearestName } from './base/nearest-name.ts';
import { checkTopicConfig } from './base/topic-config.ts';
import type { ListenAddress } from './gateway/gateway.ts';

export interface Config {
  readonly dataDir: string;
  readonly nodeId: number;
  readonly rack: string;
  /** What this node does in its cluster; a node that is alone does everything. */
  readonly roles: readonly NodeRole[];
  /** The nodes that found the cluster and vote on its metadata; null: this node is alone. */
  readonly cluster: readonly ClusterMember[] | null;
  /** Where other nodes of the cluster reach this one. */
  readonly peer: ListenAddress;
  /** Holds what all nodes of the cluster know and nobody else; null where they are all on this machine. */
  readonly clusterSecretFile: string | null;
  readonly http: ListenAddress;
  readonly grpc: ListenAddress;
  readonly management: ListenAddress;
  /** Origins beside the listener's own that may call the HTTP door, as scheme://host[:port]. */
  readonly allowOrigins: readonly string[];
  /** Host names beside loopback names and bound addresses under which the HTTP door may be reached. */
  readonly hostNames: readonly string[];
  /** Listening beyond loopback without authentication was asked for by name. */
  readonly insecure: boolean;
  /** How long positions of consumer groups are kept once nobody can come back for them. */
  readonly offsetsRetentionMinutes: number;
  readonly logLevel: LogLevel;
  /** Topic settings that apply where a topic has none of its own, checked. */
  readonly topicDefaults: Readonly<Record<string, string>>;
}

export const nodeRoles = ['broker', 'controller', 'gateway'] as const;
export type NodeRole = (typeof nodeRoles)[number];

export interface ClusterMember {
  readonly nodeId: number;
  readonly address: ListenAddress;
}

export const VERSION = '0.1.0';

/** Read by client commands from the same environment; never the broker's. */
const CLIENT_VARIABLES: ReadonlySet<string> = new Set(['SLUICE_SERVER', 'SLUICE_TOKEN']);

const NODE_ID_MAX = 0x7fffffff;
/** Kafka's largest value of this setting. */
const MINUTES_MAX = 0x7fff_ffff;
const PORT_MAX = 65_535;

export type SettingSource =
  | { readonly kind: 'flag'; readonly flag: string }
  | { readonly kind: 'environment'; readonly variable: string }
  | { readonly kind: 'file'; readonly path: string; readonly line: number }
  | { readonly kind: 'default' };

export interface ConfigFault {
  readonly source: SettingSource;
  /** `value`: this setting can never be right as it is. `combination`: it does not go with the others. */
  readonly kind: 'value' | 'combination';
  /** What is wrong and what would be right, as one sentence that follows the source. */
  readonly detail: string;
}

/** One setting after merging, in the spelling in which the file takes it. */
export interface MergedSetting {
  readonly key: string;
  readonly value: string | number | boolean | readonly string[];
  readonly source: SettingSource;
}

export interface ConfigSources {
  /** Values as given on the command line, by flag name without dashes. A switch is `true`. */
  readonly flags: ReadonlyMap<string, readonly string[]>;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly file: { readonly path: string; readonly text: string } | null;
}

export type ConfigResolution =
  | { readonly ok: true; readonly config: Config; readonly settings: readonly MergedSetting[] }
  | { readonly ok: false; readonly faults: readonly ConfigFault[] };

type Reading<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly detail: string };

const good = <T>(value: T): Reading<T> => ({ ok: true, value });
const bad = (detail: string): { readonly ok: false; readonly detail: string } => ({ ok: false, detail });

/** One row a setting: everything that the command line, its help and its completion need to know about it. */
export interface SettingRow {
  readonly key: string;
  /** What stands for the value in help; null for a switch. */
  readonly placeholder: string | null;
  readonly isList: boolean;
  readonly choices: readonly string[];
  readonly summary: string;
  readonly fallback: readonly string[];
}

const row = (key: string, placeholder: string | null, fallback: readonly string[], summary: string): SettingRow => ({
  key,
  placeholder,
  isList: false,
  choices: [],
  summary,
  fallback,
});

export const settingRows: readonly SettingRow[] = [
  row('data-dir', 'DIR', ['./data'], 'where records and metadata are kept'),
  row('node-id', 'N', ['1'], 'this node in its cluster'),
  row('rack', 'NAME', [''], 'where this node stands, for spreading replicas'),
  {
    ...row(
      'role',
      'ROLE',
      [...nodeRoles],
      'what this node does in its cluster: keep records, vote on metadata, serve clients',
    ),
    isList: true,
    choices: nodeRoles,
  },
  {
    ...row('cluster', 'N@HOST:PORT', [], 'the nodes that found a cluster and vote on its metadata, comma separated'),
    isList: true,
  },
  row('peer', 'HOST:PORT', ['127.0.0.1:9091'], 'address for the other nodes of the cluster'),
  row('cluster-secret-file', 'FILE', [''], 'a file with the secret that all nodes of the cluster share'),
  row('http', 'HOST:PORT', ['127.0.0.1:8080'], 'address of the HTTP door; port 0 picks a free one'),
  row('grpc', 'HOST:PORT', ['127.0.0.1:9090'], 'address of the gRPC door'),
  row('management', 'HOST:PORT', ['127.0.0.1:8081'], 'address of /livez, /readyz and /metrics'),
  { ...row('allow-origin', 'URL', [], 'an origin whose pages may call the HTTP door'), isList: true },
  { ...row('host-name', 'NAME', [], 'a name under which the HTTP door may be reached'), isList: true },
  row('offsets-retention-minutes', 'N', ['10080'], 'how long positions of a group without members are kept'),
  row('insecure', null, ['false'], 'allow addresses beyond loopback although nobody is authenticated'),
  { ...row('log-level', 'LEVEL', ['info'], 'least severity that is logged to standard error'), choices: logLevels },
];

const TOPIC_DEFAULTS_KEY = 'topic-defaults';

const variableOf = (key: string): string => `SLUICE_${key.toUpperCase().replaceAll('-', '_')}`;

/** Names a file of settings; itself no setting of the file. */
export const CONFIG_FILE_VARIABLE = variableOf('config');

export const describeSource = (source: SettingSource): string => {
  if (source.kind === 'flag') return `flag --${source.flag}`;
  if (source.kind === 'environment') return `environment variable ${source.variable}`;
  return source.kind === 'file' ? `${source.path} line ${source.line}` : 'default';
};

interface RawSetting {
  readonly values: readonly string[];
  readonly source: SettingSource;
}

interface FileSettings {
  readonly settings: ReadonlyMap<string, RawSetting>;
  readonly topicDefaults: ReadonlyMap<string, RawSetting>;
}

/** Where values come from, the strongest first, keyed by setting. */
interface Layers {
  readonly flags: ReadonlyMap<string, readonly string[]>;
  readonly environment: ReadonlyMap<string, RawSetting>;
  readonly file: ReadonlyMap<string, RawSetting>;
}

/** Merges and checks. All values that are wrong are reported, not only the first, then all combinations. */
export const resolveConfig = (sources: ConfigSources): ConfigResolution => {
  const faults: ConfigFault[] = [];
  const merged: MergedSetting[] = [];
  const file = sources.file === null ? NO_FILE : readFile(sources.file, faults);
  const environment = readEnvironment(sources.environment, faults);
  const layers: Layers = { flags: sources.flags, environment, file: file.settings };

  /** A value that is wrong leaves a fault behind; what stands in for it is never used. */
  const take = <T>(key: string, read: Reader<T>, show: (value: T) => MergedSetting['value']): Taken<T> => {
    const { values, source } = strongest(key, layers);
    const reading = read(values);
    if (!reading.ok) {
      faults.push({ source, kind: 'value', detail: `${key}: ${reading.detail}` });
      return { key, value: byDefault(key, read), source };
    }
    merged.push({ key, value: show(reading.value), source });
    return { key, value: reading.value, source };
  };

  const config = {
    dataDir: take('data-dir', readDirectory, same),
    nodeId: take('node-id', readNodeId, same),
    rack: take('rack', readText, same),
    roles: take('role', readRoles, same),
    cluster: take('cluster', readMembers, members => members.map(formatMember)),
    peer: take('peer', readAddress, formatAddress),
    clusterSecretFile: take('cluster-secret-file', readText, same),
    http: take('http', readAddress, formatAddress),
    grpc: take('grpc', readAddress, formatAddress),
    management: take('management', readAddress, formatAddress),
    allowOrigins: take('allow-origin', readOrigins, same),
    hostNames: take('host-name', readHostNames, same),
    offsetsRetentionMinutes: take('offsets-retention-minutes', readMinutes, same),
    insecure: take('insecure', readSwitch, same),
    logLevel: take('log-level', readLogLevel, same),
  };
  const topicDefaults = readTopicDefaults(file.topicDefaults, merged, faults);
  // Combinations are judged when every value is what was meant.
  if (faults.length === 0) {
    const isAlone = config.cluster.value.length === 0;
    const doors = [config.http, config.grpc, config.management];
    faults.push(...doorFaults(doors, config.insecure.value));
    faults.push(...(isAlone ? loneFaults(config) : clusterFaults(config, doors)));
  }
  if (faults.length > 0) return { ok: false, faults };
  const peer = ownPeerAddress(config);
  return {
    ok: true,
    // What the list decided is shown as that, or the printed file would contradict its own list.
    settings: merged.map(setting =>
      setting.key === 'peer' && peer !== config.peer.value
        ? { key: 'peer', value: formatAddress(peer), source: config.cluster.source }
        : setting,
    ),
    config: {
      dataDir: config.dataDir.value,
      nodeId: config.nodeId.value,
      rack: config.rack.value,
      roles: config.roles.value,
      cluster: config.cluster.value.length === 0 ? null : config.cluster.value,
      peer,
      clusterSecretFile: config.clusterSecretFile.value === '' ? null : config.clusterSecretFile.value,
      http: config.http.value,
      grpc: config.grpc.value,
      management: config.management.value,
      allowOrigins: config.allowOrigins.value,
      hostNames: config.hostNames.value,
      offsetsRetentionMinutes: config.offsetsRetentionMinutes.value,
      insecure: config.insecure.value,
      logLevel: config.logLevel.value,
      topicDefaults,
    },
  };
};

type Reader<T> = (values: readonly string[]) => Reading<T>;

interface Taken<T> {
  readonly key: string;
  readonly value: T;
  readonly source: SettingSource;
}

const fallbackOf = (key: string): readonly string[] => settingRows.find(setting => setting.key === key)?.fallback ?? [];

const byDefault = <T>(key: string, read: Reader<T>): T => {
  const reading = read(fallbackOf(key));
  assert(reading.ok, `the default of ${key} is a value that it takes`);
  return reading.value;
};

const strongest = (key: string, layers: Layers): RawSetting => {
  const flag = layers.flags.get(key);
  if (flag !== undefined) return { values: flag, source: { kind: 'flag', flag: key } };
  return (
    layers.environment.get(key) ?? layers.file.get(key) ?? { values: fallbackOf(key), source: { kind: 'default' } }
  );
};

/** What is wrong with the doors together: too open, or two on one port. */
const doorFaults = (doors: readonly Taken<ListenAddress>[], isInsecure: boolean): readonly ConfigFault[] => {
  const faults: ConfigFault[] = [];
  for (const [index, { key, value, source }] of doors.entries()) {
    if (!isInsecure && !isLoopback(value.host)) {
      const detail =
        `${key}: ${formatAddress(value)} can be reached from other machines and nobody is authenticated; ` +
        'bind to 127.0.0.1, or say --insecure to accept that';
      faults.push({ source, kind: 'combination', detail });
    }
    const taken = doors.slice(0, index).find(earlier => collide(earlier.value, value));
    if (taken === undefined) continue;
    const detail = `${key}: ${formatAddress(value)} is taken by ${taken.key}; choose another port`;
    faults.push({ source, kind: 'combination', detail });
  }
  return faults;
};

interface ClusterSettings {
  readonly nodeId: Taken<number>;
  readonly roles: Taken<readonly NodeRole[]>;
  readonly cluster: Taken<readonly ClusterMember[]>;
  readonly peer: Taken<ListenAddress>;
  readonly clusterSecretFile: Taken<string>;
}

/** A node that is alone has nobody to leave anything to. */
const loneFaults = ({ roles, clusterSecretFile }: ClusterSettings): readonly ConfigFault[] => {
  const faults: ConfigFault[] = [];
  const missing = nodeRoles.filter(role => !roles.value.includes(role));
  if (missing.length > 0) {
    const detail = `role: a node without --cluster is alone and does everything, also what ${missing.join(' and ')} means`;
    faults.push({ source: roles.source, kind: 'combination', detail });
  }
  if (clusterSecretFile.value !== '') {
    const detail = 'cluster-secret-file: there is no --cluster to be secret among';
    faults.push({ source: clusterSecretFile.source, kind: 'combination', detail });
  }
  return faults;
};

/** As the list has it, unless it was said otherwise. */
const ownPeerAddress = ({ nodeId, cluster, peer }: ClusterSettings): ListenAddress =>
  (peer.source.kind === 'default' ? cluster.value.find(member => member.nodeId === nodeId.value)?.address : null) ??
  peer.value;

/** The other nodes must be able to find this one, and nobody else may take part. */
const clusterFaults = (
  { nodeId, roles, cluster, peer, clusterSecretFile }: ClusterSettings,
  doors: readonly Taken<ListenAddress>[],
): readonly ConfigFault[] => {
  const faults: ConfigFault[] = [];
  const fault = (taken: Taken<unknown>, detail: string): void => {
    faults.push({ source: taken.source, kind: 'combination', detail: `${taken.key}: ${detail}` });
  };
  const own = cluster.value.find(member => member.nodeId === nodeId.value);
  const isVoter = roles.value.includes('controller');
  if (own !== undefined && !isVoter)
    fault(cluster, `node ${own.nodeId} is listed, so it votes, and needs the role controller`);
  if (own !== undefined && (own.address.host !== peer.value.host || own.address.port !== peer.value.port)) {
    // Behind a forwarder on this machine, as tunnels are, it listens elsewhere than where it is reached.
    const isForwarded = isLoopback(own.address.host) && isLoopback(peer.value.host);
    if (peer.source.kind !== 'default' && !isWildcard(peer.value.host) && !isForwarded) {
      fault(
        peer,
        `${formatAddress(peer.value)} is not where --cluster says that node ${own.nodeId} is (${formatAddress(own.address)})`,
      );
    }
  }
  if (own === undefined && isVoter && roles.source.kind !== 'default') {
    fault(roles, `only the nodes that --cluster lists are controllers, and node ${nodeId.value} is none of them`);
  }
  for (const door of [...doors, peer]) {
    if (door.value.port === 0) fault(door, 'a node of a cluster needs a port that the others can be told; choose one');
  }
  const open = [peer.value, ...cluster.value.map(member => member.address)].find(address => !isLoopback(address.host));
  if (open !== undefined && clusterSecretFile.value === '') {
    fault(
      cluster,
      `${formatAddress(open)} is reached over a network, so the nodes need a secret: --cluster-secret-file FILE, the same on all`,
    );
  }
  const bound = ownPeerAddress({ nodeId, roles, cluster, peer, clusterSecretFile });
  for (const door of doors) {
    if (collide(door.value, bound)) fault(peer, `${formatAddress(bound)} is taken by ${door.key}; choose another port`);
  }
  return faults;
};

/** A file of settings that gives the same broker, each setting with its source behind it. */
export const printConfig = (settings: readonly MergedSetting[]): string => {
  const isTopicDefault = (setting: MergedSetting): boolean => setting.key.startsWith(`${TOPIC_DEFAULTS_KEY}.`);
  const line = (key: string, setting: MergedSetting): string =>
    // JSON is YAML: quoted strings and flow lists need no second set of quoting rules.
    `${key}: ${JSON.stringify(setting.value)} # ${describeSource(setting.source)}\n`;
  let text = '';
  for (const setting of settings) if (!isTopicDefault(setting)) text += line(setting.key, setting);
  const topicDefaults = settings.filter(isTopicDefault);
  if (topicDefaults.length === 0) return `${text}${TOPIC_DEFAULTS_KEY}: {} # default\n`;
  text += `${TOPIC_DEFAULTS_KEY}:\n`;
  for (const setting of topicDefaults) {
    text += `  ${line(setting.key.slice(TOPIC_DEFAULTS_KEY.length + 1), setting)}`;
  }
  return text;
};

export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || /^127(?:\.\d{1,3}){3}$/.test(host);

/** True for the addresses that mean every interface of the machine. */
export const isWildcard = (host: string): boolean => host === '0.0.0.0' || host === '::';

/** HOST:PORT, with brackets around an IPv6 host. */
export const formatAddress = (address: ListenAddress): string =>
  `${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`;

const NO_FILE: FileSettings = { settings: new Map(), topicDefaults: new Map() };

const same = <T>(value: T): T => value;

const readEnvironment = (
  environment: ConfigSources['environment'],
  faults: ConfigFault[],
): ReadonlyMap<string, RawSetting> => {
  const byVariable = new Map(settingRows.map(setting => [variableOf(setting.key), setting]));
  const found = new Map<string, RawSetting>();
  for (const [variable, text] of Object.entries(environment)) {
    if (!variable.startsWith('SLUICE_') || text === undefined) continue;
    if (CLIENT_VARIABLES.has(variable) || variable === CONFIG_FILE_VARIABLE) continue;
    const source: SettingSource = { kind: 'environment', variable };
    const setting = byVariable.get(variable);
    if (setting === undefined) {
      const detail =
        variable === variableOf(TOPIC_DEFAULTS_KEY)
          ? 'topic defaults can only be set in a file (--config)'
          : `there is no such setting${didYouMean(variable, [...byVariable.keys()])}; unset it`;
      faults.push({ source, kind: 'value', detail });
      continue;
    }
    found.set(setting.key, { values: setting.isList ? splitList(text) : [text], source });
  }
  return found;
};

const splitList = (text: string): string[] =>
  text
    .split(',')
    .map(part => part.trim())
    .filter(part => part !== '');

/** Loaded when there is a file to read: it is a tenth of the code that a start would load. */
const loadYaml = (): typeof Yaml => createRequire(import.meta.url)('yaml') as typeof Yaml;

const readFile = (file: { readonly path: string; readonly text: string }, faults: ConfigFault[]): FileSettings => {
  const { isMap, isScalar, LineCounter, parseDocument } = loadYaml();
  const lines = new LineCounter();
  const document = parseDocument(file.text, { lineCounter: lines });
  const at = (position: number): SettingSource => ({
    kind: 'file',
    path: file.path,
    line: lines.linePos(position).line,
  });
  for (const error of document.errors) {
    faults.push({ source: at(error.pos[0]), kind: 'value', detail: `not YAML: ${firstLine(error.message)}` });
  }
  if (document.errors.length > 0) return NO_FILE;
  const { contents } = document;
  // An empty file, or one of comments alone, sets nothing.
  if (contents === null || (isScalar(contents) && contents.value === null)) return NO_FILE;
  if (!isMap(contents)) {
    faults.push({
      source: at(0),
      kind: 'value',
      detail: 'the file must be a map of settings, as in `data-dir: ./data`',
    });
    return NO_FILE;
  }
  const settings = new Map<string, RawSetting>();
  let topicDefaults: ReadonlyMap<string, RawSetting> = new Map();
  for (const { key, value } of contents.items) {
    const name = isScalar(key) ? String(key.value) : String(key);
    const source = at((key as Yaml.Node).range?.[0] ?? 0);
    if (name === TOPIC_DEFAULTS_KEY) {
      topicDefaults = readTopicDefaultsNode(value, { source, at }, faults);
      continue;
    }
    const setting = settingRows.find(candidate => candidate.key === name);
    if (setting === undefined) {
      const known = [...settingRows.map(candidate => candidate.key), TOPIC_DEFAULTS_KEY];
      faults.push({
        source,
        kind: 'value',
        detail: `there is no setting "${name}"${didYouMean(name, known)}; remove it`,
      });
      continue;
    }
    const values = nodeValues(value, setting.isList);
    if (values === null) {
      const detail = `${name}: needs ${setting.isList ? 'one value or a list of values' : 'one value'}`;
      faults.push({ source, kind: 'value', detail });
      continue;
    }
    settings.set(name, { values, source });
  }
  return { settings, topicDefaults };
};

const readTopicDefaultsNode = (
  node: unknown,
  { source, at }: { readonly source: SettingSource; readonly at: (position: number) => SettingSource },
  faults: ConfigFault[],
): ReadonlyMap<string, RawSetting> => {
  const { isMap, isScalar } = loadYaml();
  const found = new Map<string, RawSetting>();
  if (isScalar(node) && node.value === null) return found;
  if (!isMap(node)) {
    faults.push({
      source,
      kind: 'value',
      detail: `${TOPIC_DEFAULTS_KEY}: needs a map, as in \`retention.ms: 86400000\``,
    });
    return found;
  }
  for (const { key, value } of node.items) {
    const name = isScalar(key) ? String(key.value) : String(key);
    const entrySource = at((key as Yaml.Node).range?.[0] ?? 0);
    const values = nodeValues(value, false);
    if (values === null)
      faults.push({ source: entrySource, kind: 'value', detail: `${TOPIC_DEFAULTS_KEY}: ${name} needs one value` });
    else found.set(name, { values, source: entrySource });
  }
  return found;
};

/** The text of a scalar (its own spelling: a number keeps its digits) or of each in a list; null for anything else. */
const nodeValues = (node: unknown, isList: boolean): string[] | null => {
  const { isScalar, isSeq } = loadYaml();
  if (isScalar(node)) {
    if (node.value === null) return null;
    return [typeof node.value === 'string' ? node.value : (node.source ?? JSON.stringify(node.value))];
  }
  if (!isList || !isSeq(node)) return null;
  const values: string[] = [];
  for (const item of node.items) {
    const value = nodeValues(item, false)?.[0];
    if (value === undefined) return null;
    values.push(value);
  }
  return values;
};

/** One setting at a time, so that the fault names its line; the spelling kept is the one in which topics show theirs. */
const readTopicDefaults = (
  raw: ReadonlyMap<string, RawSetting>,
  merged: MergedSetting[],
  faults: ConfigFault[],
): Readonly<Record<string, string>> => {
  const defaults: Record<string, string> = {};
  for (const [name, { values, source }] of raw) {
    const checked = checkTopicConfig({ [name]: values[0] ?? '' });
    if (!checked.ok) {
      faults.push({ source, kind: 'value', detail: `${TOPIC_DEFAULTS_KEY}: ${checked.problem.detail}` });
      continue;
    }
    for (const [key, value] of Object.entries(checked.value)) {
      defaults[key] = value;
      merged.push({ key: `${TOPIC_DEFAULTS_KEY}.${key}`, value, source });
    }
  }
  return defaults;
};

const readText = (values: readonly string[]): Reading<string> => good(values[0] ?? '');

const readDirectory = (values: readonly string[]): Reading<string> => {
  const text = values[0] ?? '';
  return text === '' || text.includes('\0') ? bad('needs the path of a directory') : good(text);
};

const readNodeId = (values: readonly string[]): Reading<number> => {
  const text = values[0] ?? '';
  const id = Number(text);
  if (!/^\d{1,10}$/.test(text) || id > NODE_ID_MAX) {
    return bad(`"${text}" is not a node id; use a whole number from 0 to ${NODE_ID_MAX}`);
  }
  return good(id);
};

const readMinutes = (values: readonly string[]): Reading<number> => {
  const text = values[0] ?? '';
  const minutes = Number(text);
  if (!/^\d{1,10}$/.test(text) || minutes < 1 || minutes > MINUTES_MAX) {
    return bad(`"${text}" is no number of minutes; use a whole number from 1 to ${MINUTES_MAX}`);
  }
  return good(minutes);
};

const readSwitch = (values: readonly string[]): Reading<boolean> => {
  const text = values[0] ?? '';
  if (text === 'true' || text === '1') return good(true);
  if (text === 'false' || text === '0') return good(false);
  return bad(`"${text}" is neither true nor false`);
};

const readLogLevel = (values: readonly string[]): Reading<LogLevel> => {
  const text = values[0] ?? '';
  const level = logLevels.find(candidate => candidate === text);
  return level === undefined ? bad(`"${text}" is none of ${logLevels.join(', ')}`) : good(level);
};

const readAddress = (values: readonly string[]): Reading<ListenAddress> => {
  const text = values[0] ?? '';
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s/]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || port > PORT_MAX) {
    return bad(`"${text}" is not an address; use HOST:PORT or [IPV6]:PORT with a port from 0 to ${PORT_MAX}`);
  }
  return good({ host: host.toLowerCase(), port });
};

const readRoles = (values: readonly string[]): Reading<readonly NodeRole[]> => {
  const named = values.flatMap(splitList);
  for (const text of named) {
    if (!nodeRoles.some(role => role === text)) return bad(`"${text}" is none of ${nodeRoles.join(', ')}`);
  }
  if (named.length === 0) return bad(`needs at least one of ${nodeRoles.join(', ')}`);
  return good(nodeRoles.filter(role => named.includes(role)));
};

const MEMBERS_MAX = 5;

const readMembers = (values: readonly string[]): Reading<readonly ClusterMember[]> => {
  const members: ClusterMember[] = [];
  for (const text of values.flatMap(splitList)) {
    const at = text.indexOf('@');
    const nodeId = readNodeId([text.slice(0, Math.max(0, at))]);
    const address = readAddress([text.slice(at + 1)]);
    if (!nodeId.ok || !address.ok || address.value.port === 0) {
      return bad(`"${text}" is not a node; use NODE-ID@HOST:PORT, as in 1@10.0.0.1:9091`);
    }
    if (members.some(member => member.nodeId === nodeId.value)) return bad(`node ${nodeId.value} is listed twice`);
    members.push({ nodeId: nodeId.value, address: address.value });
  }
  return members.length > MEMBERS_MAX
    ? bad(`lists ${members.length} nodes; 3 or ${MEMBERS_MAX} vote on metadata`)
    : good(members);
};

const formatMember = ({ nodeId, address }: ClusterMember): string => `${nodeId}@${formatAddress(address)}`;

const readOrigins = (values: readonly string[]): Reading<readonly string[]> => {
  for (const text of values) {
    const url = URL.canParse(text) ? new URL(text) : null;
    if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:') || url.origin !== text) {
      return bad(`"${text}" is not an origin; use http(s)://HOST[:PORT] without a path, as in https://app.example.org`);
    }
  }
  return good([...values]);
};

const readHostNames = (values: readonly string[]): Reading<readonly string[]> => {
  for (const text of values) {
    if (!/^(?=.{1,253}$)[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?$/.test(text)) {
      return bad(`"${text}" is not a host name; use a name without a port, as in sluice.example.org`);
    }
  }
  return good(values.map(name => name.toLowerCase()));
};

/** Two listeners cannot share a port on one address, nor where one of them takes every address. */
const collide = (one: ListenAddress, other: ListenAddress): boolean =>
  one.port !== 0 &&
  one.port === other.port &&
  (one.host === other.host || isWildcard(one.host) || isWildcard(other.host));

const firstLine = (text: string): string => text.split('\n', 1)[0] ?? '';

const didYouMean = (name: string, known: readonly string[]): string => {
  const candidate = nearestName(name, known);
  return candidate === null ? '' : ` (did you mean "${candidate}"?)`;
};
