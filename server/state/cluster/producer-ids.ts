// Blocks of producer ids: each broker gives out ids of its own block and asks for the next one when it is used up. What is
// left of a block when its broker restarts is never used.

import type { NodeId } from '@sluice/protocol/ids';
import { PRODUCER_ID_BLOCK } from '../../base/limits.ts';
import { type Decided, decided } from '../decision.ts';
import type { ClusterImage } from './image.ts';
import type { ClusterRecord, Incarnation } from './record.ts';
import { speaker } from './registration.ts';

export interface ProducerIdBlock {
  readonly first: number;
  readonly count: number;
}

export const allocateProducerIds = (
  image: ClusterImage,
  request: { readonly nodeId: NodeId; readonly incarnation: Incarnation },
): Decided<ClusterRecord, ProducerIdBlock, 'FORBIDDEN' | 'COORDINATOR_LOADING'> => {
  const known = speaker(image, request);
  if (!known.ok) return known;
  const block = { first: image.nextProducerId, count: PRODUCER_ID_BLOCK };
  return decided([{ kind: 'producer-ids-allocated', nodeId: request.nodeId, ...block }], block);
};
