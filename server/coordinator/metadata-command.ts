// What may be asked of the controller, by name: how each command is judged, and how it crosses from one node to another.
//
//   request   JSON {"verb", "request"}
//   answer    JSON {"ok": true, "value", "end", "leader", "term"} or {"ok": false, "problem": {code, detail, facts}, ...}
//
// JSON, because commands are few and small and the state machine judges their values itself: what is read here is only that they are
// of the right kinds. Members that a reader does not know are passed over.

import { type ErrorCode, isErrorCode, problem, refused, type Result } from '@sluice/protocol/errors';
import { isTopicId, type NodeId, nodeId, type TopicId } from '@sluice/protocol/ids';
import { unreachable } from '../base/assert.ts';
import { type Decided, decided } from '../state/decision.ts';
import { found, type FoundRequest } from '../state/cluster/founding.ts';
import type { ClusterImage } from '../state/cluster/image.ts';
import { heartbeat, type HeartbeatRequest } from '../state/cluster/liveness.ts';
import { allocateProducerIds, type ProducerIdBlock } from '../state/cluster/producer-ids.ts';
import {
  type BrokerRegistration,
  type BrokerRole,
  brokerRoles,
  type ClusterRecord,
  type DirectoryId,
  type Incarnation,
  isDirectoryId,
  isIncarnation,
  type Replica,
} from '../state/cluster/record.ts';
import { drainBroker, registerBroker, type RegisterRequest, removeBroker } from '../state/cluster/registration.ts';
import { acknowledgeRemoval, type AcknowledgeRemovalRequest } from '../state/cluster/removal.ts';
import {
  alterTopic,
  type AlterTopicRequest,
  createInternalTopic,
  type CreateInternalTopicRequest,
  createTopic,
  type CreateTopicRequest,
  deleteTopic,
  type TopicContext,
  type TopicResponse,
} from '../state/cluster/topic-change.ts';
import { JsonReader } from './json-reader.ts';
import type { LeaderHint } from './pull-message.ts';

/** Each verb with what it asks and what it is told. */
export interface MetadataVerbs {
  found: { readonly request: FoundRequest; readonly response: null };
  register: { readonly request: RegisterRequest; readonly response: { readonly fenced: boolean } };
  heartbeat: { readonly request: HeartbeatRequest; readonly response: { readonly fenced: boolean } };
  drain: { readonly request: { readonly nodeId: NodeId; readonly draining: boolean }; readonly response: null };
  remove: { readonly request: { readonly nodeId: NodeId }; readonly response: null };
  createTopic: { readonly request: CreateTopicRequest; readonly response: TopicResponse };
  createInternalTopic: { readonly request: CreateInternalTopicRequest; readonly response: TopicResponse };
  alterTopic: { readonly request: AlterTopicRequest; readonly response: TopicResponse };
  deleteTopic: { readonly request: { readonly name: string }; readonly response: TopicResponse };
  acknowledgeRemoval: { readonly request: AcknowledgeRemovalRequest; readonly response: null };
  allocateProducerIds: {
    readonly request: { readonly nodeId: NodeId; readonly incarnation: Incarnation };
    readonly response: ProducerIdBlock;
  };
  /** How new the metadata is: whoever holds that version misses nothing of what was there when it asked. */
  version: { readonly request: Readonly<Record<string, never>>; readonly response: { readonly version: number } };
}

export type MetadataVerb = keyof MetadataVerbs;

export type MetadataCommand = {
  [V in MetadataVerb]: { readonly verb: V; readonly request: MetadataVerbs[V]['request'] };
}[MetadataVerb];

export type MetadataResponse = MetadataVerbs[MetadataVerb]['response'];

/**
 * Where doing it twice is the same as once, so that it may be asked again when nobody knows whether it was done. A topic that is
 * created again is known by its id, as long as it is there, or somewhere not removed.
 */
export const isRepeatable = (verb: MetadataVerb): boolean => !['alterTopic', 'deleteTopic', 'remove'].includes(verb);

export interface CommandContext extends TopicContext {
  readonly nowMs: number;
}

type Judged = Decided<ClusterRecord, MetadataResponse, ErrorCode>;

export const judgeCommand = (image: ClusterImage, command: MetadataCommand, context: CommandContext): Judged => {
  switch (command.verb) {
    case 'found':
      return found(image, command.request);
    case 'register': {
      const registration = { ...command.request.registration, registeredAtMs: context.nowMs };
      return registerBroker(image, { ...command.request, registration });
    }
    case 'heartbeat':
      return heartbeat(image, command.request);
    case 'drain':
      return drainBroker(image, command.request);
    case 'remove':
      return removeBroker(image, command.request.nodeId);
    case 'createTopic':
      return givenId(image, command.request) ?? createTopic(image, command.request, context);
    case 'createInternalTopic':
      return givenId(image, command.request) ?? createInternalTopic(image, command.request, context);
    case 'alterTopic':
      return alterTopic(image, command.request, context);
    case 'deleteTopic':
      return deleteTopic(image, command.request.name);
    case 'acknowledgeRemoval':
      return acknowledgeRemoval(image, command.request);
    case 'allocateProducerIds':
      return allocateProducerIds(image, command.request);
    case 'version':
      return decided([], { version: image.version });
    default:
      return unreachable(command);
  }
};

/** The id of a new topic is drawn by who asks, for this topic: one that was given is a repeat, or refused, never asserted. */
const givenId = (image: ClusterImage, { topicId, name }: { readonly topicId: TopicId; readonly name: string }) => {
  if (image.topicNames.get(topicId) === name) return decided([], { topicId });
  return image.topicNames.has(topicId) || image.deletedTopics.has(topicId)
    ? refused('TOPIC_EXISTS', `the topic id ${topicId} was given already`, { topic: name })
    : null;
};

// ---- On the wire

export const encodeCommand = (command: MetadataCommand): Uint8Array => Buffer.from(JSON.stringify(command));

const isNodeId = (value: number): value is NodeId => Number.isInteger(value) && value >= 0 && value <= 0x7fff_ffff;

const readNode = (reader: JsonReader, member = 'nodeId'): NodeId => {
  const value = reader.number(member);
  return isNodeId(value) ? value : nodeId(reader.fail(0));
};

const readDirectory = (reader: JsonReader): DirectoryId => {
  const value = reader.text('directoryId');
  return isDirectoryId(value) ? value : reader.fail('' as DirectoryId);
};

const readIncarnation = (reader: JsonReader): Incarnation => {
  const value = reader.number('incarnation');
  return isIncarnation(value) ? value : reader.fail(1 as Incarnation);
};

const readTopicId = (reader: JsonReader): TopicId => {
  const value = reader.text('topicId');
  return isTopicId(value) ? value : reader.fail('' as TopicId);
};

export const readReplica = (reader: JsonReader): Replica => ({
  nodeId: readNode(reader),
  directoryId: readDirectory(reader),
});

const isRole = (text: string): text is BrokerRole => (brokerRoles as readonly string[]).includes(text);

const readRegistration = (reader: JsonReader): BrokerRegistration => {
  const roles = reader.texts('roles');
  if (!roles.every(isRole)) reader.fail(null);
  return {
    ...readReplica(reader),
    incarnation: readIncarnation(reader),
    rack: reader.text('rack'),
    roles: roles.filter(isRole),
    httpAddress: reader.text('httpAddress'),
    grpcAddress: reader.text('grpcAddress'),
    peerAddress: reader.text('peerAddress'),
    registeredAtMs: 0,
  };
};

const readTopicRequest = (reader: JsonReader) => ({ topicId: readTopicId(reader), name: reader.text('name') });

const readVerb = (verb: string, reader: JsonReader): MetadataCommand | null => {
  switch (verb) {
    case 'found':
      return { verb, request: { clusterId: reader.text('clusterId'), voters: reader.list('voters', readReplica) } };
    case 'register': {
      const registration = readRegistration(reader.object('registration'));
      return { verb, request: { clusterId: reader.text('clusterId'), registration } };
    }
    case 'heartbeat': {
      const readiness = reader.text('readiness') === 'ready' ? 'ready' : 'not-ready';
      return { verb, request: { nodeId: readNode(reader), incarnation: readIncarnation(reader), readiness } };
    }
    case 'drain':
      return { verb, request: { nodeId: readNode(reader), draining: reader.boolean('draining') } };
    case 'remove':
      return { verb, request: { nodeId: readNode(reader) } };
    case 'createTopic': {
      const counts = {
        partitionCount: reader.optionalNumber('partitionCount'),
        replicationFactor: reader.optionalNumber('replicationFactor'),
      };
      return { verb, request: { ...readTopicRequest(reader), ...counts, config: reader.textMap('config') } };
    }
    case 'createInternalTopic': {
      const partitionCount = reader.number('partitionCount');
      // The state machine asserts its name, which is no client's.
      if (!/^__[a-z_]{1,64}$/.test(reader.text('name'))) reader.fail(null);
      return { verb, request: { ...readTopicRequest(reader), partitionCount, config: reader.textMap('config') } };
    }
    case 'alterTopic': {
      const partitionCount = reader.optionalNumber('partitionCount');
      return { verb, request: { name: reader.text('name'), partitionCount, config: reader.nullableTextMap('config') } };
    }
    case 'deleteTopic':
      return { verb, request: { name: reader.text('name') } };
    case 'acknowledgeRemoval': {
      const topicIds = reader.texts('topicIds');
      if (!topicIds.every(isTopicId)) reader.fail(null);
      const known = topicIds.filter(isTopicId);
      return { verb, request: { nodeId: readNode(reader), incarnation: readIncarnation(reader), topicIds: known } };
    }
    case 'allocateProducerIds':
      return { verb, request: { nodeId: readNode(reader), incarnation: readIncarnation(reader) } };
    case 'version':
      return { verb, request: {} };
    default:
      return null;
  }
};

/** Null for what is no command of this release. */
export const decodeCommand = (bytes: Uint8Array): MetadataCommand | null => {
  const reader = JsonReader.parse(bytes);
  const request = reader.object('request');
  const command = readVerb(reader.text('verb'), request);
  return reader.isBroken ? null : command;
};

export interface CommandAnswer {
  readonly result: Result<MetadataResponse>;
  /** The image that holds everything below it holds what the answer says. */
  readonly end: number;
  readonly hint: LeaderHint;
}

export const encodeCommandAnswer = ({ result, end, hint }: CommandAnswer): Uint8Array =>
  Buffer.from(JSON.stringify({ ...result, end, ...hint }));

const readResponse = (verb: MetadataVerb, reader: JsonReader): MetadataResponse => {
  switch (verb) {
    case 'register':
    case 'heartbeat':
      return { fenced: reader.object('value').boolean('fenced') };
    case 'createTopic':
    case 'createInternalTopic':
    case 'alterTopic':
    case 'deleteTopic':
      return { topicId: readTopicId(reader.object('value')) };
    case 'allocateProducerIds': {
      const block = reader.object('value');
      return { first: block.count('first'), count: block.count('count') };
    }
    case 'version':
      return { version: reader.object('value').count('version') };
    case 'found':
    case 'drain':
    case 'remove':
    case 'acknowledgeRemoval':
      return null;
    default:
      return unreachable(verb);
  }
};

const readProblem = (reader: JsonReader) => {
  const code = reader.text('code');
  return problem(isErrorCode(code) ? code : 'INTERNAL', reader.text('detail'), reader.facts('facts'));
};

/** Null for bytes that are no answer. */
export const decodeCommandAnswer = (verb: MetadataVerb, bytes: Uint8Array): CommandAnswer | null => {
  const reader = JsonReader.parse(bytes);
  const leader = reader.optionalNumber('leader');
  const hint = { leader: leader !== undefined && isNodeId(leader) ? leader : null, term: reader.count('term') };
  const end = reader.count('end');
  const result: CommandAnswer['result'] = reader.boolean('ok')
    ? { ok: true, value: readResponse(verb, reader) }
    : { ok: false, problem: readProblem(reader.object('problem')) };
  return reader.isBroken ? null : { result, end, hint };
};
