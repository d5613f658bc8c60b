// Which leaderships to move, given who leads now: back to the preferred replica, and away from brokers that are draining.
//
// Leadership is not metadata, so it comes in as an argument. The plan is gentle: a few at once, at most two at any broker, and
// only to replicas that are in sync, running and not draining. Whoever follows it asks again when those have moved; a
// transfer that failed is left out for a while through `skip`, or it would stand in the way of all the others for ever.

import type { NodeId, TopicId } from '@sluice/protocol/ids';
import { LEADER_TRANSFERS_MAX, LEADER_TRANSFERS_PER_BROKER_MAX } from '../../base/limits.ts';
import type { ClusterImage } from './image.ts';
import type { ClusterPartition } from './record.ts';

export interface PartitionPlace {
  readonly topicId: TopicId;
  readonly partition: number;
}

export interface Leadership {
  readonly leader: NodeId;
  readonly inSync: readonly NodeId[];
}

export interface LeaderTransfer extends PartitionPlace {
  readonly from: NodeId;
  readonly to: NodeId;
}

export interface LeadershipView {
  /** Null while there is no leader that this node knows of: nothing can be moved then. */
  leadership(place: PartitionPlace): Leadership | null;
  /** Under way, or tried a short while ago. */
  skip(place: PartitionPlace): boolean;
}

/** Who should lead instead, or null where all is well or nobody better can. */
const betterLeader = (image: ClusterImage, partition: ClusterPartition, now: Leadership): NodeId | null => {
  const mayLead = (id: NodeId): boolean => {
    const broker = image.brokers.get(id);
    return broker !== undefined && !broker.fenced && !broker.draining && now.inSync.includes(id);
  };
  const [preferred] = partition.replicas;
  if (preferred !== undefined && mayLead(preferred.nodeId)) {
    return preferred.nodeId === now.leader ? null : preferred.nodeId;
  }
  // The preferred one cannot, so whoever leads may go on, unless it is to be emptied.
  if (image.brokers.get(now.leader)?.draining !== true) return null;
  return partition.replicas.find(({ nodeId }) => nodeId !== now.leader && mayLead(nodeId))?.nodeId ?? null;
};

/** Transfers that are wanted, in the order of topics and partitions, draining brokers first. */
const wantedTransfers = (image: ClusterImage, view: LeadershipView): readonly LeaderTransfer[] => {
  const drains: LeaderTransfer[] = [];
  const returns: LeaderTransfer[] = [];
  for (const topic of image.topics.values()) {
    for (const [partition, replicated] of topic.partitions.entries()) {
      const place = { topicId: topic.topicId, partition };
      const now = view.leadership(place);
      const to = now === null ? null : betterLeader(image, replicated, now);
      if (now === null || to === null || view.skip(place)) continue;
      const isDrain = image.brokers.get(now.leader)?.draining === true;
      (isDrain ? drains : returns).push({ ...place, from: now.leader, to });
    }
  }
  return [...drains, ...returns];
};

export const planLeaderTransfers = (image: ClusterImage, view: LeadershipView): readonly LeaderTransfer[] => {
  const plan: LeaderTransfer[] = [];
  const busy = new Map<NodeId, number>();
  const isFree = (id: NodeId): boolean => (busy.get(id) ?? 0) < LEADER_TRANSFERS_PER_BROKER_MAX;
  for (const transfer of wantedTransfers(image, view)) {
    if (plan.length === LEADER_TRANSFERS_MAX) break;
    if (!isFree(transfer.from) || !isFree(transfer.to)) continue;
    for (const id of [transfer.from, transfer.to]) busy.set(id, (busy.get(id) ?? 0) + 1);
    plan.push(transfer);
  }
  return plan;
};
