// Brokers say which deleted topics they hold nothing of any more. An id is remembered until all of them did: a folder whose
// id nobody remembers is kept, so forgetting early would leave it on some disk for ever.

import { refused } from '@sluice/protocol/errors';
import type { NodeId, TopicId } from '@sluice/protocol/ids';
import { REMOVALS_PER_REQUEST_MAX } from '../../base/limits.ts';
import { type Decided, decided } from '../decision.ts';
import type { ClusterImage } from './image.ts';
import type { ClusterRecord, Incarnation } from './record.ts';
import { speaker } from './registration.ts';

export interface AcknowledgeRemovalRequest {
  readonly nodeId: NodeId;
  readonly incarnation: Incarnation;
  readonly topicIds: readonly TopicId[];
}

/** What a broker still has to remove, or to acknowledge. */
export const removalsAwaited = (image: ClusterImage, id: NodeId): readonly TopicId[] => {
  const awaited: TopicId[] = [];
  for (const [topicId, { waitingFor }] of image.deletedTopics.entries()) {
    if (waitingFor.includes(id)) awaited.push(topicId);
  }
  return awaited;
};

/** Ids that are not awaited (any more) are passed over, so that a repeat does no harm. */
export const acknowledgeRemoval = (
  image: ClusterImage,
  request: AcknowledgeRemovalRequest,
): Decided<ClusterRecord, null, 'INVALID_REQUEST' | 'FORBIDDEN' | 'COORDINATOR_LOADING'> => {
  const known = speaker(image, request);
  if (!known.ok) return known;
  const { nodeId } = request;
  if (request.topicIds.length > REMOVALS_PER_REQUEST_MAX) {
    return refused('INVALID_REQUEST', `a request acknowledges at most ${REMOVALS_PER_REQUEST_MAX} removals`);
  }
  const topicIds = [...new Set(request.topicIds)].filter(
    id => image.deletedTopics.get(id)?.waitingFor.includes(nodeId) ?? false,
  );
  return decided(topicIds.length === 0 ? [] : [{ kind: 'removal-acknowledged', nodeId, topicIds }], null);
};
