// `sluice consume`: the records of a topic on standard output, as they come.
//
// Starts at the end, as Kafka's console consumer does, unless told otherwise. Runs until Ctrl-C, --max-messages,
// --exit-at-end or the end of its reader (`| head`), each of them exit code 0. Output waits for a slow reader, and the
// reader of the SDK then holds the broker back.

import type { Message, ReadFrom } from '@sluice/client';
import { type ClientContext, withClient } from './client.ts';
import type { CommandContext } from './command.ts';
import { durationMs } from './duration.ts';
import { OutputBuffer } from './output-buffer.ts';
import { compileFormat, type RecordWriter } from './record-format.ts';
import { writeRecordJson } from './record-json.ts';
import { outputForm } from './result.ts';

const FORMAT_DEFAULT = String.raw`%v\n`;

/** Handed to the terminal at the latest when this much has been written. */
const PRINT_BYTES = 1024 * 1024;

export const consume = (context: CommandContext): Promise<number> => withClient(context, consumeRecords);

const consumeRecords = async (context: ClientContext): Promise<number> => {
  const { invocation, terminal, client } = context;
  const write = recordWriter(context);
  const partition = invocation.integer('partition');
  const isolation = invocation.text('isolation') === 'read_committed' ? 'read_committed' : 'read_uncommitted';
  const from = startOf(context, partition);
  // An offset names its partition itself.
  const isNarrowed = partition !== null && !(typeof from === 'object' && 'offset' in from);
  const reader = client.reader({
    topic: invocation.argument(0),
    from,
    ...(isNarrowed ? { partitions: [partition] } : {}),
    untilEnd: invocation.isOn('exit-at-end'),
    isolation,
    signal: terminal.interrupted,
  });
  try {
    await printRecords(context, reader.batches(), write);
  } catch (error) {
    if (!terminal.interrupted.aborted) throw error;
  } finally {
    reader.close();
  }
  return 0;
};

const printRecords = async (
  { invocation, terminal }: ClientContext,
  batches: AsyncIterable<readonly Message[]>,
  write: RecordWriter,
): Promise<void> => {
  const output = new OutputBuffer();
  let left = invocation.integer('max-messages') ?? Number.POSITIVE_INFINITY;
  for await (const batch of batches) {
    for (const message of batch) {
      write(message, output);
      left--;
      if (left === 0) break;
      if (output.byteLength >= PRINT_BYTES) await terminal.print(output.take());
    }
    if (output.byteLength > 0) await terminal.print(output.take());
    if (left === 0 || terminal.interrupted.aborted) return;
  }
};

const recordWriter = (context: ClientContext): RecordWriter => {
  const { invocation } = context;
  const format = invocation.optional('format');
  if (outputForm(context) !== 'table') {
    if (format !== null) throw invocation.misused('--format and --output exclude each other');
    return writeRecordJson;
  }
  const compiled = compileFormat(format ?? FORMAT_DEFAULT);
  if (!compiled.ok) throw invocation.misused(`--format: ${compiled.reason}`);
  return compiled.write;
};

const startFlags = ['from-beginning', 'offset', 'since', 'tail'] as const;

const startOf = ({ invocation }: ClientContext, partition: number | null): ReadFrom => {
  const given = startFlags.filter(name => invocation.isGiven(name));
  if (given.length > 1) throw invocation.misused(`--${given[0]} and --${given[1]} exclude each other`);
  if (invocation.isOn('from-beginning')) return 'earliest';
  const offset = invocation.integer('offset');
  if (offset !== null) {
    if (partition === null) throw invocation.misused('--offset needs --partition: each partition has its own offsets');
    return { offset, partition };
  }
  const tail = invocation.integer('tail');
  if (tail !== null) return { tail };
  const since = invocation.optional('since');
  if (since === null) return 'latest';
  const ago = durationMs(since);
  if (ago === null) throw invocation.misused(`--since takes a time like 30s, 15m, 2h or 7d, not "${since}"`);
  return { timestamp: Math.max(0, Date.now() - ago) };
};
