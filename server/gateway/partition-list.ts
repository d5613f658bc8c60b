// The `partitions` parameter: numbers and ranges, as 0-15,32. Relies on a text of that form.

import type { Result } from '@sluice/protocol/errors';
import { accepted, refused } from '@sluice/protocol/errors';
import { READ_PARTITIONS_MAX } from '../base/limits.ts';
import type { TopicView } from '../broker/broker.ts';
import { unknownPartition } from './topic-lookup.ts';

/** All partitions of the topic when none are named; ascending, each once. */
export const chosenPartitions = (topic: TopicView, text: string | undefined): Result<readonly number[]> => {
  if (text === undefined) return accepted(Array.from({ length: topic.partitionCount }, (_, partition) => partition));
  const chosen = new Set<number>();
  for (const range of text.split(',')) {
    const [first, last = first] = range.split('-').map(Number);
    if (first === undefined || last === undefined || last < first) {
      return refused('INVALID_REQUEST', `the range ${range} is empty`, { field: 'partitions' });
    }
    // The upper end is checked before the loop: a range may name billions.
    if (last >= topic.partitionCount) return unknownPartition(topic, last);
    for (let partition = first; partition <= last; partition++) chosen.add(partition);
  }
  if (chosen.size > READ_PARTITIONS_MAX) {
    return refused('INVALID_REQUEST', `one read covers at most ${READ_PARTITIONS_MAX} partitions`, {
      field: 'partitions',
    });
  }
  return accepted([...chosen].sort((a, b) => a - b));
};
