// The table of commands: what `sluice` can do, in the order in which help shows it.

import { type SettingRow, settingRows } from '../config.ts';
import type { Command } from './command.ts';
import type { Argument, Flag } from './syntax.ts';

const value = (name: string, placeholder: string, summary: string, fallback?: string): Flag =>
  fallback === undefined ? { name, placeholder, summary } : { name, placeholder, summary, fallback };
const toggle = (name: string, summary: string): Flag => ({ name, placeholder: null, summary });
const repeated = (name: string, placeholder: string, summary: string): Flag => ({
  ...value(name, placeholder, summary),
  isList: true,
});
const choice = (name: string, choices: readonly string[], fallback: string, summary: string): Flag => ({
  ...value(name, name.toUpperCase(), summary, fallback),
  choices,
});
const whole = (flag: Flag, min: number, max = Number.MAX_SAFE_INTEGER): Flag => ({ ...flag, range: [min, max] });
const required = (name: string): Argument => ({ name, isOptional: false });

const outputFlag: Flag = {
  ...choice('output', ['table', 'json', 'ndjson'], 'table', 'how results are printed'),
  short: 'o',
};

/** What every command takes that talks to a broker. */
const clientFlags: readonly Flag[] = [
  value('server', 'HOST:PORT', 'gRPC address of a broker; default 127.0.0.1:9090, or SLUICE_SERVER'),
  value('token', 'TOKEN', 'sent as a bearer token; default SLUICE_TOKEN'),
  outputFlag,
];

const INT32_MAX = 0x7fffffff;
const partitionFlag = whole(value('partition', 'P', 'one partition'), 0, INT32_MAX);
const acksFlag = choice('acks', ['all', '1', '0'], 'all', 'all: durable; 1: accepted; 0: nobody waits');
const compressionFlag = choice('compression', ['none', 'gzip', 'snappy', 'lz4', 'zstd'], 'none', 'of the batches sent');
const configFlag = repeated('config', 'NAME=VALUE', "a topic setting, with Kafka's names");

/** Settings check their own values, wherever they come from; the choices are for help and completion too. */
const settingFlag = (setting: SettingRow): Flag => {
  const { key: name, placeholder, summary, isList, choices } = setting;
  const flag: Flag =
    choices.length === 0 ? { name, placeholder, summary, isList } : { name, placeholder, summary, choices };
  return placeholder === null || isList ? flag : { ...flag, fallback: setting.fallback[0] ?? '' };
};

const startCommand: Command = {
  path: ['start'],
  summary: 'Starts a broker and serves until it is told to stop.',
  description:
    'Every setting is also an environment variable (SLUICE_DATA_DIR for --data-dir) and a key of the YAML file; a flag ' +
    'wins over a variable, a variable over the file. Topic defaults stand in the file under `topic-defaults:`.',
  arguments: [],
  flags: [
    value('config', 'FILE', 'a YAML file of settings'),
    ...settingRows.map(settingFlag),
    toggle('print-config', 'print the settings in force, each with its source, and exit'),
  ],
  examples: [
    'sluice start',
    'sluice start --data-dir /var/lib/sluice --http 127.0.0.1:0',
    'sluice start --config sluice.yaml --print-config',
  ],
  load: async () => (await import('./start.ts')).start,
};

const clusterDescribe: Command = {
  path: ['cluster', 'describe'],
  summary: 'Shows the brokers of the cluster and which of them is the controller.',
  arguments: [],
  flags: [...clientFlags],
  examples: ['sluice cluster describe', 'sluice cluster describe --server 127.0.0.1:9090 -o json'],
  load: async () => (await import('./cluster.ts')).describeCluster,
};

const topicCommands: readonly Command[] = [
  {
    path: ['topic', 'create'],
    summary: 'Creates a topic.',
    arguments: [required('NAME')],
    flags: [
      whole(value('partitions', 'N', 'how many partitions', '1'), 1, INT32_MAX),
      whole(value('replication-factor', 'N', 'on how many brokers each record is', '1'), 1, INT32_MAX),
      configFlag,
      toggle('if-not-exists', 'a topic that exists already is no error'),
      ...clientFlags,
    ],
    examples: [
      'sluice topic create orders --partitions 3',
      'sluice topic create orders --config retention.ms=86400000 --if-not-exists',
    ],
    load: async () => (await import('./topic.ts')).createTopic,
  },
  {
    path: ['topic', 'list'],
    summary: 'Lists topics.',
    arguments: [],
    flags: [
      value('prefix', 'TEXT', 'only names that begin so'),
      toggle('internal', 'internal topics too'),
      ...clientFlags,
    ],
    examples: ['sluice topic list', 'sluice topic list --prefix orders -o json'],
    load: async () => (await import('./topic.ts')).listTopics,
  },
  {
    path: ['topic', 'describe'],
    summary: 'Shows a topic with its partitions and settings, or the partitions of all topics.',
    arguments: [{ name: 'NAME', isOptional: true }],
    flags: [toggle('include-defaults', 'every setting in force with its source'), ...clientFlags],
    examples: ['sluice topic describe orders', 'sluice topic describe orders --include-defaults -o json'],
    load: async () => (await import('./topic.ts')).describeTopic,
  },
  {
    path: ['topic', 'alter'],
    summary: 'Adds partitions to a topic, or changes its settings.',
    arguments: [required('NAME')],
    flags: [
      whole(value('partitions', 'N', 'the new number of partitions; it only grows'), 1, INT32_MAX),
      configFlag,
      repeated('delete-config', 'NAME', 'a setting to fall back to its default'),
      ...clientFlags,
    ],
    examples: [
      'sluice topic alter orders --partitions 6',
      'sluice topic alter orders --config retention.ms=3600000 --delete-config retention.bytes',
    ],
    load: async () => (await import('./topic.ts')).alterTopic,
  },
  {
    path: ['topic', 'delete'],
    summary: 'Deletes a topic with all its records.',
    description: 'Asks on a terminal, and needs --yes elsewhere.',
    arguments: [required('NAME')],
    flags: [
      toggle('if-exists', 'a topic that does not exist is no error'),
      toggle('yes', 'do not ask'),
      ...clientFlags,
    ],
    examples: ['sluice topic delete orders --yes'],
    load: async () => (await import('./topic.ts')).deleteTopic,
  },
  {
    path: ['topic', 'delete-records'],
    summary: 'Deletes the records of one partition below an offset.',
    description:
      'The offset is the first one to keep, at most the high watermark. Asks on a terminal, and needs --yes elsewhere.',
    arguments: [required('NAME')],
    flags: [
      { ...partitionFlag, summary: 'of this partition' },
      whole(value('before', 'OFFSET', 'the first offset to keep'), 0),
      toggle('yes', 'do not ask'),
      ...clientFlags,
    ],
    examples: ['sluice topic delete-records orders --partition 0 --before 1000 --yes'],
    load: async () => (await import('./topic.ts')).deleteRecords,
  },
];

const groupCommands: readonly Command[] = [
  {
    path: ['group', 'list'],
    summary: 'Lists consumer groups.',
    arguments: [],
    flags: [value('prefix', 'TEXT', 'only names that begin so'), ...clientFlags],
    examples: ['sluice group list', 'sluice group list --prefix billing -o json'],
    load: async () => (await import('./group.ts')).listGroups,
  },
  {
    path: ['group', 'describe'],
    summary: 'Shows where a group stands in each partition and how far it is behind, or its members.',
    arguments: [required('GROUP')],
    flags: [toggle('members', 'the members instead of the partitions'), ...clientFlags],
    examples: ['sluice group describe billing', 'sluice group describe billing --members'],
    load: async () => (await import('./group.ts')).describeGroup,
  },
  {
    path: ['group', 'reset-offsets'],
    summary: 'Sets where a group goes on in a topic.',
    description:
      'Only while the group has no members, or none that subscribes to the topic. Shows what would be set, and sets it ' +
      'with --execute. A shift ends at the ends of a partition.',
    arguments: [required('GROUP')],
    flags: [
      value('topic', 'T', 'of this topic'),
      { ...partitionFlag, summary: 'of this partition only' },
      toggle('to-earliest', 'to the earliest record'),
      toggle('to-latest', 'to the end'),
      whole(value('to-offset', 'N', 'to this offset'), 0),
      value('to-datetime', 'T', 'to the first record at or after it: 2026-01-31T12:00:00Z, or milliseconds since 1970'),
      whole(value('shift-by', 'N', 'records further, or back'), -Number.MAX_SAFE_INTEGER),
      toggle('execute', 'do it'),
      ...clientFlags,
    ],
    examples: [
      'sluice group reset-offsets billing --topic orders --to-earliest',
      'sluice group reset-offsets billing --topic orders --to-datetime 2026-01-31T12:00:00Z --execute',
      'sluice group reset-offsets billing --topic orders --partition 0 --shift-by -10 --execute',
    ],
    load: async () => (await import('./group.ts')).resetOffsets,
  },
  {
    path: ['group', 'delete'],
    summary: 'Deletes a group with its committed positions, while it has no members.',
    description: 'Asks on a terminal, and needs --yes elsewhere.',
    arguments: [required('GROUP')],
    flags: [toggle('yes', 'do not ask'), ...clientFlags],
    examples: ['sluice group delete billing --yes'],
    load: async () => (await import('./group.ts')).deleteGroup,
  },
];

const produceCommand: Command = {
  path: ['produce'],
  summary: 'Writes the lines of standard input or of a file to a topic, one record a line.',
  description:
    'text: the line is the value. json: the line is one JSON value, null is a tombstone. record: the line is an object ' +
    'of key or key_base64; value, value_text or value_base64; headers; partition; timestamp. The first bad line ends the ' +
    'input: what stood before it is written, and the error says how many that are.',
  arguments: [required('TOPIC')],
  flags: [
    choice('input', ['text', 'json', 'record'], 'text', 'what a line is'),
    value('file', 'FILE', 'read this instead of standard input'),
    value('key-separator', 'TEXT', 'with --input text: what stands before it in a line is the key'),
    { ...partitionFlag, summary: 'write to this partition' },
    acksFlag,
    compressionFlag,
    repeated('header', 'NAME=VALUE', 'a header for every record'),
    ...clientFlags,
  ],
  examples: [
    'echo hello | sluice produce greetings',
    'sluice produce orders --input json --file orders.ndjson --compression zstd',
    "echo 'user-1:paid' | sluice produce orders --key-separator : --header source=shell",
  ],
  load: async () => (await import('./produce.ts')).produce,
};

const consumeCommand: Command = {
  path: ['consume'],
  summary: 'Prints the records of a topic as they come, from the end on unless told otherwise.',
  description:
    'Formats: %t topic, %p partition, %o offset, %d timestamp in ms, %e leader epoch, %k key, %v or %s value, %K and %V ' +
    'their lengths, %h headers (or %h{%k=%v } for each), %% a percent sign; \\n \\t \\r \\\\ \\xNN. With -o json or ' +
    'ndjson each record is an object on a line of its own.',
  arguments: [required('TOPIC')],
  flags: [
    toggle('from-beginning', 'start at the earliest record'),
    whole(value('offset', 'N', 'start at this offset of --partition'), 0),
    { ...partitionFlag, summary: 'read this partition only' },
    value('since', 'TIME', 'start at the first record that is at most this old: 30s, 15m, 2h, 7d'),
    whole(value('tail', 'N', 'start this many records before the end of each partition'), 0),
    whole(value('max-messages', 'N', 'stop after this many'), 1),
    toggle('exit-at-end', 'stop where the topic ended when reading began'),
    choice('isolation', ['read_uncommitted', 'read_committed'], 'read_uncommitted', 'which records of transactions'),
    value('format', 'FORMAT', 'what is printed of each record; default %v\\n'),
    ...clientFlags,
  ],
  examples: [
    'sluice consume orders',
    "sluice consume orders --from-beginning --exit-at-end --format '%p:%o %k=%v\\n'",
    'sluice consume orders --since 2h -o json',
  ],
  load: async () => (await import('./consume.ts')).consume,
};

const perfCommands: readonly Command[] = [
  {
    path: ['perf', 'produce'],
    summary: 'Measures how fast a topic takes records, and how long each waits for its acknowledgement.',
    description:
      'The payload is random printable text, made before the clock starts; five batches of a partition are in flight. ' +
      "The first records warm up and are not measured. Ends with a line in the form of Kafka's own tool.",
    arguments: [],
    flags: [
      value('topic', 'T', 'write to this topic'),
      whole(value('num-records', 'N', 'how many, warm-up included'), 1),
      whole(value('record-size', 'B', 'bytes of each value'), 0, 64 * 1024 * 1024),
      whole(value('throughput', 'R', 'records a second; -1 for as many as go', '-1'), -1),
      whole(value('warmup-records', 'N', 'not measured; default a tenth, at most 200000'), 0),
      acksFlag,
      whole(value('batch-size', 'BYTES', 'a batch is sent when it has this many bytes', '262144'), 1, INT32_MAX),
      whole(value('linger-ms', 'MS', 'or when it has waited so long', '5'), 0, 60_000),
      compressionFlag,
      ...clientFlags,
    ],
    examples: ['sluice perf produce --topic load --num-records 1000000 --record-size 100'],
    load: async () => (await import('./perf-produce.ts')).perfProduce,
  },
  {
    path: ['perf', 'consume'],
    summary: 'Measures how fast a topic is read from its beginning.',
    arguments: [],
    flags: [
      value('topic', 'T', 'read this topic'),
      whole(value('num-records', 'N', 'how many, warm-up included; default all'), 1),
      whole(value('warmup-records', 'N', 'not measured', '0'), 0),
      ...clientFlags,
    ],
    examples: ['sluice perf consume --topic load'],
    load: async () => (await import('./perf-consume.ts')).perfConsume,
  },
];

const dumpLogCommand: Command = {
  path: ['dump-log'],
  summary: 'Prints what a segment or index file of a partition holds, and whether it is damaged.',
  description: 'Reads *.log, *.index and *.timeindex files; the broker may run. Exit code 1 when damage is found.',
  arguments: [required('FILE')],
  flags: [toggle('deep', 'the records of each batch too')],
  examples: ['sluice dump-log data/orders-0/00000000000000000000.log --deep'],
  load: async () => (await import('./offline/dump-log.ts')).dumpLog,
};

const doctorCommand: Command = {
  path: ['doctor'],
  summary: 'Examines the data directory of a stopped broker, and gives damaged records up when told to.',
  description:
    'Checks meta.json, the store, the catalogue against the folders, every batch with its records, and every index. One ' +
    'line a finding; exit code 1 when there are any. Nothing is changed without --accept-loss: with it a damaged range ' +
    'becomes a gap that readers step over, and its bytes are kept in a file beside the segment. That asks on a terminal, ' +
    'and needs --yes elsewhere.',
  arguments: [],
  flags: [
    value('data-dir', 'DIR', 'the data directory; default SLUICE_DATA_DIR or ./data'),
    toggle('accept-loss', 'turn damaged ranges into gaps'),
    value('topic', 'T', 'with --accept-loss: of this topic only'),
    { ...partitionFlag, summary: 'with --topic: of this partition only' },
    toggle('yes', 'do not ask'),
    { ...choice('output', ['table', 'json'], 'table', 'how results are printed'), short: 'o' },
  ],
  examples: [
    'sluice doctor --data-dir /var/lib/sluice',
    'sluice doctor -o json',
    'sluice doctor --accept-loss --topic orders --partition 0 --yes',
  ],
  load: async () => (await import('./offline/doctor.ts')).doctor,
};

const completionCommand: Command = {
  path: ['completion'],
  summary: 'Prints a completion script for a shell.',
  arguments: [{ name: 'SHELL', isOptional: false, choices: ['bash', 'zsh', 'fish'] }],
  flags: [],
  examples: ['source <(sluice completion bash)', 'sluice completion fish | source'],
  load: async () => (await import('./completion.ts')).completion,
};

const versionCommand: Command = {
  path: ['version'],
  summary: 'Prints the version.',
  arguments: [],
  flags: [outputFlag],
  examples: ['sluice version'],
  load: async () => (await import('./version.ts')).version,
};

export const commands: readonly Command[] = [
  startCommand,
  clusterDescribe,
  ...topicCommands,
  ...groupCommands,
  produceCommand,
  consumeCommand,
  ...perfCommands,
  dumpLogCommand,
  doctorCommand,
  completionCommand,
  versionCommand,
];
