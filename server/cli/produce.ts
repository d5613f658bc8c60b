// `sluice produce`: lines of a file or of standard input, each a record.
//
// Streams in bounded memory. The first line that cannot become a record ends the input: what stood before it is written,
// nothing behind it is, and the one line on standard error says so with the count. Ctrl-C ends the input in the same way,
// without an error.

import { open } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import { type Compression, type Delivery, type Producer, SluiceError, type Ticket } from '@sluice/client';
import { LINE_BYTES_MAX } from '../base/limits.ts';
import { BadLine } from './bad-line.ts';
import { type ClientContext, withClient } from './client.ts';
import type { CommandContext } from './command.ts';
import { DeliveryLog } from './delivery-log.ts';
import { CommandFailure, failure, refusal } from './failure.ts';
import { readLines } from './line-reader.ts';
import { Progress } from './progress.ts';
import { jsonForm, type LineForm, type LineRecord, recordForm, textForm } from './record-form.ts';
import { outputForm } from './result.ts';

type Raw = Uint8Array | string;

const FILE_READ_BYTES = 256 * 1024;

/** Less than a program's default: each record of a few bytes also keeps its ticket alive until it is answered. */
const BUFFER_BYTES_MAX = 8 * 1024 * 1024;

const acksOf = { all: 'all', '1': 'leader', '0': 'none' } as const;

export const produce = (context: CommandContext): Promise<number> => withClient(context, produceLines);

interface Sending {
  readonly input: Readable;
  readonly toRecord: (line: Uint8Array, number: number) => LineRecord;
  readonly producer: Producer<Raw, Raw>;
  readonly log: DeliveryLog;
  /** Null where somebody types the lines and sees them. */
  readonly progress: Progress | null;
}

const produceLines = async (context: ClientContext): Promise<number> => {
  const { invocation, terminal, client } = context;
  const topic = invocation.argument(0);
  const toRecord = lineRecords(context);
  const acks = acksOf[invocation.text('acks') as keyof typeof acksOf];
  const compression = invocation.text('compression') as Compression;
  // Told before anybody types or pipes a line.
  await client.admin.describeTopic(topic, { signal: terminal.interrupted });
  const input = await openInput(context);
  const printer = deliveryPrinter(context);
  const log = new DeliveryLog(deliveries => printer.print(deliveries));
  const isTyped = input === terminal.input && terminal.input.isTTY === true;
  const progress = isTyped ? null : new Progress(terminal);
  const producer = client.producer({ topic, acks, compression, bufferBytesMax: BUFFER_BYTES_MAX });
  await printer.begin();
  const fault = await sendAll({ input, toRecord, producer, log, progress }, terminal.interrupted);
  await printer.end();
  progress?.end();
  if (log.failure !== null) throw deliveryFailure(log.failure.line, log.failure.error, log.written);
  if (fault !== null) throw inputFailure(fault, log.written);
  terminal.note(`${records(log.written)} ${acks === 'none' ? 'sent, unconfirmed,' : 'written'} to ${topic}\n`);
  return 0;
};

/** Sends until the input ends, however it does, and waits for the answers. What went wrong, or null. */
const sendAll = async (sending: Sending, interrupted: AbortSignal): Promise<unknown> => {
  const { input, producer, log } = sending;
  let fault: unknown = null;
  const stopReading = (): void => void input.destroy();
  if (interrupted.aborted) stopReading();
  interrupted.addEventListener('abort', stopReading, { once: true });
  try {
    // Knowing the topic, the producer refuses a record that cannot be written as it is handed over, before the next line.
    await producer.ready({ signal: interrupted });
    await sendLines(sending);
  } catch (error) {
    // Ctrl-C took the input away: an end like any other.
    fault = interrupted.aborted ? null : error;
  }
  interrupted.removeEventListener('abort', stopReading);
  input.destroy();
  await producer.drain().catch((error: unknown) => {
    // Told with its line by the log, which asked every ticket.
    fault ??= error;
  });
  await log.end();
  return fault;
};

/** Ends early when a delivery failed: the rest would only fail as well, or be written behind a gap. */
const sendLines = async ({ input, toRecord, producer, log, progress }: Sending): Promise<void> => {
  let number = 0;
  for await (const lines of readLines(input, LINE_BYTES_MAX)) {
    const firstLine = number + 1;
    const tickets: Ticket[] = [];
    try {
      for (const line of lines) {
        number++;
        const record = toRecord(line, number);
        if (!producer.hasRoom) await producer.ready();
        tickets.push(enqueue(producer, record, number));
      }
    } finally {
      log.add(tickets, firstLine);
    }
    await log.room();
    if (log.failure !== null) return;
    progress?.tick(() => `${records(log.written)} written`);
  }
};

const enqueue = (producer: Producer<Raw, Raw>, record: LineRecord, line: number): Ticket => {
  try {
    return producer.enqueue(record);
  } catch (error) {
    if (!(error instanceof SluiceError)) throw error;
    throw new BadLine(line, error.detail, error);
  }
};

const lineRecords = (context: ClientContext): ((line: Uint8Array, number: number) => LineRecord) => {
  const { invocation } = context;
  const form = lineForm(context);
  const shared = invocation.pairs('header').map(([key, value]) => ({ key, value }));
  const partition = invocation.integer('partition') ?? undefined;
  return (line, number) => {
    const reading = form(line);
    if (!reading.ok) throw new BadLine(number, reading.reason);
    const { record } = reading;
    if (shared.length === 0 && partition === undefined) return record;
    const own = Array.isArray(record.headers) ? record.headers : [];
    // What a line says of itself wins over what the flags say of all lines.
    return { ...record, headers: [...shared, ...own], partition: record.partition ?? partition };
  };
};

const lineForm = ({ invocation }: ClientContext): LineForm => {
  const input = invocation.text('input');
  const keySeparator = invocation.optional('key-separator');
  if (keySeparator !== null && input !== 'text')
    throw invocation.misused('--key-separator goes with --input text only');
  if (keySeparator === '') throw invocation.misused('--key-separator cannot be empty');
  if (input === 'json') return jsonForm;
  return input === 'record' ? recordForm : textForm(keySeparator);
};

/** Opened here and not by the stream, whose complaint would come while nobody listens. */
const openInput = async ({ invocation, terminal }: ClientContext): Promise<Readable> => {
  const path = invocation.optional('file');
  if (path === null || path === '-') return terminal.input;
  try {
    const file = await open(path, 'r');
    return file.createReadStream({ highWaterMark: FILE_READ_BYTES });
  } catch (error) {
    throw failure(`cannot read ${path} (${(error as NodeJS.ErrnoException).code ?? 'failed'})`, error);
  }
};

interface DeliveryPrinter {
  begin(): Promise<void>;
  print(deliveries: readonly Delivery[]): Promise<void>;
  end(): Promise<void>;
}

/** Nothing for a table, `{"offsets":[…]}` as JSON, one delivery a line as NDJSON. */
const deliveryPrinter = (context: ClientContext): DeliveryPrinter => {
  const { terminal } = context;
  const form = outputForm(context);
  const nothing = async (): Promise<void> => {};
  if (form === 'table') return { begin: nothing, print: nothing, end: nothing };
  const object = ({ partition, offset, timestamp }: Delivery): string =>
    JSON.stringify({ partition, offset, timestamp });
  if (form === 'ndjson') {
    return {
      begin: nothing,
      print: deliveries => terminal.print(deliveries.map(delivery => `${object(delivery)}\n`).join('')),
      end: nothing,
    };
  }
  let separator = '\n';
  return {
    begin: () => terminal.print('{"offsets":['),
    print: async deliveries => {
      if (deliveries.length === 0) return;
      await terminal.print(separator + deliveries.map(object).join(',\n'));
      separator = ',\n';
    },
    end: () => terminal.print('\n]}\n'),
  };
};

const records = (count: number): string => `${count} ${count === 1 ? 'record' : 'records'}`;

const written = (count: number): string => `${records(count)} ${count === 1 ? 'was' : 'were'} written`;

const deliveryFailure = (line: number, error: unknown, count: number): unknown => {
  if (!(error instanceof SluiceError)) return error;
  return refusal(error, `line ${line}: ${error.detail}; ${written(count)}`);
};

const inputFailure = (fault: unknown, count: number): unknown => {
  if (fault instanceof BadLine) {
    const message = `${fault.message}; ${written(count)}`;
    return new CommandFailure({ exitCode: 1, code: fault.code, message, cause: fault });
  }
  if (fault instanceof SluiceError) return refusal(fault, `${fault.detail}; ${written(count)}`);
  const { code, syscall, path } = fault as NodeJS.ErrnoException;
  if (code === undefined || syscall === undefined) return fault;
  return failure(`cannot read ${path ?? 'standard input'} (${code}); ${written(count)}`, fault);
};
