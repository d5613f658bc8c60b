// An older data directory as a cluster of one: what its catalogue names is what the metadata holds.

import { expect, test } from 'vitest';
import { nodeId } from '@sluice/protocol/ids';
import { readFormerCatalogue } from '../../../server/broker/former-catalogue.ts';
import { acknowledgeRemoval, removalsAwaited } from '../../../server/state/cluster/removal.ts';
import { registerBroker } from '../../../server/state/cluster/registration.ts';
import { clusterOfOne, type FormerCatalogue } from '../../../server/state/cluster/single-broker.ts';
import { formatChecked } from '../../../server/storage/checked-document.ts';
import { StillDisk } from '../../storage/still-disk.ts';
import { CLUSTER_ID, ClusterWorld, registrationOf, replicaOf, startOf, topicIdOf } from './cluster-world.ts';

const opened = (catalogue: FormerCatalogue): ClusterWorld => {
  const world = new ClusterWorld();
  const registration = registrationOf(1);
  for (const record of clusterOfOne({ clusterId: CLUSTER_ID, registration, catalogue })) world.replay(record);
  return world;
};

test('topics keep their ids, settings and partitions, all at the only node', async () => {
  const disk = new StillDisk();
  const document = {
    version: 1,
    topics: [
      { name: 'orders', id: topicIdOf(1), partition_count: 3, internal: false, config: { 'retention.ms': '5' } },
      { name: '__own', id: topicIdOf(2), partition_count: 1, internal: true, config: {} },
    ],
    deleted: [
      { name: 'orders', id: topicIdOf(3), partition_count: 7 },
      { name: 'orders', id: topicIdOf(4), partition_count: 2 },
    ],
  };
  const file = await disk.open('/data/topics.json', 'create');
  await file.write([Buffer.from(formatChecked(document, 1))], 0);
  const catalogue = await readFormerCatalogue(disk, '/data');
  if (catalogue === null) throw new Error('there is no catalogue');
  const world = opened(catalogue);
  expect(world.image.founded).toEqual({ kind: 'founded', clusterId: CLUSTER_ID, voters: [replicaOf(1)] });
  expect([...world.image.topics.keys()]).toEqual(['__own', 'orders']);
  expect(world.image.topics.get('orders')).toEqual({
    topicId: topicIdOf(1),
    name: 'orders',
    internal: false,
    replicationFactor: 1,
    config: { 'retention.ms': '5' },
    partitions: [0, 1, 2].map(() => ({ replicas: [replicaOf(1)] })),
  });
  expect(world.image.topics.get('__own')).toMatchObject({ internal: true });
  expect([...world.image.loads.values()]).toEqual([{ replicas: 4, preferred: 4 }]);
  expect([...world.image.deletedTopics.values()]).toEqual([
    { topicId: topicIdOf(3), name: 'orders', partitionCount: 7, waitingFor: [1] },
    { topicId: topicIdOf(4), name: 'orders', partitionCount: 2, waitingFor: [1] },
  ]);
});

test('the cluster of one goes on as any other', () => {
  const world = opened({ topics: new Map(), deleted: [{ name: 'gone', id: topicIdOf(90), partitionCount: 1 }] });
  world.do(registerBroker, { clusterId: CLUSTER_ID, registration: registrationOf(1, { start: 1 }) });
  world.beat(1, 1);
  const topicIds = removalsAwaited(world.image, nodeId(1));
  expect(topicIds).toEqual([topicIdOf(90)]);
  world.do(acknowledgeRemoval, { nodeId: nodeId(1), incarnation: startOf(1, 1), topicIds });
  expect(world.image.deletedTopics.size).toBe(0);
  world.topic('gone', { partitions: 2 });
  world.join(2);
  world.topic('wide', { factor: 2 });
  expect(world.replicas('wide')).toEqual([[2, 1]]);
});
