// Settings: where they come from, which wins, what is refused and in which words.

import { describe, expect, test } from 'vitest';
import { type ConfigResolution, describeSource, printConfig, resolveConfig } from '../server/config.ts';

interface Given {
  readonly flags?: Record<string, string | readonly string[]>;
  readonly environment?: Record<string, string>;
  readonly file?: string;
}

const resolve = ({ flags = {}, environment = {}, file }: Given): ConfigResolution =>
  resolveConfig({
    flags: new Map(Object.entries(flags).map(([name, value]) => [name, typeof value === 'string' ? [value] : value])),
    environment,
    file: file === undefined ? null : { path: 'sluice.yaml', text: file },
  });

const config = (given: Given): Extract<ConfigResolution, { ok: true }>['config'] => {
  const resolution = resolve(given);
  if (!resolution.ok) throw new Error(JSON.stringify(resolution.faults));
  return resolution.config;
};

const faults = (given: Given): readonly string[] => {
  const resolution = resolve(given);
  return resolution.ok ? [] : resolution.faults.map(fault => `${describeSource(fault.source)}: ${fault.detail}`);
};

describe('merging', () => {
  test('without anything the defaults are in force', () => {
    expect(config({})).toEqual({
      dataDir: './data',
      nodeId: 1,
      rack: '',
      http: { host: '127.0.0.1', port: 8080 },
      grpc: { host: '127.0.0.1', port: 9090 },
      management: { host: '127.0.0.1', port: 8081 },
      allowOrigins: [],
      hostNames: [],
      insecure: false,
      logLevel: 'info',
      topicDefaults: {},
    });
  });

  test('a flag wins over the environment, the environment over the file, the file over the default', () => {
    const file = 'data-dir: /file\nnode-id: 3\nrack: file\n';
    const environment = { SLUICE_DATA_DIR: '/environment', SLUICE_NODE_ID: '2' };
    const merged = config({ flags: { 'data-dir': '/flag' }, environment, file });
    expect([merged.dataDir, merged.nodeId, merged.rack, merged.logLevel]).toEqual(['/flag', 2, 'file', 'info']);
  });

  test('every setting can come from the environment', () => {
    const environment = {
      SLUICE_DATA_DIR: '/d',
      SLUICE_NODE_ID: '7',
      SLUICE_RACK: 'r',
      SLUICE_HTTP: '127.0.0.1:1',
      SLUICE_GRPC: '[::1]:2',
      SLUICE_MANAGEMENT: 'localhost:0',
      SLUICE_ALLOW_ORIGIN: 'https://a.example, http://b.example:8000',
      SLUICE_HOST_NAME: 'a.example,B.example',
      SLUICE_INSECURE: 'true',
      SLUICE_LOG_LEVEL: 'warn',
    };
    expect(config({ environment })).toEqual({
      dataDir: '/d',
      nodeId: 7,
      rack: 'r',
      http: { host: '127.0.0.1', port: 1 },
      grpc: { host: '::1', port: 2 },
      management: { host: 'localhost', port: 0 },
      allowOrigins: ['https://a.example', 'http://b.example:8000'],
      hostNames: ['a.example', 'b.example'],
      insecure: true,
      logLevel: 'warn',
      topicDefaults: {},
    });
  });

  test('the file takes lists, numbers, booleans and topic defaults in their own spelling', () => {
    const file = [
      '# settings',
      'http: "127.0.0.1:8000"',
      'insecure: true',
      'allow-origin: [https://a.example]',
      'host-name: one.example',
      'topic-defaults:',
      '  retention.ms: 604800000',
      '  segment.bytes: "1048576"',
      '  flush.mode: interval',
    ].join('\n');
    const merged = config({ file });
    expect(merged.http).toEqual({ host: '127.0.0.1', port: 8000 });
    expect(merged.insecure).toBe(true);
    expect(merged.allowOrigins).toEqual(['https://a.example']);
    expect(merged.hostNames).toEqual(['one.example']);
    expect(merged.topicDefaults).toEqual({
      'retention.ms': '604800000',
      'segment.bytes': '1048576',
      'flush.mode': 'interval',
    });
  });

  test.each(['', '# nothing but a comment\n', 'topic-defaults:\n'])('a file that sets nothing is fine: %j', file => {
    expect(config({ file })).toEqual(config({}));
  });

  test("client variables and other programs' variables are none of the broker's", () => {
    const environment = {
      SLUICE_SERVER: 'elsewhere:9',
      SLUICE_TOKEN: 't',
      SLUICE_CONFIG: 'f',
      HOME: '/',
      SLUICER: '1',
    };
    expect(config({ environment })).toEqual(config({}));
  });
});

describe('printing', () => {
  test('what is printed is a file that gives the same settings, and each line says where its value came from', () => {
    const given: Given = {
      flags: { rack: 'a "quoted" # rack', 'host-name': ['one.example', 'two.example'] },
      environment: { SLUICE_HTTP: '[::1]:0' },
      file: 'node-id: 9\ntopic-defaults:\n  retention.ms: 1000\n',
    };
    const resolution = resolve(given);
    if (!resolution.ok) throw new Error('refused');
    const text = printConfig(resolution.settings);
    expect(config({ file: text })).toEqual(resolution.config);
    expect(text.split('\n')).toEqual(
      expect.arrayContaining([
        'rack: "a \\"quoted\\" # rack" # flag --rack',
        'http: "[::1]:0" # environment variable SLUICE_HTTP',
        'node-id: 9 # sluice.yaml line 1',
        'data-dir: "./data" # default',
        '  retention.ms: "1000" # sluice.yaml line 3',
      ]),
    );
  });

  test('without topic defaults the printed file still says so', () => {
    const resolution = resolve({});
    if (!resolution.ok) throw new Error('refused');
    expect(printConfig(resolution.settings)).toContain('topic-defaults: {} # default\n');
  });
});

describe('refusals name the setting, its source and what would be right', () => {
  test.each<[string, Given, RegExp]>([
    ['a misspelt key', { file: 'rack: a\ndata-dri: x\n' }, /^sluice\.yaml line 2: .*"data-dri".*"data-dir"/],
    ['a misspelt variable', { environment: { SLUICE_DATADIR: 'x' } }, /SLUICE_DATADIR: .*"SLUICE_DATA_DIR".*unset/],
    [
      'a variable without any likeness',
      { environment: { SLUICE_ZZZZZZZZ: 'x' } },
      /there is no such setting; unset it$/,
    ],
    ['topic defaults in the environment', { environment: { SLUICE_TOPIC_DEFAULTS: 'a=b' } }, /only be set in a file/],
    ['no YAML', { file: 'a: [1\n' }, /^sluice\.yaml line \d: not YAML/],
    ['the same key twice', { file: 'rack: a\nrack: b\n' }, /^sluice\.yaml line \d: not YAML/],
    ['a list as the file', { file: '- a\n' }, /must be a map/],
    ['a list for one value', { file: 'rack: [a]\n' }, /rack: needs one value$/],
    ['a map for a list', { file: 'host-name: {a: b}\n' }, /host-name: needs one value or a list/],
    ['an empty value', { file: 'rack:\n' }, /rack: needs one value$/],
    ['an unknown topic setting', { file: 'topic-defaults:\n  retention.msec: 1\n' }, /line 2: .*"retention\.msec"/],
    ['a wrong topic setting', { file: 'topic-defaults:\n  retention.ms: soon\n' }, /line 2: .*retention\.ms.*"soon"/],
    ['topic defaults that are no map', { file: 'topic-defaults: [a]\n' }, /topic-defaults: needs a map/],
    ['an address without a port', { flags: { http: '127.0.0.1' } }, /^flag --http: .*HOST:PORT/],
    ['a port out of range', { flags: { http: '127.0.0.1:65536' } }, /65535/],
    ['an IPv6 address without brackets', { flags: { grpc: '::1:9090' } }, /\[IPV6\]:PORT/],
    ['a node id that is none', { flags: { 'node-id': '-1' } }, /node id/],
    ['a node id too large', { flags: { 'node-id': '2147483648' } }, /2147483647/],
    ['an empty data directory', { flags: { 'data-dir': '' } }, /needs the path of a directory/],
    ['an origin with a path', { flags: { 'allow-origin': ['https://a.example/x'] } }, /not an origin/],
    ['every origin', { flags: { 'allow-origin': ['*'] } }, /not an origin/],
    ['a host name with a port', { flags: { 'host-name': ['a.example:80'] } }, /not a host name/],
    ['a log level that is none', { environment: { SLUICE_LOG_LEVEL: 'loud' } }, /debug, info, warn, error, silent/],
    ['a switch that is neither', { environment: { SLUICE_INSECURE: 'maybe' } }, /neither true nor false/],
  ])('%s', (_, given, expected) => {
    const found = faults(given);
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(expected);
  });

  test('all wrong values are told at once, and combinations only of right ones', () => {
    expect(faults({ flags: { http: 'x' }, environment: { SLUICE_NODE_ID: 'y' }, file: 'z: 1\n' })).toHaveLength(3);
    expect(faults({ flags: { http: 'x', grpc: '127.0.0.1:8080' } })).toEqual([expect.stringMatching(/^flag --http: /)]);
  });

  test.each(['0.0.0.0:8080', '[::]:8080', '192.168.0.7:8080', 'sluice.example:8080'])(
    '%s is beyond loopback and needs --insecure',
    address => {
      expect(faults({ flags: { http: address } })).toEqual([expect.stringMatching(/^flag --http: .*--insecure/)]);
      expect(config({ flags: { http: address, insecure: 'true' } }).insecure).toBe(true);
    },
  );

  test.each(['127.0.0.1:8080', '127.8.9.10:8080', '[::1]:8080', 'localhost:8080'])('%s is loopback', address => {
    expect(config({ flags: { http: address } }).http.port).toBe(8080);
  });

  test('two doors on one port are refused, and free ports never collide', () => {
    expect(faults({ flags: { grpc: '127.0.0.1:8080' } })).toEqual([expect.stringMatching(/taken by http/)]);
    const wildcard = { http: '0.0.0.0:9000', grpc: '127.0.0.1:9000', insecure: 'true' };
    expect(faults({ flags: wildcard })).toEqual([expect.stringMatching(/taken by http/)]);
    expect(config({ flags: { http: '127.0.0.1:0', grpc: '127.0.0.1:0', management: '127.0.0.1:0' } }).grpc.port).toBe(
      0,
    );
  });
});
