// Three replicas as Kafka sees them: every segment and index of each node of a cluster that changed its leaders under load.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Sluice } from '@sluice/client';
import { expect, test } from 'vitest';
import { TestCluster } from '../integration/cluster-processes.ts';
import { differences, replicaFiles } from '../integration/cluster-replicas.ts';
import { prepareKafka } from './kafka-judge.ts';
import { digestsOf, segmentFilesBelow } from './segment.ts';
import { skipLoudly } from './tool.ts';

const TOPIC = 'judged';
const PARTITIONS = 2;
const RECORDS = 1_500;

const prepared = await prepareKafka();
if (!prepared.ok) skipLoudly('Kafka as the judge of a cluster', prepared.reason);

test.skipIf(!prepared.ok)(
  'Kafka accepts all three replicas, which are the same',
  async () => {
    if (!prepared.ok) return;
    const folder = await mkdtemp(join(tmpdir(), 'sluice-judged-'));
    const cluster = await TestCluster.start({ folder });
    const client = new Sluice({ servers: cluster.nodes.map(node => node.grpc) });
    try {
      const config = { 'segment.bytes': 262_144, 'min.insync.replicas': 2 };
      await client.admin.createTopic({ name: TOPIC, partitionCount: PARTITIONS, replicationFactor: 3, config });
      const producer = client.producer({ topic: TOPIC, batchBytes: 16_384 });
      // A leader leaves after each part, so that there are several epochs in the log.
      for (const node of cluster.nodes) {
        const sent: Promise<unknown>[] = [];
        for (let number = 0; number < RECORDS; number++) {
          const value = `${node.id}/${number} `.padEnd(400, `${number * 7919} `);
          sent.push(producer.send({ key: `key ${number}`, value, partition: number % PARTITIONS }));
        }
        await Promise.all(sent);
        expect((await node.terminate())?.status).toBe(0);
        await node.start();
        await node.ready();
      }
      await producer.drain();
      const ends = (await client.admin.listOffsets(TOPIC)).map(({ highWatermark }) => highWatermark);
      expect(ends.reduce((sum, end) => sum + end, 0)).toBe(RECORDS * 3);
      await client.close();
      expect(await cluster.stop()).toEqual([0, 0, 0]);

      const files = (await Promise.all(cluster.nodes.map(node => segmentFilesBelow(node.dataDir)))).flat();
      const reports = await prepared.kafka.inspect(files);
      for (const file of files) {
        const report = reports.get(file);
        expect([file, report?.findings]).toEqual([file, []]);
        if (file.endsWith('.log')) expect([file, report?.batches]).toEqual([file, await digestsOf(file)]);
      }
      for (const [partition, end] of ends.entries()) {
        const replicas = await Promise.all(
          cluster.nodes.map(node => replicaFiles(`node ${node.id}`, join(node.dataDir, `${TOPIC}-${partition}`))),
        );
        expect(differences(replicas, end)).toEqual([]);
        expect(Math.min(...replicas.map(({ segments }) => segments.size))).toBeGreaterThan(1);
      }
    } finally {
      await client.close();
      await cluster.close();
      await rm(folder, { recursive: true, force: true });
    }
  },
  240_000,
);
