// The replicas of a node follow its image of the metadata, also when the disk fails in between.

import { topicId } from '@sluice/protocol/ids';
import { expect, test } from 'vitest';
import { countPending } from '../../server/broker/parked-answers.ts';
import { Replicas } from '../../server/broker/replicas.ts';
import type { TopicConfig } from '../../server/base/topic-config.ts';
import { type ClusterImage, type ClusterTopic, emptyImage } from '../../server/state/cluster/image.ts';
import { directoryId } from '../../server/state/cluster/record.ts';
import { type BrokerNode, BrokerWorld, failing } from './broker-world.ts';

const idOf = (last: number) => topicId(`00000000-0000-4000-8000-00000000000${last}`);

const logger = { debug() {}, info() {}, warn() {}, error() {}, fatal() {} };

const replicasOf = (node: BrokerNode): Replicas =>
  new Replicas({
    directory: node.directory,
    replication: node.replication,
    records: node.records,
    clock: node.clock,
    logger,
    topicDefaults: {},
    pending: countPending(1_000_000),
    acknowledgeRemoval: () => Promise.resolve({ ok: true, value: null }),
    changed() {},
    host: () => null,
  });

const topicOn = (node: BrokerNode, name: string, last: number, config: TopicConfig = {}): ClusterTopic => {
  const replica = { nodeId: node.nodeId, directoryId: directoryId(node.directory.identity.directoryId) };
  const partitions = [{ replicas: [replica] }];
  return { topicId: idOf(last), name, internal: false, replicationFactor: 1, config, partitions };
};

const imageOf = (...topics: readonly ClusterTopic[]): ClusterImage => {
  let named = emptyImage().topics;
  for (const topic of topics) named = named.with(topic.name, topic);
  return { ...emptyImage(), topics: named };
};

test('what a failing disk did not let happen is tried again as the newest image says it, not as it was', async () => {
  const node = await BrokerWorld.alone('newest');
  const replicas = replicasOf(node);
  const old = imageOf(topicOn(node, 'gone', 1), topicOn(node, 'kept', 2));
  node.disk.judge = failing(call => call.path.includes('/gone-0'));
  await node.drive(replicas.follow(old));
  expect([replicas.find(idOf(1), 0) === undefined, replicas.find(idOf(2), 0) === undefined]).toEqual([true, false]);
  node.disk.judge = () => ({ kind: 'usual' });
  const deleted = { topicId: idOf(1), name: 'gone', partitionCount: 1, waitingFor: [node.nodeId] };
  const now = imageOf(topicOn(node, 'kept', 2));
  await node.drive(replicas.follow({ ...now, deletedTopics: now.deletedTopics.with(idOf(1), deleted) }));
  await node.world.scheduler.advance(10_000);
  await node.drive(replicas.settled());
  expect(replicas.find(idOf(1), 0)).toBe(undefined);
  expect(node.disk.filePaths().filter(path => path.includes('/gone-0'))).toEqual([]);
  await node.drive(replicas.close());
});
