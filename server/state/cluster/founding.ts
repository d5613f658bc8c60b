// Founding: the first record of a cluster, written once, by the node that was chosen for it.

import { refused } from '@sluice/protocol/errors';
import { METADATA_VOTERS_MAX } from '../../base/limits.ts';
import { type Decided, decided } from '../decision.ts';
import type { ClusterImage } from './image.ts';
import { type ClusterRecord, isSameReplica, type Replica } from './record.ts';

export interface FoundRequest {
  readonly clusterId: string;
  /** The first voters of the metadata log. */
  readonly voters: readonly Replica[];
}

export const CLUSTER_ID_CHARS_MAX = 64;

const votersFault = (voters: readonly Replica[]): string | null => {
  if (voters.length < 1 || voters.length > METADATA_VOTERS_MAX) {
    return `a cluster is founded with 1 to ${METADATA_VOTERS_MAX} voters, not ${voters.length}`;
  }
  if (new Set(voters.map(voter => voter.nodeId)).size < voters.length) return 'two voters have the same node id';
  if (new Set(voters.map(voter => voter.directoryId)).size < voters.length) return 'two voters have the same directory';
  return null;
};

/** A repeat of what founded the cluster is answered as the first time. */
export const found = (
  image: ClusterImage,
  request: FoundRequest,
): Decided<ClusterRecord, null, 'INVALID_REQUEST' | 'FORBIDDEN'> => {
  const { clusterId, voters } = request;
  if (clusterId.length === 0 || clusterId.length > CLUSTER_ID_CHARS_MAX) {
    return refused('INVALID_REQUEST', `a cluster id has 1 to ${CLUSTER_ID_CHARS_MAX} characters`);
  }
  const fault = votersFault(voters);
  if (fault !== null) return refused('INVALID_REQUEST', fault);
  const { founded } = image;
  if (founded === null) return decided([{ kind: 'founded', clusterId, voters }], null);
  const isRepeat =
    founded.clusterId === clusterId &&
    founded.voters.length === voters.length &&
    founded.voters.every((voter, index) => isSameReplica(voter, voters[index]!));
  return isRepeat
    ? decided([], null)
    : refused('FORBIDDEN', `the cluster ${founded.clusterId} is founded already`, { cluster_id: founded.clusterId });
};

/** For every other command: nothing can be judged before the cluster is there. */
export const notFounded = (image: ClusterImage) =>
  image.founded === null ? refused('COORDINATOR_LOADING', 'the cluster is not founded yet') : null;
