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
      roles: ['broker', 'controller', 'gateway'],
      cluster: null,
      peer: { host: '127.0.0.1', port: 9091 },
      clusterSecretFile: null,
      http: { host: '127.0.0.1', port: 8080 },
      grpc: { host: '127.0.0.1', port: 9090 },
      management: { host: '127.0.0.1', port: 8081 },
      allowOrigins: [],
      hostNames: [],
      offsetsRetentionMinutes: 10_080,
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
      SLUICE_ROLE: 'gateway, broker',
      SLUICE_CLUSTER: '1@a.example:4,2@[::1]:5',
      SLUICE_PEER: '0.0.0.0:6',
      SLUICE_CLUSTER_SECRET_FILE: '/s',
      SLUICE_HTTP: '127.0.0.1:1',
      SLUICE_GRPC: '[::1]:2',
      SLUICE_MANAGEMENT: 'localhost:3',
      SLUICE_ALLOW_ORIGIN: 'https://a.example, http://b.example:8000',
      SLUICE_HOST_NAME: 'a.example,B.example',
      SLUICE_OFFSETS_RETENTION_MINUTES: '5',
      SLUICE_INSECURE: 'true',
      SLUICE_LOG_LEVEL: 'warn',
    };
    expect(config({ environment })).toEqual({
      dataDir: '/d',
      nodeId: 7,
      rack: 'r',
      roles: ['broker', 'gateway'],
      cluster: [
        { nodeId: 1, address: { host: 'a.example', port: 4 } },
        { nodeId: 2, address: { host: '::1', port: 5 } },
      ],
      peer: { host: '0.0.0.0', port: 6 },
      clusterSecretFile: '/s',
      http: { host: '127.0.0.1', port: 1 },
      grpc: { host: '::1', port: 2 },
      management: { host: 'localhost', port: 3 },
      allowOrigins: ['https://a.example', 'http://b.example:8000'],
      hostNames: ['a.example', 'b.example'],
      offsetsRetentionMinutes: 5,
      insecure: true,
      logLevel: 'warn',
      topicDefaults: {},
    });
  });

  test.each(['0', '-1', '1.5', '2147483648', 'week', ''])('"%s" is no number of minutes', minutes => {
    expect(faults({ flags: { 'offsets-retention-minutes': minutes } })).toEqual([
      expect.stringMatching(/^flag --offsets-retention-minutes: .*1 to 2147483647/),
    ]);
  });

  test('the file takes lists, numbers, booleans and topic defaults in their own spelling', () => {
    const file = [
      '# settings',
      'http: "127.0.0.1:8000"',
      'insecure: true',
      'allow-origin: [https://a.example]',
      'host-name: one.example',
      'role: [controller, broker]',
      'cluster:',
      '  - 1@127.0.0.1:9091',
      '  - "2@127.0.0.1:9092"',
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
    expect(merged.roles).toEqual(['broker', 'controller']);
    expect(merged.cluster).toEqual([
      { nodeId: 1, address: { host: '127.0.0.1', port: 9091 } },
      { nodeId: 2, address: { host: '127.0.0.1', port: 9092 } },
    ]);
    expect(merged.topicDefaults).toEqual({
      'retention.ms': '604800000',
      'segment.bytes': '1048576',
      'flush.mode': 'interval',
    });
  });

  test.each([
    ['as its own list has it', { 'node-id': '2' }, 'b.example', 9092],
    ['as it was said, where it listens on every address', { 'node-id': '2', peer: '0.0.0.0:7' }, '0.0.0.0', 7],
    ['by default, where no list has it', { 'node-id': '3' }, '127.0.0.1', 9091],
  ])('the peer address of a node of a cluster: %s', (_, flags, host, port) => {
    const cluster = '1@a.example:9091,2@b.example:9092';
    expect(config({ flags: { cluster, 'cluster-secret-file': '/s', ...flags } }).peer).toEqual({ host, port });
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
      flags: { rack: 'a "quoted" # rack', 'host-name': ['one.example', 'two.example'], role: 'broker,controller' },
      environment: { SLUICE_HTTP: '[::1]:1', SLUICE_CLUSTER: '9@[::1]:9099,2@127.0.0.1:9092' },
      file: 'node-id: 9\ntopic-defaults:\n  retention.ms: 1000\n',
    };
    const resolution = resolve(given);
    if (!resolution.ok) throw new Error('refused');
    const text = printConfig(resolution.settings);
    expect(config({ file: text })).toEqual(resolution.config);
    expect(text.split('\n')).toEqual(
      expect.arrayContaining([
        'rack: "a \\"quoted\\" # rack" # flag --rack',
        'http: "[::1]:1" # environment variable SLUICE_HTTP',
        'role: ["broker","controller"] # flag --role',
        'cluster: ["9@[::1]:9099","2@127.0.0.1:9092"] # environment variable SLUICE_CLUSTER',
        'peer: "[::1]:9099" # environment variable SLUICE_CLUSTER',
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

const sixNodes = [1, 2, 3, 4, 5, 6].map(nodeId => `${nodeId}@127.0.0.1:${9090 + nodeId}`).join(',');

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
    [
      'a role that is none',
      { flags: { role: 'broker,leader' } },
      /^flag --role: .*"leader".*broker, controller, gateway/,
    ],
    ['no role at all', { environment: { SLUICE_ROLE: ' , ' } }, /needs at least one of broker, controller, gateway/],
    ['a node without an id', { flags: { cluster: '127.0.0.1:9091' } }, /^flag --cluster: .*NODE-ID@HOST:PORT/],
    ['a node with an empty id', { flags: { cluster: '@127.0.0.1:9091' } }, /NODE-ID@HOST:PORT/],
    ['a node with an id that is none', { flags: { cluster: 'one@127.0.0.1:9091' } }, /NODE-ID@HOST:PORT/],
    ['a node without a port', { flags: { cluster: '1@127.0.0.1' } }, /NODE-ID@HOST:PORT/],
    ['a node at port 0', { flags: { cluster: '1@127.0.0.1:0' } }, /NODE-ID@HOST:PORT/],
    ['a node twice', { file: 'cluster: [1@a.example:1, 1@b.example:1]\n' }, /line 1: .*node 1 is listed twice/],
    ['more nodes than should vote', { flags: { cluster: sixNodes } }, /lists 6 nodes; 3 or 5/],
    ['a peer address without a port', { flags: { peer: 'a.example' } }, /^flag --peer: .*HOST:PORT/],
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

describe('a node that is alone', () => {
  test('does everything', () => {
    expect(faults({ flags: { role: 'broker' } })).toEqual([
      'flag --role: role: a node without --cluster is alone and does everything, also what controller and gateway means',
    ]);
    expect(config({ flags: { role: 'gateway,controller,broker' } }).roles).toEqual(['broker', 'controller', 'gateway']);
  });

  test('has no secret to share', () => {
    const file = 'cluster-secret-file: /secret\n';
    expect(faults({ file })).toEqual([
      'sluice.yaml line 1: cluster-secret-file: there is no --cluster to be secret among',
    ]);
  });

  test('listens for no peers, so their port may be anything', () => {
    expect(faults({ flags: { peer: '127.0.0.1:8080' } })).toEqual([]);
  });
});

describe('a node of a cluster', () => {
  const near = '1@127.0.0.1:9091,2@127.0.0.1:9092,3@127.0.0.1:9093';
  const far = '1@127.0.0.1:9091,2@10.0.0.2:9091';

  test.each<[string, NonNullable<Given['flags']>, readonly string[]]>([
    ['one of the list', { cluster: near, 'node-id': '2' }, []],
    ['one that joins', { cluster: near, 'node-id': '4', peer: '127.0.0.1:9094' }, []],
    ['one that joins to keep records', { cluster: near, 'node-id': '4', peer: '127.0.0.1:9094', role: 'broker' }, []],
    ['its own address said again', { cluster: near, 'node-id': '2', peer: '127.0.0.1:9092' }, []],
    ['every address of the machine', { cluster: far, peer: '0.0.0.0:9091', 'cluster-secret-file': '/s' }, []],
    ['peers on a network, with a secret', { cluster: far, 'cluster-secret-file': '/s' }, []],
    [
      'a listed node that does not vote',
      { cluster: near, role: 'broker,gateway' },
      ['flag --cluster: cluster: node 1 is listed, so it votes, and needs the role controller'],
    ],
    [
      'a listed node somewhere else',
      { cluster: far, 'node-id': '2', peer: '10.0.0.9:9091', 'cluster-secret-file': '/s' },
      ['flag --peer: peer: 10.0.0.9:9091 is not where --cluster says that node 2 is (10.0.0.2:9091)'],
    ],
    [
      'a controller that is not listed',
      { cluster: near, 'node-id': '4', peer: '127.0.0.1:9094', role: 'controller' },
      ['flag --role: role: only the nodes that --cluster lists are controllers, and node 4 is none of them'],
    ],
    [
      'a door at a free port',
      { cluster: near, http: '127.0.0.1:0' },
      ['flag --http: http: a node of a cluster needs a port that the others can be told; choose one'],
    ],
    [
      'a peer address at a free port',
      { cluster: near, 'node-id': '4', peer: '127.0.0.1:0' },
      ['flag --peer: peer: a node of a cluster needs a port that the others can be told; choose one'],
    ],
    [
      'peers on a network without a secret',
      { cluster: far },
      [
        'flag --cluster: cluster: 10.0.0.2:9091 is reached over a network, so the nodes need a secret: ' +
          '--cluster-secret-file FILE, the same on all',
      ],
    ],
    [
      'its own peer address on a network without a secret',
      { cluster: near, 'node-id': '4', peer: '10.0.0.4:9091' },
      [
        'flag --cluster: cluster: 10.0.0.4:9091 is reached over a network, so the nodes need a secret: ' +
          '--cluster-secret-file FILE, the same on all',
      ],
    ],
    [
      'a door on the port of the list',
      { cluster: near, grpc: '127.0.0.1:9091' },
      ['default: peer: 127.0.0.1:9091 is taken by grpc; choose another port'],
    ],
    [
      'a door on the peer port',
      { cluster: near, 'node-id': '4', peer: '127.0.0.1:8081' },
      ['flag --peer: peer: 127.0.0.1:8081 is taken by management; choose another port'],
    ],
  ])('%s', (_, flags, expected) => {
    expect(faults({ flags })).toEqual(expected);
  });

  test('everything that does not go together is told at once', () => {
    const flags = { cluster: far, role: 'broker', http: '127.0.0.1:0', peer: '127.0.0.1:8081' };
    expect(faults({ flags }).map(fault => fault.split(': ')[1])).toEqual(['cluster', 'http', 'cluster', 'peer']);
  });
});
