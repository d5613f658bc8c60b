// One record: as JSON, or its value as it is with the rest in response headers.

import type { OutgoingHttpHeaders } from 'node:http';
import type { Result } from '@sluice/protocol/errors';
import { accepted, problem, refused } from '@sluice/protocol/errors';
import { isOffset } from '@sluice/protocol/ids';
import { BatchView, RecordCursor, recordHeaders } from '@sluice/protocol/record';
import type { FetchPosition, Isolation, TopicView } from '../../broker/broker.ts';
import { offsetRangeFacts } from '../../broker/broker.ts';
import type { GatewayContext } from '../gateway.ts';
import { recordPrefix, renderRecord } from '../record-json.ts';
import { decodeProblem } from '../record-reader.ts';
import { TextBuffer } from '../text-buffer.ts';
import type { Query } from './contract.ts';
import type { Exchange } from './exchange.ts';
import { preferredType } from './preferred-type.ts';
import { valueForm } from './read-plan.ts';
import { findPartition, findTopic, pathInteger } from './topic-lookup.ts';

const RECORD_TYPES = ['application/json', 'application/octet-stream'] as const;

/** Key and headers of a raw record stand in response headers; clients refuse much longer ones. */
const HEADER_VALUE_CHARS_MAX = 8_192;

export const answerRecord = async (context: GatewayContext, exchange: Exchange, query: Query): Promise<void> => {
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
