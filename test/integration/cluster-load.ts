// Writers and readers by every door of a cluster, at nodes chosen by chance, who note in a history (test/history) what they did, were
// told and saw.
//
// A writer sends one request at a time and never sends a record twice: what is found twice was doubled by the cluster. An answer
// without `outcome: "unknown"` is taken at its word. A reader that loses its node goes on at another one exactly where it stood: for
// the history it is one reader, who may neither skip nor go back.

import { createInterface } from 'node:readline';
import { BatchBuilder } from '@sluice/protocol/record';
import { Acks, Form } from '@sluice/protocol/services';
import { Sluice, SluiceError, type Delivery, type Producer } from '@sluice/client';
import type { LogHistory, OpenSend, ReadRecord } from '../history/log-history.ts';
import type { ClusterNode } from './cluster-processes.ts';
import { EventSourceReader } from './event-source.ts';
import { GrpcClient, type Answer, type ProduceStream } from './grpc-streams.ts';
import { HttpClient, type HttpAnswer } from './http-exchange.ts';
import { TestSocket } from './web-socket-client.ts';

export interface ClusterLoad {
  readonly nodes: readonly ClusterNode[];
  readonly topic: string;
  readonly partitionCount: number;
  readonly history: LogHistory;
  /** From 0 to 1. */
  readonly random: () => number;
  readonly over: AbortSignal;
  readonly tally: Tally;
}

/** What came of the requests; tells who waits for acknowledgements. */
export class Tally {
  acknowledged = 0;
  unknown = 0;
  /** By writer. */
  readonly acknowledgedBy = new Map<string, number>();
  readonly seenBy = new Map<string, number>();
  readonly refused = new Map<string, number>();
  readonly #waiting = new Set<() => void>();

  note(writer: string, outcome: Outcome): void {
    if (outcome.kind === 'unknown') this.unknown++;
    else if (outcome.kind === 'refused') this.refused.set(outcome.code, (this.refused.get(outcome.code) ?? 0) + 1);
    else {
      this.acknowledged++;
      this.acknowledgedBy.set(writer, (this.acknowledgedBy.get(writer) ?? 0) + 1);
      for (const wake of this.#waiting) wake();
    }
  }

  seen(reader: string, count: number): void {
    this.seenBy.set(reader, (this.seenBy.get(reader) ?? 0) + count);
  }

  /** So many more acknowledgements, or this time, whichever comes first. True: they came. */
  more(count: number, msMax: number): Promise<boolean> {
    const goal = this.acknowledged + count;
    return new Promise(resolve => {
      const end = (came: boolean): void => {
        clearTimeout(timer);
        this.#waiting.delete(look);
        resolve(came);
      };
      const look = (): void => {
        if (this.acknowledged >= goal) end(true);
      };
      const timer = setTimeout(end, msMax, false);
      this.#waiting.add(look);
    });
  }
}

export type Outcome =
  | { readonly kind: 'acknowledged'; readonly offsets: readonly number[] }
  | { readonly kind: 'refused'; readonly code: string }
  | { readonly kind: 'unknown' };

const UNKNOWN: Outcome = { kind: 'unknown' };

/** The broker's own time-out, and how much later a node that says nothing is given up. */
const TIMEOUT_MS = 5_000;
const SILENCE_MS = 8_000;
/** Before a node that could not be reached is tried again. */
const PAUSE_MS = 100;
const RECORDS_A_REQUEST_MAX = 6;

const partitionName = ({ topic }: ClusterLoad, partition: number): string => `${topic}-${partition}`;

// ---- Values

/** An identity, and a filling of 0 to 600 bytes that follows from it. */
export const valueOf = (id: string): string => {
  let hash = 0;
  for (let at = 0; at < id.length; at++) hash = (Math.imul(hash, 31) + id.charCodeAt(at)) >>> 0;
  return `${id}|${hash.toString(36).repeat(hash % 101)}`;
};

/** The identity; of a value that is not whole, the value itself, which nobody sent. */
export const identityOf = (value: string): string => {
  const id = value.slice(0, Math.max(0, value.indexOf('|')));
  return valueOf(id) === value ? id : value.slice(0, 200);
};

// ---- Writers

/** A connection to one node, for one writer. */
interface Line {
  /** Rejects where the connection breaks; the outcome is unknown then. */
  send(partition: number, values: readonly string[]): Promise<Outcome>;
  close(): void | Promise<void>;
}

type Door = (load: ClusterLoad, node: ClusterNode) => Line | Promise<Line>;

const judged = (answer: { readonly code: string; readonly outcome: unknown }): Outcome =>
  answer.outcome === 'unknown' ? UNKNOWN : { kind: 'refused', code: answer.code };

const httpOutcome = ({ status, body }: HttpAnswer): Outcome => {
  const answer = JSON.parse(body.toString()) as { code: string; outcome?: string; offsets: { offset: number }[] };
  return status === 200
    ? { kind: 'acknowledged', offsets: answer.offsets.map(each => each.offset) }
    : judged({ outcome: '', ...answer });
};

const rest: Door = ({ topic }, node) => {
  const http = new HttpClient(node.http);
  return {
    send: async (partition, values) =>
      httpOutcome(
        await http.send({
          method: 'POST',
          path: `/v1/topics/${topic}/partitions/${partition}/records?timeout_ms=${TIMEOUT_MS}`,
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ records: values.map(value => ({ value_text: value })) }),
        }),
      ),
    close: () => http.close(),
  };
};

const webSocket: Door = async ({ topic }, node) => {
  const socket = await TestSocket.open(`http://${node.http}`);
  let id = 0;
  return {
    async send(partition, values) {
      const records = values.map(value => ({ value_text: value }));
      const frame = await socket.ask({ id: id++, op: 'produce', topic, partition, timeout_ms: TIMEOUT_MS, records });
      const { problem } = frame;
      if (problem !== undefined) return judged({ outcome: '', ...problem });
      return { kind: 'acknowledged', offsets: (frame.offsets ?? []).map(({ offset }) => offset!) };
    },
    close: () => socket[Symbol.asyncDispose](),
  };
};

const grpcOutcome = (answer: Answer): Outcome => {
  if (answer.case === 'error') return judged({ code: answer.value.code, outcome: answer.value.facts['outcome'] });
  if (answer.case !== 'ack') throw new Error('an answer without a result');
  const { baseOffset, count } = answer.value;
  return { kind: 'acknowledged', offsets: Array.from({ length: count }, (_, index) => Number(baseOffset) + index) };
};

const grpc =
  (form: 'batches' | 'records', acks: Acks = Acks.ALL): Door =>
  ({ topic }, node) => {
    const client = new GrpcClient(node.grpc);
    const stream: ProduceStream = client.produce();
    return {
      async send(partition, values) {
        const where = { topic, partition, acks, timeoutMs: TIMEOUT_MS };
        const outcome = grpcOutcome(
          await stream.send(
            form === 'batches'
              ? { ...where, batches: batchOf(values) }
              : { ...where, records: values.map(value => ({ value: Buffer.from(value) })) },
          ),
        );
        // Answered before it is committed, it may be lost with its leader.
        return acks === Acks.LEADER && outcome.kind === 'acknowledged' ? UNKNOWN : outcome;
      },
      close: () => client.close(),
    };
  };

const batchOf = (values: readonly string[]): Uint8Array => {
  const builder = new BatchBuilder({ codec: 'zstd' });
  for (const value of values) builder.append({ key: null, value, timestamp: Date.now() });
  return builder.build();
};

/** It finds the leaders by itself, from whatever node it begins at. */
const sdk: Door = ({ topic, nodes }, node) => {
  const others = nodes.filter(each => each !== node);
  const client = new Sluice({ servers: [node.grpc, ...others.map(each => each.grpc)] });
  const producer: Producer<string | Uint8Array, string | Uint8Array> = client.producer({
    topic,
    lingerMs: 1,
    deliveryTimeoutMs: TIMEOUT_MS,
  });
  return {
    async send(partition, values) {
      const tickets = values.map(value => producer.enqueue({ value, partition }));
      const settled = await Promise.allSettled(tickets.map(ticket => ticket.ack()));
      const errors = settled.flatMap(each => (each.status === 'rejected' ? [each.reason as unknown] : []));
      if (errors.length === 0) {
        return {
          kind: 'acknowledged',
          offsets: settled.map(each => (each as PromiseFulfilledResult<Delivery>).value.offset),
        };
      }
      const refused = errors.filter(
        (error): error is SluiceError => error instanceof SluiceError && error.outcome !== 'unknown',
      );
      // A part of them was written, or may be.
      return refused.length < values.length ? UNKNOWN : { kind: 'refused', code: refused[0]!.code };
    },
    async close() {
      producer.close();
      await client.close();
    },
  };
};

const writers: Readonly<Record<string, Door>> = {
  rest,
  websocket: webSocket,
  'grpc-batches': grpc('batches'),
  'grpc-records': grpc('records'),
  'grpc-leader': grpc('records', Acks.LEADER),
  sdk,
};

/** What came of it in time. */
async function inTime<T>(work: Promise<T>, ms = SILENCE_MS): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const silence = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('nothing was heard')), ms);
  });
  try {
    return await Promise.race([work, silence]);
  } finally {
    clearTimeout(timer);
    work.catch(() => {});
  }
}

const pause = (): Promise<void> =>
  new Promise(resolve => {
    setTimeout(resolve, PAUSE_MS);
  });

const anyNode = ({ nodes, random }: ClusterLoad): ClusterNode => nodes[Math.floor(random() * nodes.length)]!;

/** Requests before a writer goes to another node without need. */
const REQUESTS_A_LINE_MAX = 200;

async function write(load: ClusterLoad, name: string, door: Door): Promise<void> {
  let number = 0;
  while (!load.over.aborted) {
    const line = await inTime(Promise.resolve(door(load, anyNode(load)))).catch(() => null);
    if (line === null) {
      await pause();
      continue;
    }
    for (let left = 1 + Math.floor(load.random() * REQUESTS_A_LINE_MAX); left > 0 && !load.over.aborted; left--) {
      const partition = Math.floor(load.random() * load.partitionCount);
      const ids = Array.from(
        { length: 1 + Math.floor(load.random() * RECORDS_A_REQUEST_MAX) },
        () => `${name}/${number++}`,
      );
      const where = partitionName(load, partition);
      const sends = ids.map(id => load.history.send(`${name}/${where}`, { partition: where, value: id }));
      const outcome = await inTime(line.send(partition, ids.map(valueOf))).catch(() => null);
      settle(sends, outcome ?? UNKNOWN);
      load.tally.note(name, outcome ?? UNKNOWN);
      if (outcome === null) {
        await pause();
        break;
      }
    }
    await line.close();
  }
}

function settle(sends: readonly OpenSend[], outcome: Outcome): void {
  if (outcome.kind === 'acknowledged' && outcome.offsets.length !== sends.length) {
    throw new Error(`${outcome.offsets.length} offsets for ${sends.length} records`);
  }
  for (const [index, send] of sends.entries()) {
    if (outcome.kind === 'acknowledged') send.acknowledge(outcome.offsets[index]!);
    else if (outcome.kind === 'refused') send.refuse();
  }
}

// ---- Readers

/** Reads on from where it stands until its node fails it, it had enough, or the load is over. */
type ReadOn = (node: ClusterNode) => Promise<void>;

interface RecordForm {
  readonly partition: number;
  readonly offset: number;
  readonly value_text?: string;
}

const readOf = ({ offset, value_text: text }: RecordForm): ReadRecord => ({ offset, value: identityOf(text ?? '') });

/** After so many records a reader goes to another node without need. */
const RECORDS_A_NODE = 3_000;

function see(load: ClusterLoad, reader: string, forms: readonly RecordForm[]): void {
  load.tally.seen(reader, forms.length);
  for (const form of forms) load.history.poll(reader, partitionName(load, form.partition), [readOf(form)]);
}

const readEvents = (load: ClusterLoad, name: string): ReadOn => {
  let cursor = '';
  return async node => {
    const url = `http://${node.http}/v1/topics/${load.topic}/records?values=text`;
    const reader = new EventSourceReader(url, cursor === '' ? {} : { lastEventId: cursor });
    const stop = (): void => reader.close();
    load.over.addEventListener('abort', stop, { once: true });
    let seen = 0;
    try {
      while (seen < RECORDS_A_NODE) {
        await inTime(reader.until(({ events }) => events.length > seen));
        for (; seen < reader.events.length; seen++) {
          const { event, data, id } = reader.events[seen]!;
          if (event !== 'message') return;
          see(load, name, [JSON.parse(data) as RecordForm]);
          cursor = id;
        }
      }
    } finally {
      load.over.removeEventListener('abort', stop);
      reader.close();
    }
  };
};

const readFrames = (load: ClusterLoad, name: string): ReadOn => {
  let cursor = '';
  return async node => {
    await using socket = await inTime(TestSocket.open(`http://${node.http}`));
    const stop = (): void => socket.raw.terminate();
    load.over.addEventListener('abort', stop, { once: true });
    try {
      const where = cursor === '' ? { from: 'earliest' } : { cursor };
      await inTime(socket.subscribe({ topic: load.topic, values: 'text', ...where }));
      for (let seen = 0; seen < RECORDS_A_NODE; ) {
        const frame = await inTime(socket.next());
        if (frame.op !== 'records') return;
        const forms = (frame.records ?? []) as unknown as RecordForm[];
        see(load, name, forms);
        cursor = frame.cursor ?? cursor;
        seen += forms.length;
      }
    } finally {
      load.over.removeEventListener('abort', stop);
    }
  };
};

const readStream = (load: ClusterLoad, name: string, partition: number): ReadOn => {
  let next = 0;
  return async node => {
    const client = new GrpcClient(node.grpc);
    const read = client.read({
      topic: load.topic,
      partition,
      form: Form.RECORDS,
      from: { case: 'offset', value: BigInt(next) },
    });
    const stop = (): void => client.close();
    load.over.addEventListener('abort', stop, { once: true });
    try {
      for (let seen = 0; seen < RECORDS_A_NODE; ) {
        const { value: response, done } = await inTime(read.next());
        if (done === true) return;
        if (response.payload.case !== 'records') continue;
        const { records } = response.payload.value;
        see(
          load,
          name,
          records.map(({ offset, value }) => ({
            partition,
            offset: Number(offset),
            value_text: Buffer.from(value ?? []).toString(),
          })),
        );
        next = Number(records.at(-1)?.offset ?? next - 1) + 1;
        seen += records.length;
      }
    } finally {
      load.over.removeEventListener('abort', stop);
      // Ends the call, whose generator may wait for ever otherwise.
      client.close();
      void read.return(undefined).catch(() => {});
    }
  };
};

const readLines = (load: ClusterLoad, name: string, partition: number): ReadOn => {
  let next = 0;
  return async node => {
    const http = new HttpClient(node.http);
    const stop = (): void => http.close();
    load.over.addEventListener('abort', stop, { once: true });
    try {
      const path = `/v1/topics/${load.topic}/partitions/${partition}/records?offset=${next}&values=text&wait=1000&limit=2000`;
      const answer = await inTime(http.open({ path, headers: { accept: 'application/x-ndjson' } }));
      if (answer.statusCode !== 200) {
        answer.resume();
        await pause();
        return;
      }
      const lines = createInterface({ input: answer, crlfDelay: Number.POSITIVE_INFINITY })[Symbol.asyncIterator]();
      for (;;) {
        const { value: line, done } = await inTime(lines.next());
        if (done === true) return;
        // The last line of a stream that broke may be cut short.
        const form = parsed(line);
        if (form === null) return;
        see(load, name, [form]);
        next = form.offset + 1;
      }
    } finally {
      load.over.removeEventListener('abort', stop);
      http.close();
    }
  };
};

const parsed = (line: string): RecordForm | null => {
  try {
    return JSON.parse(line) as RecordForm;
  } catch {
    return null;
  }
};

/** It follows the leaders by itself, and is begun again only where it gave up. */
const readMessages = (load: ClusterLoad, name: string): ReadOn => {
  let positions: Map<number, number> | null = null;
  return async node => {
    const others = load.nodes.filter(each => each !== node);
    const client = new Sluice({ servers: [node.grpc, ...others.map(each => each.grpc)] });
    const from = positions === null ? ('earliest' as const) : { positions };
    const reader = client.reader({ topic: load.topic, from, signal: load.over });
    try {
      for await (const { partition, offset, valueBytes } of reader) {
        see(load, name, [{ partition, offset, value_text: Buffer.from(valueBytes ?? []).toString() }]);
        positions = reader.positions();
      }
    } finally {
      reader.close();
      await client.close();
    }
  };
};

async function read(load: ClusterLoad, readOn: ReadOn): Promise<void> {
  while (!load.over.aborted) {
    const isDone = await readOn(anyNode(load)).then(
      () => true,
      () => false,
    );
    if (!isDone && !load.over.aborted) await pause();
  }
}

/** Until the load is over and all have ended. */
export async function runLoad(load: ClusterLoad, writersOfAKind = 1): Promise<void> {
  const work: Promise<void>[] = [];
  for (const [kind, door] of Object.entries(writers)) {
    for (let index = 0; index < writersOfAKind; index++) work.push(write(load, `${kind}-${index}`, door));
  }
  work.push(
    read(load, readEvents(load, 'events')),
    read(load, readFrames(load, 'frames')),
    read(load, readMessages(load, 'sdk')),
  );
  for (let partition = 0; partition < load.partitionCount; partition++) {
    work.push(read(load, readStream(load, `stream-${partition}`, partition)));
    work.push(read(load, readLines(load, `lines-${partition}`, partition)));
  }
  await Promise.all(work);
}
