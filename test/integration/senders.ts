// Senders by every door, each noting in the ledger what it sent and what it was told.
//
// A sender goes on until its load is over or its connection breaks; it never sends a record twice, so that what a reading
// finds twice was doubled by somebody else. What is unanswered when the connection breaks keeps the fate "unknown".

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { BatchBuilder, type Codec } from '@sluice/protocol/record';
import { Acks, Compression, Form } from '@sluice/protocol/services';
import { Sluice, SluiceError } from '@sluice/client';
import { environmentWithoutSettings, LAUNCHER, type BrokerProcess } from './broker-process.ts';
import { EventSourceReader } from './event-source.ts';
import { GrpcClient, type Answer } from './grpc-streams.ts';
import { HttpClient, type HttpAnswer } from './http-exchange.ts';
import type { Ledger, SentGroup, Sender } from './ledger.ts';
import { TestSocket, type Frame } from './web-socket-client.ts';

export interface Load {
  readonly broker: BrokerProcess;
  readonly topic: string;
  readonly ledger: Ledger;
  /** Distinguishes the senders of this load from earlier ones. */
  readonly name: string;
  /** From 0 to 1. */
  readonly random: () => number;
  /** Aborted when the broker is gone, or enough was sent. */
  readonly over: AbortSignal;
  /** True from the moment at which the broker is told to end: senders may fail from then on. */
  readonly ending: () => boolean;
  /** Told of every request and of every acknowledgement: by them the moment of a kill is chosen. */
  readonly beat: (what: 'sent' | 'acknowledged') => void;
}

type SendLoop = (load: Load, sender: Sender) => Promise<void>;

const CODECS: readonly Codec[] = ['none', 'gzip', 'snappy', 'lz4', 'zstd'];
const NDJSON = { 'content-type': 'application/x-ndjson' };

const upTo = ({ random }: Load, max: number): number => 1 + Math.floor(random() * max);
const codecFor = (load: Load): Codec => CODECS[Math.floor(load.random() * CODECS.length)] ?? 'none';

/** JSON bodies, one request at a time; each is one batch. */
const restJson: SendLoop = async (load, sender) => {
  const http = new HttpClient(load.broker.http);
  try {
    while (!load.over.aborted) {
      const group = sender.group('whole');
      const records = Array.from({ length: upTo(load, 20) }, () => ({ value_text: group.add() }));
      load.beat('sent');
      const answer = await http.send({
        method: 'POST',
        path: `/v1/topics/${load.topic}/partitions/${sender.partition}/records?compression=${codecFor(load)}`,
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ records }),
      });
      if (answer.status !== 200) throw refusal(group, answer);
      const { offsets } = JSON.parse(answer.body.toString()) as { offsets: { offset: number }[] };
      if (offsets.length !== records.length) throw new Error(`${offsets.length} offsets for ${records.length} records`);
      for (const [index, { offset }] of offsets.entries()) group.acknowledge(index, offset);
      load.beat('acknowledged');
    }
  } finally {
    http.close();
  }
};

/** Long streamed bodies, the lines trickling in; only the whole is acknowledged. */
const restNdjson: SendLoop = async (load, sender) => {
  const http = new HttpClient(load.broker.http);
  try {
    while (!load.over.aborted) {
      const group = sender.group('pipeline');
      const answer = await http.send({
        method: 'POST',
        path: `/v1/topics/${load.topic}/partitions/${sender.partition}/records?envelope=none`,
        headers: NDJSON,
        body: trickle(load, group, 20 + upTo(load, 200)),
      });
      if (answer.status !== 200) throw refusal(group, answer);
      const body = JSON.parse(answer.body.toString()) as {
        count: number;
        partitions: { first_offset: number; last_offset: number; count: number }[];
      };
      const [part] = body.partitions;
      if (body.count !== group.numbers.length || part?.count !== body.count) {
        throw new Error(`${answer.body.toString()} for ${group.numbers.length} records`);
      }
      group.acknowledgeAll(null);
      group.acknowledge(0, part.first_offset);
      group.acknowledge(body.count - 1, part.last_offset);
      load.beat('acknowledged');
    }
  } finally {
    http.close();
  }
};

/** Lines in pieces that do not end where lines end. */
async function* trickle(load: Load, group: SentGroup, lineCount: number): AsyncGenerator<Uint8Array> {
  let pending = Buffer.alloc(0);
  for (let line = 0; line < lineCount && !load.over.aborted; line++) {
    pending = Buffer.concat([pending, Buffer.from(`${group.add()}\n`)]);
    if (load.random() < 0.2) {
      const cut = Math.floor(load.random() * pending.length);
      load.beat('sent');
      yield pending.subarray(0, cut);
      pending = pending.subarray(cut);
    }
  }
  yield pending;
}

/** Up to five frames in flight on one connection, each one batch. */
const webSocket: SendLoop = async (load, sender) => {
  await using socket = await TestSocket.open(`http://${load.broker.http}`);
  const inFlight: Promise<void>[] = [];
  try {
    for (let id = 0; !load.over.aborted; id++) {
      const group = sender.group('whole');
      const records = Array.from({ length: upTo(load, 20) }, () => ({ value_text: group.add() }));
      const where = { topic: load.topic, partition: sender.partition, compression: codecFor(load) };
      load.beat('sent');
      const noted = socket.ask({ id, op: 'produce', ...where, records }).then(answer => noteFrame(load, group, answer));
      // A broker that stops refuses a later frame before it answers the one that is waited for.
      noted.catch(() => undefined);
      inFlight.push(noted);
      if (inFlight.length === 5) await inFlight.shift();
    }
  } finally {
    await Promise.allSettled(inFlight);
  }
};

function noteFrame(load: Load, group: SentGroup, { problem, offsets }: Frame): void {
  if (problem !== undefined) {
    if (problem.code === 'REQUEST_TIMED_OUT') return;
    group.refuseAll();
    throw new Error(problem.code);
  }
  if (offsets?.length !== group.numbers.length) throw new Error('another count was acknowledged than was sent');
  for (const [index, { offset }] of offsets.entries()) group.acknowledge(index, offset!);
  load.beat('acknowledged');
}

/** Up to five requests in flight on one stream; ready-made batches and records in turn. */
const grpcStream =
  (acks: Acks): SendLoop =>
  async (load, sender) => {
    const client = new GrpcClient(load.broker.grpc);
    const stream = client.produce();
    const inFlight: Promise<void>[] = [];
    try {
      while (!load.over.aborted) {
        const group = sender.group('whole');
        const values = Array.from({ length: upTo(load, 30) }, () => group.add());
        const timestamp = 1_700_000_000_000 + sender.entries.length;
        const where = { topic: load.topic, partition: sender.partition, acks };
        load.beat('sent');
        if (load.random() < 0.5) {
          const builder = new BatchBuilder({ codec: codecFor(load) });
          for (const value of values) builder.append({ key: null, value, timestamp });
          inFlight.push(
            stream.send({ ...where, batches: builder.build() }).then(answer => noteAnswer(load, group, answer, acks)),
          );
        } else {
          const records = values.map(value => ({ value: Buffer.from(value), timestampMs: BigInt(timestamp) }));
          const request = { ...where, records, compression: Compression.ZSTD };
          inFlight.push(stream.send(request).then(answer => noteAnswer(load, group, answer, acks)));
        }
        if (inFlight.length === 5) await inFlight.shift();
      }
    } finally {
      await Promise.allSettled(inFlight);
      client.close();
    }
  };

function noteAnswer(load: Load, group: SentGroup, answer: Answer, acks: Acks): void {
  // Answered before it is durable: it may be lost, but neither doubled nor torn nor out of order.
  if (answer.case === 'ack' && acks === Acks.LEADER) return;
  if (answer.case === 'ack') {
    if (answer.value.count !== group.numbers.length) throw new Error('another count was acknowledged than was sent');
    group.acknowledgeAll(Number(answer.value.baseOffset));
    load.beat('acknowledged');
  } else if (answer.case === 'error' && answer.value.code !== 'REQUEST_TIMED_OUT') {
    group.refuseAll();
    throw new Error(answer.value.code);
  }
}

/** The SDK's own batching: chunks of records are enqueued while the chunk before waits for its acknowledgements. */
const sdk: SendLoop = async (load, sender) => {
  const client = new Sluice({ servers: [load.broker.grpc] });
  const producer = client.producer({ topic: load.topic, lingerMs: 1, compression: codecFor(load) });
  const end = (): void => producer.close();
  load.over.addEventListener('abort', end, { once: true });
  let before: Promise<unknown> = Promise.resolve();
  try {
    while (!load.over.aborted) {
      const group = sender.group('pipeline');
      const acks: Promise<void>[] = [];
      for (let index = 0, count = upTo(load, 60); index < count; index++) {
        const value = group.add();
        // A record that the producer does not accept was never sent, and neither was what would have followed it.
        group.refuse(index);
        const ticket = producer.enqueue({ value, partition: sender.partition });
        acks.push(settle(group, index, ticket.ack()));
      }
      load.beat('sent');
      const chunk = Promise.all(acks).then(() => load.beat('acknowledged'));
      chunk.catch(() => {});
      await before;
      before = chunk;
    }
    await before;
  } finally {
    load.over.removeEventListener('abort', end);
    producer.close();
    await client.close();
  }
};

async function settle(group: SentGroup, index: number, ack: Promise<{ offset: number }>): Promise<void> {
  group.hand(index);
  try {
    const { offset } = await ack;
    group.acknowledge(index, offset);
  } catch (error) {
    if (error instanceof SluiceError && error.outcome !== 'unknown') group.refuse(index);
    throw error;
  }
}

/** `sluice produce`, one process after another; each prints its acknowledgements as it gets them. */
const commandLine: SendLoop = async (load, sender) => {
  while (!load.over.aborted) {
    const group = sender.group('pipeline');
    const where = ['--server', load.broker.grpc, '--partition', `${sender.partition}`];
    const child = spawn(process.execPath, [LAUNCHER, 'produce', load.topic, ...where, '-o', 'ndjson'], {
      stdio: ['pipe', 'pipe', 'ignore'],
      env: environmentWithoutSettings(),
    });
    const stop = (): void => void child.kill('SIGKILL');
    load.over.addEventListener('abort', stop, { once: true });
    child.stdin.on('error', () => {});
    const ended = once(child, 'close') as Promise<[number | null]>;
    const feeding = feed(child.stdin, trickle(load, group, 100 + upTo(load, 300)), ended);
    let index = 0;
    for await (const line of createInterface({ input: child.stdout })) {
      // The last line of a process that was killed may be cut short.
      const { offset } = deliveryOf(line) ?? {};
      if (offset === undefined) break;
      group.acknowledge(index++, offset);
    }
    if (index > 0) load.beat('acknowledged');
    const [status] = await ended;
    await feeding;
    load.over.removeEventListener('abort', stop);
    if (status === 0 && index !== group.numbers.length) {
      throw new Error(`sluice produce ended well with ${index} of ${group.numbers.length} records acknowledged`);
    }
    if (status !== 0) throw new Error(`sluice produce ended with ${status}`);
  }
};

async function feed(
  input: NodeJS.WritableStream,
  pieces: AsyncIterable<Uint8Array>,
  ended: Promise<unknown>,
): Promise<void> {
  for await (const piece of pieces) {
    if (!input.writable) return;
    if (!input.write(piece)) await Promise.race([drained(input), ended]);
  }
  input.end();
}

function drained(stream: NodeJS.WritableStream): Promise<void> {
  return new Promise(resolve => {
    stream.once('drain', resolve);
  });
}

function deliveryOf(line: string): { readonly offset: number } | null {
  try {
    return JSON.parse(line) as { offset: number };
  } catch {
    return null;
  }
}

/** A refused batch is certainly not written, unless its status says otherwise; of a streamed body a part may be. */
function refusal(group: SentGroup, answer: HttpAnswer): Error {
  if (answer.status !== 504 && group.grouping === 'whole') group.refuseAll();
  return new Error(`${answer.status} ${answer.body.toString()}`);
}

const loops: Readonly<Record<string, SendLoop>> = {
  'rest-json': restJson,
  'rest-ndjson': restNdjson,
  websocket: webSocket,
  grpc: grpcStream(Acks.ALL),
  'grpc-leader': grpcStream(Acks.LEADER),
  sdk,
  'command-line': commandLine,
};

/** Reads a partition while it is written to: what a reader saw must not vanish. */
async function watch(load: Load, partition: number): Promise<void> {
  const client = new GrpcClient(load.broker.grpc);
  try {
    for await (const { payload } of client.read({ topic: load.topic, partition, form: Form.RECORDS })) {
      if (payload.case !== 'records') continue;
      for (const { offset, value } of payload.value.records) {
        load.ledger.see(partition, Number(offset), Buffer.from(value ?? []).toString('utf8'));
      }
    }
  } finally {
    client.close();
  }
}

/** The same by Server-Sent Events, over every partition. */
async function watchEvents(load: Load): Promise<void> {
  const reader = new EventSourceReader(`http://${load.broker.http}/v1/topics/${load.topic}/records`);
  let seen = 0;
  for (;;) {
    await reader.until(({ events, isEnded }) => events.length > seen || isEnded);
    for (; seen < reader.events.length; seen++) {
      const { event, data } = reader.events[seen]!;
      if (event === 'message') seeForm(load, JSON.parse(data) as SeenForm);
    }
    if (reader.isEnded) throw new Error('the stream of events ended');
  }
}

/** The same over WebSocket. */
async function watchFrames(load: Load): Promise<void> {
  await using socket = await TestSocket.open(`http://${load.broker.http}`);
  await socket.subscribe({ topic: load.topic, from: 'earliest' });
  for (;;) {
    const frame = await socket.next();
    if (frame.op !== 'records') throw new Error(JSON.stringify(frame));
    for (const form of frame.records ?? []) seeForm(load, form);
  }
}

interface SeenForm {
  readonly partition: number;
  readonly offset: number;
  readonly value?: unknown;
  readonly value_text?: string;
}

function seeForm({ ledger }: Load, { partition, offset, value, value_text }: SeenForm): void {
  ledger.see(partition, offset, value_text ?? JSON.stringify(value));
}

/** How often each kind of sender takes part in a load. */
const SENDERS_OF_A_KIND = 2;

/** All doors at once, a reader on every partition. Resolves when all have ended, with those that ended before they were to, and why. */
export async function sendFromEveryDoor(load: Load, partitionCount: number): Promise<readonly string[]> {
  const deserters: string[] = [];
  const ends: Promise<void>[] = [];
  for (const [kind, loop] of Object.entries(loops)) {
    for (let index = 0; index < SENDERS_OF_A_KIND; index++) {
      const name = `${load.name}/${kind}-${index}`;
      const sender = load.ledger.sender(name, ends.length % partitionCount);
      const note = (reason: string): void => {
        if (!load.ending()) deserters.push(`${name}: ${reason}`);
      };
      ends.push(
        loop(load, sender).then(
          () => note('ended'),
          (error: unknown) => note(String(error)),
        ),
      );
    }
  }
  for (let partition = 0; partition < partitionCount; partition++) {
    ends.push(
      watch(load, partition).catch((error: unknown) => {
        if (!load.ending()) deserters.push(`reader of partition ${partition}: ${String(error)}`);
      }),
    );
  }
  for (const [door, watched] of [
    ['events', watchEvents(load)],
    ['frames', watchFrames(load)],
  ] as const) {
    ends.push(
      watched.catch((error: unknown) => {
        if (!load.ending()) deserters.push(`reader of ${door}: ${String(error)}`);
      }),
    );
  }
  await Promise.all(ends);
  return deserters;
}
