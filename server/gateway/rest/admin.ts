// Topics, offsets, the cluster and the document itself.

import type { Problem } from '@sluice/protocol/errors';
import { offset } from '@sluice/protocol/ids';
import type { ConfigEntry } from '../../base/topic-config.ts';
import type {
  BrokerView,
  OffsetQuery,
  PartitionDescription,
  PartitionOffsets,
  TopicDescription,
  TopicView,
} from '../../broker/broker.ts';
import type { GatewayContext } from '../gateway.ts';
import { invalidTimestamp, parseTimestamp } from '../timestamp-text.ts';
import type { QueryValue } from './contract.ts';
import { answer, readForm } from './form-body.ts';
import type { Handler, HandlerTable } from './handlers.ts';
import { findPartition, findTopic } from './topic-lookup.ts';

export interface ContractTexts {
  readonly yaml: string;
  readonly json: string;
}

type ConfigForm = Readonly<Record<string, string | number | boolean | null>>;

interface CreateTopicForm {
  readonly name: string;
  readonly partition_count?: number;
  readonly replication_factor?: number;
  readonly config?: ConfigForm;
}

interface AlterTopicForm {
  readonly partition_count?: number;
  readonly config?: ConfigForm;
}

export const createAdminHandlers = (context: GatewayContext, texts: ContractTexts): HandlerTable => {
  const { broker } = context;

  const listTopics: Handler = (exchange, query) => {
    const page = broker.listTopics({
      prefix: String(query['prefix'] ?? ''),
      internal: query['internal'] === true,
      limit: Number(query['limit']),
      after: query['after'] === undefined ? null : String(query['after']),
    });
    const next = page.nextAfter === null ? null : { after: page.nextAfter };
    exchange.json(200, { topics: page.topics.map(renderTopicSummary), next });
  };

  const createTopic: Handler = async (exchange, _query, operation) => {
    const form = await readForm<CreateTopicForm>(exchange, operation);
    if (form === null) return;
    const created = await broker.createTopic({
      name: form.name,
      partitionCount: form.partition_count,
      replicationFactor: form.replication_factor,
      config: form.config === undefined ? undefined : (configTexts(form.config) as Record<string, string>),
    });
    if (!created.ok) {
      exchange.problem(created.problem);
      return;
    }
    const location = `/v1/topics/${encodeURIComponent(created.value.name)}`;
    exchange.json(201, renderTopic(created.value), { Location: location });
  };

  const getTopic: Handler = async (exchange, query) => {
    const topic = findTopic(broker, exchange);
    if (!topic.ok) {
      exchange.problem(topic.problem);
      return;
    }
    const described = await broker.describeTopic(topic.value.name);
    if (!described.ok) exchange.problem(described.problem);
    else if (query['include'] === 'defaults') exchange.json(200, renderTopicWithDefaults(described.value));
    else exchange.json(200, renderTopic(described.value));
  };

  const alterTopic: Handler = async (exchange, _query, operation) => {
    const form = await readForm<AlterTopicForm>(exchange, operation);
    if (form === null) return;
    const topic = findTopic(broker, exchange);
    if (!topic.ok) {
      exchange.problem(topic.problem);
      return;
    }
    const altered = await broker.alterTopic({
      name: topic.value.name,
      partitionCount: form.partition_count,
      config: form.config === undefined ? undefined : configTexts(form.config),
    });
    answer(exchange, altered, renderTopic);
  };

  const deleteTopic: Handler = async exchange => {
    const topic = findTopic(broker, exchange);
    if (!topic.ok) {
      exchange.problem(topic.problem);
      return;
    }
    const deleted = await broker.deleteTopic(topic.value.name);
    if (deleted.ok) exchange.empty(204);
    else exchange.problem(deleted.problem);
  };

  const deleteRecords: Handler = async (exchange, query) => {
    const topic = findTopic(broker, exchange);
    if (!topic.ok) {
      exchange.problem(topic.problem);
      return;
    }
    const partition = findPartition(exchange, topic.value);
    if (!partition.ok) {
      exchange.problem(partition.problem);
      return;
    }
    const deleted = await broker.deleteRecords({
      topic: topic.value.name,
      partition: partition.value,
      beforeOffset: offset(Number(query['before'])),
    });
    answer(exchange, deleted, ({ earliestOffset }) => ({ earliest_offset: earliestOffset }));
  };

  const listOffsets: Handler = async (exchange, query) => {
    const topic = findTopic(broker, exchange);
    if (!topic.ok) {
      exchange.problem(topic.problem);
      return;
    }
    const asked = offsetQuery(query['timestamp']);
    if ('code' in asked) {
      exchange.problem(asked);
      return;
    }
    const offsets = await broker.listOffsets({ topic: topic.value.name, query: asked });
    answer(exchange, offsets, partitions => ({ partitions: partitions.map(renderOffsets) }));
  };

  const getCluster: Handler = exchange => {
    const { clusterId, controller, version, brokers } = broker.cluster();
    const rendered = brokers.map(view => renderBroker(view, version));
    exchange.json(200, { cluster_id: clusterId, controller, version, brokers: rendered });
  };

  const listBrokers: Handler = exchange => {
    const { version, brokers } = broker.cluster();
    exchange.json(200, { brokers: brokers.map(view => renderBroker(view, version)) });
  };

  return {
    listTopics: { verb: 'topics', handle: listTopics },
    createTopic: { verb: 'topics', handle: createTopic },
    getTopic: { verb: 'topics', handle: getTopic },
    alterTopic: { verb: 'topics', handle: alterTopic },
    deleteTopic: { verb: 'topics', handle: deleteTopic },
    deleteRecords: { verb: 'delete_records', handle: deleteRecords },
    listOffsets: { verb: 'offsets', handle: listOffsets },
    getCluster: { verb: 'cluster', handle: getCluster },
    listBrokers: { verb: 'cluster', handle: listBrokers },
    getOpenApiYaml: { verb: 'openapi', handle: exchange => exchange.answer(200, 'application/yaml', texts.yaml) },
    getOpenApiJson: { verb: 'openapi', handle: exchange => exchange.answer(200, 'application/json', texts.json) },
  };
};

const configTexts = (config: ConfigForm): Record<string, string | null> =>
  Object.fromEntries(Object.entries(config).map(([name, value]) => [name, value === null ? null : String(value)]));

const offsetQuery = (timestamp: QueryValue | undefined): OffsetQuery | Problem => {
  if (timestamp === undefined) return { kind: 'none' };
  const timestampMs = parseTimestamp(String(timestamp));
  return timestampMs === null ? invalidTimestamp() : { kind: 'timestamp', timestampMs };
};

const renderTopicSummary = (topic: TopicView): Record<string, unknown> => ({
  name: topic.name,
  topic_id: topic.id,
  partition_count: topic.partitionCount,
  replication_factor: topic.replicationFactor,
  internal: topic.internal,
});

const renderTopic = (topic: TopicDescription): Record<string, unknown> => ({
  ...renderTopicSummary(topic),
  config: topic.config,
  partitions: topic.partitions.map(renderPartition),
});

const renderTopicWithDefaults = (topic: TopicDescription): Record<string, unknown> => ({
  ...renderTopic(topic),
  all_config: topic.allConfig.map(renderConfigEntry),
});

const renderConfigEntry = ({ name, value, source }: ConfigEntry): Record<string, unknown> => ({ name, value, source });

const renderPartition = (partition: PartitionDescription): Record<string, unknown> => ({
  partition: partition.partition,
  leader: partition.leader,
  leader_epoch: partition.leaderEpoch,
  replicas: partition.replicas,
  isr: partition.isr,
  earliest_offset: partition.earliestOffset,
  high_watermark: partition.highWatermark,
  last_stable_offset: partition.lastStableOffset,
  log_end_offset: partition.logEndOffset,
});

const renderOffsets = (offsets: PartitionOffsets): Record<string, unknown> => ({
  partition: offsets.partition,
  earliest_offset: offsets.earliestOffset,
  high_watermark: offsets.highWatermark,
  last_stable_offset: offsets.lastStableOffset,
  ...(offsets.found === null ? {} : { offset: offsets.found.offset, timestamp: offsets.found.timestampMs }),
});

const renderBroker = (view: BrokerView, version: string): Record<string, unknown> => ({
  node_id: view.nodeId,
  rack: view.rack,
  state: view.state,
  http_address: view.httpAddress,
  grpc_address: view.grpcAddress,
  version,
});
