// What nodes send each other about the cluster, and what one keeps of it.

import { nodeId, offset } from '@sluice/protocol/ids';
import { encodeBatch } from '@sluice/protocol/record';
import {
  decodePrepare,
  decodePrepareAnswer,
  decodeStanding,
  encodePrepare,
  encodePrepareAnswer,
  encodeStanding,
} from '../../server/coordinator/founding-message.ts';
import { decodeKeptImage, encodeKeptImage } from '../../server/coordinator/image-snapshots.ts';
import { decodeTransfer, encodeTransfer } from '../../server/coordinator/leader-transfers.ts';
import {
  decodeCommand,
  decodeCommandAnswer,
  encodeCommand,
  encodeCommandAnswer,
  type MetadataCommand,
} from '../../server/coordinator/metadata-command.ts';
import {
  decodePullAnswer,
  decodePullRequest,
  encodePullAnswer,
  encodePullRequest,
} from '../../server/coordinator/pull-message.ts';
import {
  ClusterWorld,
  directoryOf,
  registrationOf,
  replicaOf,
  startOf,
  topicIdOf,
} from '../state/cluster/cluster-world.ts';
import type { Decoder } from './decoder-run.ts';

const speaker = { nodeId: nodeId(1), incarnation: startOf(1) };

export const commands: readonly MetadataCommand[] = [
  { verb: 'found', request: { clusterId: 'c', voters: [replicaOf(1), replicaOf(2)] } },
  { verb: 'register', request: { clusterId: 'c', registration: { ...registrationOf(1), registeredAtMs: 0 } } },
  { verb: 'heartbeat', request: { ...speaker, readiness: 'ready' } },
  { verb: 'heartbeat', request: { ...speaker, readiness: 'not-ready' } },
  { verb: 'drain', request: { nodeId: nodeId(2), draining: true } },
  { verb: 'remove', request: { nodeId: nodeId(2) } },
  {
    verb: 'createTopic',
    request: { topicId: topicIdOf(1), name: 'orders', partitionCount: 3, replicationFactor: 2, config: { a: 'b' } },
  },
  { verb: 'createTopic', request: { topicId: topicIdOf(1), name: 'orders' } },
  { verb: 'createInternalTopic', request: { topicId: topicIdOf(2), name: '__consumer_offsets', partitionCount: 16 } },
  { verb: 'alterTopic', request: { name: 'orders', partitionCount: 4, config: { a: null, b: '1' } } },
  { verb: 'deleteTopic', request: { name: 'orders' } },
  { verb: 'acknowledgeRemoval', request: { ...speaker, topicIds: [topicIdOf(1), topicIdOf(2)] } },
  { verb: 'allocateProducerIds', request: speaker },
  { verb: 'version', request: {} },
];

const hint = { leader: nodeId(3), term: 7 };
const image = ClusterWorld.ofCount(3).image;

export const coordinatorDecoders: readonly Decoder[] = [
  { name: 'metadata command', sound: commands.map(encodeCommand), decode: decodeCommand },
  {
    name: 'answer to a metadata command',
    sound: [
      encodeCommandAnswer({ result: { ok: true, value: { first: 1, count: 2 } }, end: 5, hint }),
      encodeCommandAnswer({
        result: { ok: false, problem: { code: 'NOT_LEADER', detail: 'no', facts: { leader: 2 } } },
        end: 5,
        hint,
      }),
    ],
    decode: bytes => decodeCommandAnswer('allocateProducerIds', bytes),
  },
  {
    name: 'metadata pull',
    sound: [encodePullRequest({ next: offset(5), waitMs: 100, snapshot: offset(3), chunk: 1 })],
    decode: decodePullRequest,
  },
  {
    name: 'answer to a metadata pull',
    sound: [
      encodePullAnswer({ kind: 'not-served', hint }),
      encodePullAnswer({ kind: 'records', hint, batches: [encodeBatch([{ key: null, value: 'v', timestamp: 1 }])] }),
      encodePullAnswer({ kind: 'chunk', hint, snapshot: offset(9), chunk: 0, bytes: Uint8Array.of(1, 2, 3) }),
    ],
    decode: decodePullAnswer,
  },
  {
    name: 'standing of a node',
    sound: [
      encodeStanding({
        clusterId: 'c',
        directoryId: directoryOf(1),
        standing: 'prepared',
        listed: [1, 2],
        voters: [replicaOf(1)],
      }),
    ],
    decode: decodeStanding,
  },
  {
    name: 'membership to promise',
    sound: [
      encodePrepare({
        clusterId: 'c',
        voters: [replicaOf(1)],
        nodes: [{ nodeId: nodeId(1), address: 'host:1' }],
      }),
    ],
    decode: decodePrepare,
  },
  {
    name: 'answer to a membership',
    sound: [encodePrepareAnswer({ accepted: false, detail: 'no' })],
    decode: decodePrepareAnswer,
  },
  {
    name: 'transfer of a leadership',
    sound: [encodeTransfer({ topicId: topicIdOf(1), partition: 3, to: nodeId(2) })],
    decode: decodeTransfer,
  },
  { name: 'kept image', sound: [encodeKeptImage({ image, next: offset(12) })], decode: decodeKeptImage },
];
