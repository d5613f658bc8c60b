// Which partitions a read covers and where it begins, from the parameters that every door has under the same names: `from`,
// `offset`, `timestamp`, `tail`, `cursor`, `partitions`, `reset`. A door checks their types; what only the topic can tell
// is judged here.
//
// Guarantees: a refusal names the parameter. Positions come back one a partition.

import type { Problem, Result } from '@sluice/protocol/errors';
import { accepted, refused } from '@sluice/protocol/errors';
import { isOffset } from '@sluice/protocol/ids';
import { READ_PARTITIONS_MAX } from '../base/limits.ts';
import type { Broker, FetchPosition, OffsetQuery, TopicView } from '../broker/broker.ts';
import { offsetRangeFacts } from '../broker/broker.ts';
import { decodeCursor } from './cursor.ts';
import { chosenPartitions } from './partition-list.ts';
import { invalidTimestamp, parseTimestamp } from './timestamp-text.ts';

export type StartParameters = Readonly<Record<string, string | number | boolean | undefined>>;

/** What a position that the log no longer has is replaced with; null refuses it. */
export type Reset = 'earliest' | 'latest' | null;

export interface ReadTarget {
  readonly topic: TopicView;
  /** The one partition that the read names; null for a read over several. */
  readonly partition: number | null;
  readonly partitions: readonly number[];
}

const START_PARAMETERS = ['from', 'offset', 'timestamp', 'tail', 'cursor'] as const;

/** True when the read begins wherever the log begins. */
export const startsAtEarliest = (parameters: StartParameters): boolean =>
  !START_PARAMETERS.some(name => parameters[name] !== undefined) || parameters['from'] === 'earliest';

/** The same read from a cursor, whatever start it named. */
export const startingAtCursor = <T extends StartParameters>(parameters: T, cursor: string): T => {
  const starts: readonly string[] = START_PARAMETERS;
  const others = Object.entries(parameters).filter(([name]) => !starts.includes(name));
  return { ...Object.fromEntries(others), cursor } as unknown as T;
};

export const resetOf = (parameters: StartParameters): Reset => (parameters['reset'] as Reset | undefined) ?? null;

/** Relies on a partition that the topic has. */
export const readTarget = (
  topic: TopicView,
  partition: number | null,
  parameters: StartParameters,
): Result<ReadTarget> => {
  const starts = START_PARAMETERS.filter(name => parameters[name] !== undefined);
  if (starts.length > 1) {
    const detail = `a read has one start, not ${starts.join(' and ')}`;
    return refused('INVALID_REQUEST', detail, { field: starts[1]! });
  }
  const named = parameters['partitions'];
  const partitions =
    partition === null
      ? chosenPartitions(topic, named === undefined ? undefined : String(named))
      : accepted([partition]);
  if (!partitions.ok) return partitions;
  if (partitions.value.length > READ_PARTITIONS_MAX && parameters['cursor'] === undefined) {
    const detail = `one read covers at most ${READ_PARTITIONS_MAX} partitions; choose some, as partitions=0-255`;
    return refused('INVALID_REQUEST', detail, { field: 'partitions', partition_count: topic.partitionCount });
  }
  return accepted({ topic, partition, partitions: partitions.value });
};

/** Where each partition begins to be read. An offset or a cursor is taken as it stands: the log is not asked. */
export const startPositions = async (
  broker: Broker,
  target: ReadTarget,
  parameters: StartParameters,
): Promise<Result<readonly FetchPosition[]>> => {
  if (parameters['cursor'] !== undefined) return cursorPositions(String(parameters['cursor']), target, parameters);
  const asked = parameters['offset'];
  if (asked !== undefined && asked !== 'earliest' && asked !== 'latest') {
    const start = Number(asked);
    if (!isOffset(start)) return refused('INVALID_REQUEST', 'the offset is too large', { field: 'offset' });
    return accepted(target.partitions.map(partition => ({ partition, offset: start })));
  }
  const query = offsetQuery(parameters);
  if ('code' in query) return { ok: false, problem: query };
  const { topic, partitions } = target;
  const listed = await broker.listOffsets({ topic: topic.name, partitions, query });
  if (!listed.ok) return listed;
  const isLatest = asked === 'latest' || parameters['from'] === 'latest';
  return accepted(
    listed.value.map(({ partition, earliestOffset, highWatermark, found }) => {
      if (query.kind !== 'none') return { partition, offset: found?.offset ?? highWatermark };
      return { partition, offset: isLatest ? highWatermark : earliestOffset };
    }),
  );
};

const offsetQuery = (parameters: StartParameters): OffsetQuery | Problem => {
  if (parameters['tail'] !== undefined) return { kind: 'tail', count: Number(parameters['tail']) };
  if (parameters['timestamp'] === undefined) return { kind: 'none' };
  const timestampMs = parseTimestamp(String(parameters['timestamp']));
  return timestampMs === null ? invalidTimestamp() : { kind: 'timestamp', timestampMs };
};

const cursorPositions = (
  text: string,
  target: ReadTarget,
  parameters: StartParameters,
): Result<readonly FetchPosition[]> => {
  const { topic, partition, partitions } = target;
  const cursor = decodeCursor(text);
  if (cursor === null) return refused('INVALID_CURSOR', 'this is not a cursor of this service', { field: 'cursor' });
  if (cursor.topicId !== topic.id) {
    const detail = `the cursor belongs to another topic, or to a topic ${topic.name} that was deleted since`;
    return refused('INVALID_CURSOR', detail, { field: 'cursor' });
  }
  const named = cursor.positions.map(position => position.partition);
  if (named.some(number => number >= topic.partitionCount)) {
    return refused('INVALID_CURSOR', 'the cursor names a partition that the topic does not have', { field: 'cursor' });
  }
  if (partition !== null && (named.length !== 1 || named[0] !== partition)) {
    return refused('INVALID_CURSOR', `the cursor is of other partitions than ${partition}`, { field: 'cursor' });
  }
  const isChosen = parameters['partitions'] !== undefined;
  if (isChosen && (named.length !== partitions.length || named.some(number => !partitions.includes(number)))) {
    return refused('INVALID_CURSOR', 'the cursor is of other partitions than the request', { field: 'cursor' });
  }
  return accepted(cursor.positions);
};

/**
 * Positions that the log has, before anything is sent: one that retention overtook is refused, or replaced as `reset`
 * says; one above the high watermark is refused always.
 */
export const positionsInLog = async (
  broker: Broker,
  topic: string,
  { positions, reset }: { readonly positions: readonly FetchPosition[]; readonly reset: Reset },
): Promise<Result<readonly FetchPosition[]>> => {
  const partitions = positions.map(position => position.partition);
  const listed = await broker.listOffsets({ topic, partitions, query: { kind: 'none' } });
  if (!listed.ok) return listed;
  const inLog: FetchPosition[] = [];
  for (const [index, { partition, earliestOffset, highWatermark }] of listed.value.entries()) {
    const { offset } = positions[index]!;
    if (offset >= earliestOffset && offset <= highWatermark) inLog.push({ partition, offset });
    else if (offset < earliestOffset && reset !== null) {
      inLog.push({ partition, offset: reset === 'earliest' ? earliestOffset : highWatermark });
    } else {
      const detail = `offset ${offset} of partition ${partition} is outside ${earliestOffset} to ${highWatermark}`;
      const facts = { partition, offset, ...offsetRangeFacts(earliestOffset, highWatermark) };
      return refused('OFFSET_OUT_OF_RANGE', detail, facts);
    }
  }
  return accepted(inLog);
};
