// Which brokers are fenced. Heartbeats are not records: the controller's runtime remembers when it heard of whom, and passes
// those times in. Only a change of the judgement is a record.
//
//   fenced --(heartbeat, ready)--> unfenced --(silence, heartbeat "not ready", a new start)--> fenced

import type { NodeId } from '@sluice/protocol/ids';
import { type Decided, decided, type Decision } from '../decision.ts';
import type { ClusterImage } from './image.ts';
import type { ClusterRecord, Incarnation } from './record.ts';
import { speaker } from './registration.ts';

export interface HeartbeatRequest {
  readonly nodeId: NodeId;
  readonly incarnation: Incarnation;
  /** `not-ready`: still opening its partitions, or about to stop. */
  readonly readiness: 'ready' | 'not-ready';
}

export const heartbeat = (
  image: ClusterImage,
  request: HeartbeatRequest,
): Decided<ClusterRecord, { readonly fenced: boolean }, 'FORBIDDEN' | 'COORDINATOR_LOADING'> => {
  const known = speaker(image, request);
  if (!known.ok) return known;
  const fenced = request.readiness === 'not-ready';
  const { nodeId } = request;
  const { draining } = known.value;
  const isChange = fenced !== known.value.fenced;
  return decided(isChange ? [{ kind: 'broker-state-changed', nodeId, fenced, draining }] : [], { fenced });
};

export interface LivenessTimes {
  readonly nowMs: number;
  /** When this controller began to listen: who was not heard of yet counts from then, so that a fail-over fences nobody. */
  readonly listeningSinceMs: number;
  readonly lastHeardMs: ReadonlyMap<NodeId, number>;
  /** Silence for longer than this fences. */
  readonly sessionTimeoutMs: number;
}

/** Fences brokers that were silent for too long. Nothing is refused: it is the controller's own judgement. */
export const judgeLiveness = (
  image: ClusterImage,
  times: LivenessTimes,
): Decision<ClusterRecord, { readonly fenced: readonly NodeId[] }> => {
  const records: ClusterRecord[] = [];
  const silent: NodeId[] = [];
  for (const [nodeId, { fenced, draining }] of image.brokers.entries()) {
    if (fenced) continue;
    const heardMs = Math.max(times.lastHeardMs.get(nodeId) ?? times.listeningSinceMs, times.listeningSinceMs);
    if (times.nowMs - heardMs <= times.sessionTimeoutMs) continue;
    silent.push(nodeId);
    records.push({ kind: 'broker-state-changed', nodeId, fenced: true, draining });
  }
  return { records, response: { fenced: silent } };
};
