// How many replicas each broker has, kept with every change of partitions.

import type { NodeId } from '@sluice/protocol/ids';
import type { BrokerLoad, ClusterImage } from './image.ts';
import type { ClusterPartition } from './record.ts';

type Loads = ClusterImage['loads'];

/** With the replicas of `partitions` added (`by` 1) or taken off (-1). Null when one is at a broker that is not there. */
export const changedLoads = (loads: Loads, partitions: readonly ClusterPartition[], by: 1 | -1): Loads | null => {
  const changed = new Map<NodeId, { -readonly [K in keyof BrokerLoad]: BrokerLoad[K] }>();
  for (const { replicas } of partitions) {
    for (const [index, { nodeId }] of replicas.entries()) {
      let load = changed.get(nodeId);
      if (load === undefined) {
        const before = loads.get(nodeId);
        if (before === undefined) return null;
        load = { ...before };
        changed.set(nodeId, load);
      }
      load.replicas += by;
      if (index === 0) load.preferred += by;
    }
  }
  let next = loads;
  for (const [id, load] of changed) next = next.with(id, load);
  return next;
};
