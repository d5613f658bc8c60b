// MetadataService: who leads what, asked for once or pushed.

import { create } from '@bufbuild/protobuf';
import type { ServerWritableStream, UntypedServiceImplementation } from '@grpc/grpc-js';
import type { Result } from '@sluice/protocol/errors';
import { accepted } from '@sluice/protocol/errors';
import type { GetMetadataRequest, Metadata, TopicMetadata } from '@sluice/protocol/services';
import {
  BrokerMetadataSchema,
  MetadataSchema,
  PartitionMetadataSchema,
  TopicMetadataSchema,
} from '@sluice/protocol/services';
import { TOPIC_PAGE_MAX } from '../../base/limits.ts';
import type { Broker } from '../../broker/broker.ts';
import type { GatewayContext } from '../gateway.ts';
import type { OpenCalls } from './open-calls.ts';
import { StateWatch } from './state-watch.ts';
import { unary } from './unary.ts';
import { unexpected } from './unexpected.ts';

export const metadataService = (context: GatewayContext, calls: OpenCalls): UntypedServiceImplementation => {
  const { broker } = context;
  const door = { context, verb: 'metadata', metrics: context.metrics.verb('grpc', 'metadata') };
  return {
    getMetadata: unary(door, (request: GetMetadataRequest) =>
      Promise.resolve(accepted(metadata(broker, request.topics))),
    ),
    watch: (call: ServerWritableStream<GetMetadataRequest, Metadata>): void => {
      door.metrics.finished('ok', 0);
      const take = (): Promise<Result<Metadata>> => {
        try {
          return Promise.resolve(accepted(metadata(broker, call.request.topics)));
        } catch (error) {
          return Promise.resolve({ ok: false, problem: unexpected(context, error, 'metadata') });
        }
      };
      const watch = new StateWatch(call, calls, {
        schema: MetadataSchema,
        take,
        onEnd: () => unwatch(),
      });
      const unwatch = broker.watchMetadata(() => watch.poke());
      watch.start();
    },
  };
};

/** `names` empty: all topics. Each name once, in the order asked for. */
const metadata = (broker: Broker, names: readonly string[]): Metadata => {
  const cluster = broker.cluster();
  const topics: TopicMetadata[] = [];
  const missingTopics: string[] = [];
  for (const name of names.length === 0 ? allTopics(broker) : new Set(names)) {
    const topic = topicMetadata(broker, name);
    if (topic !== null) topics.push(topic);
    else if (names.length > 0) missingTopics.push(name);
  }
  return create(MetadataSchema, {
    clusterId: cluster.clusterId,
    controller: cluster.controller,
    version: cluster.version,
    brokers: cluster.brokers.map(view =>
      create(BrokerMetadataSchema, {
        nodeId: view.nodeId,
        grpcAddress: view.grpcAddress,
        httpAddress: view.httpAddress,
        rack: view.rack,
        state: view.state,
      }),
    ),
    topics,
    missingTopics,
  });
};

const allTopics = (broker: Broker): readonly string[] => {
  const names: string[] = [];
  let after: string | null = null;
  do {
    const page = broker.listTopics({ prefix: '', internal: true, limit: TOPIC_PAGE_MAX, after });
    for (const topic of page.topics) names.push(topic.name);
    after = page.nextAfter;
  } while (after !== null);
  return names;
};

/** Null for a topic that does not exist (any more). */
const topicMetadata = (broker: Broker, name: string): TopicMetadata | null => {
  const topic = broker.findTopic(name);
  const leaders = broker.leaders(name);
  if (topic === null || leaders === null) return null;
  return create(TopicMetadataSchema, {
    name,
    topicId: topic.id,
    internal: topic.internal,
    maxMessageBytes: topic.batchBytesMax,
    partitions: leaders.map(view => create(PartitionMetadataSchema, view)),
  });
};
