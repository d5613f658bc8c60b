// How long targets of large groups take: `node bench/micro/assignor.ts`. A call makes one target; bytes are its partitions.

import { topicId } from '@sluice/protocol/ids';
import {
  type Assignment,
  type Assignor,
  type AssignorRequest,
  rangeAssignor,
  roundRobinAssignor,
} from '../../server/state/groups/assignor.ts';
import { uniformAssignor } from '../../server/state/groups/uniform-assignor.ts';
import { measure } from './measuring.ts';

const TOPICS = 10;

interface Size {
  readonly members: number;
  readonly partitions: number;
  /** Every member leaves out another topic. */
  readonly isMixed: boolean;
}

const topics = (partitions: number) =>
  Array.from({ length: TOPICS }, (_, index) => ({
    topicId: topicId(`00000000-0000-4000-8000-${index.toString().padStart(12, '0')}`),
    partitionCount: partitions / TOPICS,
  }));

const request = ({ members, partitions, isMixed }: Size, previous?: Assignment): AssignorRequest => {
  const all = topics(partitions);
  return {
    topics: all,
    members: Array.from({ length: members }, (_, index) => ({
      memberId: `m${index}`,
      topics: new Set(all.filter((_topic, at) => !isMixed || at !== index % TOPICS).map(topic => topic.topicId)),
      previous: previous?.get(`m${index}`) ?? new Map(),
    })),
  };
};

const assignors: readonly (readonly [string, Assignor])[] = [
  ['range', rangeAssignor],
  ['round-robin', roundRobinAssignor],
  ['uniform', uniformAssignor],
];

for (const [members, partitions] of [
  [100, 1_000],
  [100, 10_000],
  [1_000, 10_000],
] as const) {
  for (const isMixed of [false, true]) {
    for (const [name, assign] of assignors) {
      const size = { members, partitions, isMixed };
      const fresh = request(size);
      const after = request({ ...size, members: members + 1 }, assign(fresh));
      const what = `${name}, ${members} members, ${partitions} partitions${isMixed ? ', mixed' : ''}`;
      const calls = { unit: 'calls', bytes: partitions } as const;
      measure(`${what}: from nothing`, calls, () => assign(fresh).size / members);
      measure(`${what}: one more member`, calls, () => assign(after).size / (members + 1));
    }
  }
}
