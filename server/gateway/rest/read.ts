// Reading: a JSON page, a stream of lines, or one record.
//
// The start of a read is resolved to one offset a partition; from then on it is a RecordReader and a rendering. A page is
// filled from as many fetches as it takes to have records, and empty only at the end; a stream ends at the high
// watermark as of its first fetch, or, with `wait`, once nothing came for that long.

import type { OutgoingHttpHeaders } from 'node:http';
import type { Problem, Result } from '@sluice/protocol/errors';
import { accepted, problem, refused } from '@sluice/protocol/errors';
import type { Offset, TopicId } from '@sluice/protocol/ids';
import { isOffset, offset } from '@sluice/protocol/ids';
import { BatchView, RecordCursor, recordHeaders } from '@sluice/protocol/record';
import { READ_BYTES_DEFAULT, READ_LIMIT_DEFAULT, READ_PARTITIONS_MAX } from '../../base/limits.ts';
import type { FetchPosition, Isolation, OffsetQuery, TopicView } from '../../broker/broker.ts';
import { offsetRangeFacts } from '../../broker/broker.ts';
import { decodeCursor, encodeCursor } from '../cursor.ts';
import type { GatewayContext } from '../gateway.ts';
import type { ValueForm } from '../record-json.ts';
import { recordPrefix, renderRecord } from '../record-json.ts';
import type { RecordVisitor } from '../record-reader.ts';
import { decodeProblem, RecordReader } from '../record-reader.ts';
import { TextBuffer } from '../text-buffer.ts';
import { parseTimestamp } from '../timestamp-text.ts';
import { invalidTimestamp } from './admin.ts';
import type { Query } from './contract.ts';
import type { Exchange } from './exchange.ts';
import type { Handler, HandlerTable } from './handlers.ts';
import { chosenPartitions } from './partition-list.ts';
import { preferredType } from './preferred-type.ts';
import { findPartition, findTopic, pathInteger } from './topic-lookup.ts';

const PAGE_TYPES = ['application/json', 'application/x-ndjson', 'text/plain'] as const;
const RECORD_TYPES = ['application/json', 'application/octet-stream'] as const;
const START_PARAMETERS = ['from', 'offset', 'timestamp', 'tail', 'cursor'] as const;

/** How often a start at the earliest record is looked up again when retention overtakes it. */
const EARLIEST_ATTEMPTS = 3;

/** Key and headers of a raw record stand in response headers; clients refuse much longer ones. */
const HEADER_VALUE_CHARS_MAX = 8_192;

const LINE_END = 0x0a;
const COMMA = 0x2c;

interface ReadPlan {
  readonly topic: TopicView;
  /** The partition of the path; null for a read over several. */
  readonly partition: number | null;
  readonly partitions: readonly number[];
  readonly isolation: Isolation;
  readonly bytesMax: number;
  /** null: without bound. */
  readonly limit: number | null;
  readonly waitMs: number;
  readonly form: ValueForm;
}

export const createReadHandlers = (context: GatewayContext): HandlerTable => {
  let turn = 0;
  const read: Handler = async (exchange, query) => {
    const type = preferredType(exchange, PAGE_TYPES);
    if (type === null) {
      exchange.problem(problem('NOT_ACCEPTABLE', `records are rendered as ${PAGE_TYPES.join(', ')}`));
      return;
    }
    const plan = makePlan(context, exchange, query);
    if (!plan.ok) {
      exchange.problem(plan.problem);
      return;
    }
    turn = (turn + 1) % 0x7fffffff;
    const isEarliest = !START_PARAMETERS.some(name => query[name] !== undefined) || query['from'] === 'earliest';
    for (let attempt = 1; ; attempt++) {
      const start = await startPositions(context, plan.value, query);
      if (!start.ok) {
        exchange.problem(start.problem);
        return;
      }
      const { topic, isolation } = plan.value;
      const reader = new RecordReader({ broker: context.broker, topic: topic.name, isolation }, start.value, turn);
      const refusal =
        type === 'application/json'
          ? await answerPage(exchange, plan.value, reader)
          : await answerLines(exchange, plan.value, { reader, type });
      if (refusal === null) return;
      if (refusal.code !== 'OFFSET_OUT_OF_RANGE' || !isEarliest || attempt === EARLIEST_ATTEMPTS) {
        exchange.problem(refusal);
        return;
      }
    }
  };
  return {
    readTopic: { verb: 'fetch', handle: read },
    readPartition: { verb: 'fetch', handle: read },
    getRecord: { verb: 'fetch', handle: (exchange, query) => answerRecord(context, exchange, query) },
  };
};

const makePlan = (context: GatewayContext, exchange: Exchange, query: Query): Result<ReadPlan> => {
  const topic = findTopic(context.broker, exchange);
  if (!topic.ok) return topic;
  let partition: number | null = null;
  if (exchange.params['partition'] !== undefined) {
    const found = findPartition(exchange, topic.value);
    if (!found.ok) return found;
    partition = found.value;
  }
  const starts = START_PARAMETERS.filter(name => query[name] !== undefined);
  if (starts.length > 1) {
    const detail = `a read has one start, not ${starts.join(' and ')}`;
    return refused('INVALID_REQUEST', detail, { field: starts[1]! });
  }
  const partitions = partition === null ? chosenPartitions(topic.value, query['partitions']) : accepted([partition]);
  if (!partitions.ok) return partitions;
  if (partitions.value.length > READ_PARTITIONS_MAX && query['cursor'] === undefined) {
    const detail = `one read covers at most ${READ_PARTITIONS_MAX} partitions; choose some, as partitions=0-255`;
    return refused('INVALID_REQUEST', detail, { field: 'partitions', partition_count: topic.value.partitionCount });
  }
  return accepted({
    topic: topic.value,
    partition,
    partitions: partitions.value,
    isolation: query['isolation'] as Isolation,
    bytesMax: Number(query['max_bytes'] ?? READ_BYTES_DEFAULT),
    limit: query['limit'] === undefined ? null : Number(query['limit']),
    waitMs: Number(query['wait'] ?? 0),
    form: valueForm(query),
  });
};

const valueForm = (query: Query): ValueForm => (query['values'] as ValueForm | undefined) ?? 'auto';

/** Where each partition begins to be read. */
const startPositions = async (
  context: GatewayContext,
  plan: ReadPlan,
  query: Query,
): Promise<Result<readonly FetchPosition[]>> => {
  if (query['cursor'] !== undefined) return cursorPositions(String(query['cursor']), plan, query);
  const asked = query['offset'];
  if (asked !== undefined && asked !== 'earliest' && asked !== 'latest') {
    const start = Number(asked);
    if (!isOffset(start))
      return refused('INVALID_REQUEST', 'the query parameter offset is too large', { field: 'offset' });
    return accepted(plan.partitions.map(partition => ({ partition, offset: start })));
  }
  const wanted = offsetQuery(query);
  if ('code' in wanted) return { ok: false, problem: wanted };
  const listed = await context.broker.listOffsets({
    topic: plan.topic.name,
    partitions: plan.partitions,
    query: wanted,
  });
  if (!listed.ok) return listed;
  const isLatest = asked === 'latest' || query['from'] === 'latest';
  return accepted(
    listed.value.map(({ partition, earliestOffset, highWatermark, found }) => {
      if (wanted.kind !== 'none') return { partition, offset: found?.offset ?? highWatermark };
      return { partition, offset: isLatest ? highWatermark : earliestOffset };
    }),
  );
};

const offsetQuery = (query: Query): OffsetQuery | Problem => {
  if (query['tail'] !== undefined) return { kind: 'tail', count: Number(query['tail']) };
  if (query['timestamp'] === undefined) return { kind: 'none' };
  const timestampMs = parseTimestamp(String(query['timestamp']));
  return timestampMs === null ? invalidTimestamp() : { kind: 'timestamp', timestampMs };
};

const cursorPositions = (text: string, plan: ReadPlan, query: Query): Result<readonly FetchPosition[]> => {
  const cursor = decodeCursor(text);
  if (cursor === null) return refused('INVALID_CURSOR', 'this is not a cursor of this service', { field: 'cursor' });
  if (cursor.topicId !== plan.topic.id) {
    const detail = `the cursor belongs to another topic, or to a topic ${plan.topic.name} that was deleted since`;
    return refused('INVALID_CURSOR', detail, { field: 'cursor' });
  }
  const named = cursor.positions.map(position => position.partition);
  if (named.some(partition => partition >= plan.topic.partitionCount)) {
    return refused('INVALID_CURSOR', 'the cursor names a partition that the topic does not have', { field: 'cursor' });
  }
  if (plan.partition !== null && (named.length !== 1 || named[0] !== plan.partition)) {
    const detail = `the cursor is of other partitions than ${plan.partition}`;
    return refused('INVALID_CURSOR', detail, { field: 'cursor' });
  }
  const chosen = query['partitions'];
  if (
    chosen !== undefined &&
    (named.length !== plan.partitions.length || named.some(p => !plan.partitions.includes(p)))
  ) {
    return refused('INVALID_CURSOR', 'the cursor is of other partitions than the request', { field: 'cursor' });
  }
  return accepted(cursor.positions);
};

const cursorOf = (topicId: TopicId, reader: RecordReader): string =>
  encodeCursor({ topicId, positions: reader.positions });

/** Renders records as they are visited, up to a limit. */
class Rendering implements RecordVisitor {
  readonly out = new TextBuffer();
  count = 0;
  readonly #prefixes = new Map<number, string>();
  readonly #plan: ReadPlan;
  readonly #style: 'page' | 'lines' | 'text';
  readonly #limit: number;
  #markedLength = 0;
  #markedCount = 0;
  #separator = false;

  constructor(plan: ReadPlan, style: 'page' | 'lines' | 'text', limit: number) {
    this.#plan = plan;
    this.#style = style;
    this.#limit = limit;
  }

  get isFull(): boolean {
    return this.count >= this.#limit;
  }

  visit(partition: number, cursor: RecordCursor): boolean {
    const { out } = this;
    if (this.#style === 'text') {
      // A tombstone has no value to show.
      if (cursor.valueStart < 0) return true;
      if (this.#plan.form === 'base64') out.base64(cursor.bytes, cursor.valueStart, cursor.valueEnd);
      else out.bytes(cursor.bytes, cursor.valueStart, cursor.valueEnd);
      out.byte(LINE_END);
    } else {
      if (this.#style === 'page') {
        if (this.#separator) out.byte(COMMA);
        this.#separator = true;
      }
      renderRecord(cursor, this.#prefix(partition), this.#plan.form, out);
      if (this.#style === 'lines') out.byte(LINE_END);
    }
    this.count++;
    return this.count < this.#limit;
  }

  mark(): void {
    this.#markedLength = this.out.length;
    this.#markedCount = this.count;
  }

  undo(): void {
    this.out.truncate(this.#markedLength);
    this.count = this.#markedCount;
    this.#separator = this.count > 0;
  }

  #prefix(partition: number): string {
    let prefix = this.#prefixes.get(partition);
    if (prefix === undefined) {
      prefix = recordPrefix(this.#plan.topic.name, partition);
      this.#prefixes.set(partition, prefix);
    }
    return prefix;
  }
}

/** Answers, or says why not. */
const answerPage = async (exchange: Exchange, plan: ReadPlan, reader: RecordReader): Promise<Problem | null> => {
  const { clock } = exchange.context;
  const rendering = new Rendering(plan, 'page', plan.limit ?? READ_LIMIT_DEFAULT);
  const { out } = rendering;
  out.ascii('{"records":[');
  const endsAtMs = clock.monotonicMs() + plan.waitMs;
  const signal = plan.waitMs > 0 ? exchange.signal : undefined;
  let bytes = 0;
  for (;;) {
    const waitMs = rendering.count > 0 ? 0 : Math.max(0, Math.ceil(endsAtMs - clock.monotonicMs()));
    const stepped = await reader.step({ bytesMax: plan.bytesMax - bytes, waitMs, signal }, rendering);
    if (exchange.isGone) return null;
    if (!stepped.ok) {
      // What was collected is an answer; the next request meets the refusal again.
      if (rendering.count > 0) break;
      return stepped.problem;
    }
    bytes += stepped.value.bytes;
    if (rendering.isFull || bytes >= plan.bytesMax) {
      if (rendering.count > 0) break;
      bytes = 0;
    }
    if (reader.isAtEnd && rendering.count > 0) break;
    // Nothing there, and the wait for it is over.
    if (!stepped.value.hasMoved) break;
  }
  out.ascii(`],"next":{"cursor":"${cursorOf(plan.topic.id, reader)}"}`);
  if (plan.partition !== null) out.ascii(`,"high_watermark":${reader.highWatermark(plan.partition) ?? 0}`);
  out.ascii('}');
  exchange.answer(200, 'application/json', out.take());
  return null;
};

/** Answers with lines until the end; says why not while nothing was sent yet. */
const answerLines = async (
  exchange: Exchange,
  plan: ReadPlan,
  { reader, type }: { readonly reader: RecordReader; readonly type: string },
): Promise<Problem | null> => {
  const style = type === 'text/plain' ? 'text' : 'lines';
  const rendering = new Rendering(plan, style, plan.limit ?? Number.POSITIVE_INFINITY);
  const { signal } = exchange;
  const { openStreams } = exchange.context.metrics;
  const targets = new Map<number, Offset>();
  let isBegun = false;
  let sentBytes = 0;
  openStreams.inc({ door: 'rest' });
  try {
    for (;;) {
      const stepped = await reader.step({ bytesMax: plan.bytesMax, waitMs: plan.waitMs, signal }, rendering);
      if (exchange.isGone) return null;
      if (!stepped.ok) {
        if (!isBegun) return stepped.problem;
        exchange.breakStream(stepped.problem.code);
        return null;
      }
      if (!isBegun) {
        isBegun = true;
        for (const { partition } of reader.positions) {
          targets.set(partition, reader.highWatermark(partition) ?? offset(0));
        }
        const contentType = style === 'text' ? 'text/plain; charset=utf-8' : type;
        exchange.beginStream(200, contentType, 'Sluice-Cursor');
        if (exchange.request.method === 'HEAD') break;
      }
      if (rendering.out.length > 0) {
        const chunk = rendering.out.take();
        sentBytes += chunk.length;
        if (!exchange.response.write(chunk)) await drained(exchange);
        if (exchange.isGone) return null;
      }
      const isDone = plan.waitMs === 0 && reader.positions.every(at => at.offset >= (targets.get(at.partition) ?? 0));
      if (rendering.isFull || isDone || !stepped.value.hasMoved || signal.aborted) break;
    }
    exchange.finishStream(sentBytes, { 'Sluice-Cursor': cursorOf(plan.topic.id, reader) });
    return null;
  } finally {
    openStreams.dec({ door: 'rest' });
  }
};

/** Resolves when the client has taken enough of what was written, or is gone. */
const drained = (exchange: Exchange): Promise<void> =>
  new Promise(resolve => {
    const { response } = exchange;
    const done = (): void => {
      response.off('drain', done).off('close', done);
      resolve();
    };
    response.on('drain', done).on('close', done);
    if (exchange.isGone) done();
  });

const answerRecord = async (context: GatewayContext, exchange: Exchange, query: Query): Promise<void> => {
  const type = preferredType(exchange, RECORD_TYPES);
  if (type === null) {
    exchange.problem(problem('NOT_ACCEPTABLE', `a record is rendered as ${RECORD_TYPES.join(' or ')}`));
    return;
  }
  const topic = findTopic(context.broker, exchange);
  const partition = topic.ok ? findPartition(exchange, topic.value) : topic;
  if (!topic.ok || !partition.ok) {
    if (!partition.ok) exchange.problem(partition.problem);
    return;
  }
  const at = pathInteger(exchange, 'offset');
  if (at === null || !isOffset(at)) {
    exchange.problem(problem('INVALID_REQUEST', 'an offset is a whole number below 2^53', { field: 'offset' }));
    return;
  }
  const isolation = query['isolation'] as Isolation;
  const position = { partition: partition.value, offset: at };
  const found = await findRecord(context, topic.value, { position, isolation });
  if (!found.ok) exchange.problem(found.problem);
  else if (type === 'application/json') {
    const out = new TextBuffer();
    renderRecord(found.value, recordPrefix(topic.value.name, partition.value), valueForm(query), out);
    exchange.answer(200, type, out.take());
  } else answerRaw(exchange, found.value, position, topic.value);
};

const findRecord = async (
  context: GatewayContext,
  topic: TopicView,
  { position, isolation }: { readonly position: FetchPosition; readonly isolation: Isolation },
): Promise<Result<RecordCursor>> => {
  const fetched = await context.broker.fetch({
    topic: topic.name,
    positions: [position],
    bytesMax: 1,
    isolation,
    waitMs: 0,
  });
  if (!fetched.ok) return fetched;
  const [part] = fetched.value;
  if (part === undefined || position.offset >= part.highWatermark) {
    const facts = part === undefined ? {} : offsetRangeFacts(part.earliestOffset, part.highWatermark);
    return refused('OFFSET_OUT_OF_RANGE', 'there is no record at this offset yet', facts);
  }
  for (const batch of part.batches) {
    const view = new BatchView(batch);
    if (view.lastOffset < position.offset || view.isControl) continue;
    if (view.baseOffset > position.offset) break;
    const opened = await RecordCursor.openOffLoop(batch);
    if (!opened.ok) return { ok: false, problem: decodeProblem(opened.fault, position.partition, view) };
    const { cursor } = opened;
    while (cursor.next()) {
      if (cursor.offset === position.offset) return accepted(cursor);
      if (cursor.offset > position.offset) break;
    }
    if (cursor.fault !== null) return { ok: false, problem: decodeProblem(cursor.fault, position.partition, view) };
    break;
  }
  const { partition, offset: at } = position;
  const detail = `offset ${at} of partition ${partition} holds no record for readers; it may have been compacted away`;
  return refused('RECORD_NOT_FOUND', detail, { partition, offset: at });
};

const answerRaw = (exchange: Exchange, cursor: RecordCursor, position: FetchPosition, topic: TopicView): void => {
  const headers: OutgoingHttpHeaders = {
    'Sluice-Topic': topic.name,
    'Sluice-Partition': position.partition,
    'Sluice-Offset': position.offset,
    'Sluice-Timestamp': cursor.timestamp,
  };
  const slice = (start: number, end: number): Buffer =>
    Buffer.from(cursor.bytes.buffer, cursor.bytes.byteOffset + start, end - start);
  if (cursor.keyStart >= 0) {
    const key = slice(cursor.keyStart, cursor.keyEnd);
    const text = key.toString('latin1');
    // Spaces at either end would be lost on the way.
    if (/^(?:[!-~](?:[ -~]*[!-~])?)?$/.test(text)) headers['Sluice-Key'] = text;
    else headers['Sluice-Key-Base64'] = key.toString('base64');
  }
  if (cursor.headerCount > 0) {
    const list = recordHeaders(cursor).map(({ key, value }) =>
      value === null ? { key, value } : { key, value_base64: Buffer.from(value).toString('base64') },
    );
    headers['Sluice-Headers'] = Buffer.from(JSON.stringify(list)).toString('base64url');
  }
  if (Object.values(headers).some(value => String(value).length > HEADER_VALUE_CHARS_MAX)) {
    const detail = 'key or headers of this record are too large for response headers; ask for application/json';
    exchange.problem(problem('NOT_ACCEPTABLE', detail));
    return;
  }
  if (cursor.valueStart < 0) headers['Sluice-Tombstone'] = 'true';
  const value = cursor.valueStart < 0 ? Buffer.alloc(0) : slice(cursor.valueStart, cursor.valueEnd);
  exchange.answer(200, 'application/octet-stream', value, headers);
};
