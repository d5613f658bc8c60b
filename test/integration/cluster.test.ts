// Three brokers in processes of their own, used through every door at every node, while they are killed, paused, cut off from each
// other, restarted, out of disk, and damaged while they are down: what was acknowledged is there, once and in order, at every node, and all
// replicas are the same.
//
//   SLUICE_CLUSTER_SECONDS   how long (15)
//   SLUICE_CLUSTER_SEED      what is drawn: writers' and readers' choices, and the faults; printed by every run. Timing is the
//                            machine's, so a seed narrows a failure down but does not replay it.

import { mkdirSync, mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Form } from '@sluice/protocol/services';
import { afterAll, expect, test } from 'vitest';
import { LogHistory } from '../history/log-history.ts';
import { describeAt, isRepaired, mountSmallDisk, unmount, wreak } from './cluster-faults.ts';
import { type ClusterLoad, identityOf, runLoad, Tally } from './cluster-load.ts';
import { type ClusterNode, TestCluster } from './cluster-processes.ts';
import { differences, replicaFiles } from './cluster-replicas.ts';
import { GrpcClient } from './grpc-streams.ts';
import { HttpClient } from './http-exchange.ts';
import { leaveSegments } from './left-segments.ts';
import { randomFrom } from './seeded-random.ts';

const SECONDS = Number(process.env['SLUICE_CLUSTER_SECONDS'] ?? 15);
const SEED = Number(process.env['SLUICE_CLUSTER_SEED'] ?? Date.now() % 1_000_000);
const TOPIC = 'chaos';
const PARTITIONS = 3;
/** Small segments, so that some faults meet a roll, and in longer runs others find some that were sealed long before. */
const SEGMENT_BYTES = '262144';
const SMALL_DISK_NODE = 3;
/** Room for what a run writes; the rest of it is filled by the test. */
const SMALL_DISK_MEBIBYTES = 64 + Math.ceil(SECONDS * 4);
/** A hang, not a slow machine. */
const SETTLE_MS_MAX = 240_000;

const folder = mkdtempSync(join(tmpdir(), 'sluice-cluster-'));
const smallDisk = join(folder, 'small');
mkdirSync(smallDisk);
const isMounted = mountSmallDisk(smallDisk, SMALL_DISK_MEBIBYTES);

afterAll(async () => {
  if (isMounted) unmount(smallDisk);
  await rm(folder, { recursive: true, force: true });
});

test(
  `whatever happens to its nodes, a cluster of three keeps what it acknowledged (${SECONDS} s, seed ${SEED})`,
  async () => {
    const dataDirs = isMounted ? { [SMALL_DISK_NODE]: join(smallDisk, 'data') } : {};
    const cluster = await TestCluster.start({ folder, dataDirs });
    const told: string[] = [];
    const over = new AbortController();
    const load: ClusterLoad = {
      nodes: cluster.nodes,
      topic: TOPIC,
      partitionCount: PARTITIONS,
      history: new LogHistory(),
      random: randomFrom(SEED),
      over: over.signal,
      tally: new Tally(),
    };
    try {
      await createTopic(cluster.node(1));
      const running = runLoad(load);
      const havoc = {
        cluster,
        load: { ...load, random: randomFrom(SEED + 1) },
        smallDisk: isMounted ? { node: SMALL_DISK_NODE, root: smallDisk } : null,
        told: (what: string) => told.push(`${(performance.now() / 1000).toFixed(1)} ${what}`),
      };
      await wreak(havoc, performance.now() + SECONDS * 1000);
      over.abort();
      await running;
      // Whoever was told anything is gone. Now everybody must come together again.
      const ends = await converged(cluster);
      expect(isRepaired(cluster), 'what was damaged is whole again').toBe(true);
      for (const node of cluster.nodes) await readAll(load, node, ends);
      const verdict = {
        seed: SEED,
        anomalies: load.history.anomalies(),
        faults: cluster.nodes.flatMap(node =>
          node.faults.filter(line => !isOfFullDisk(node, line) && !isOfDamage(line)),
        ),
      };
      expect(verdict, told.join('\n')).toEqual({ seed: SEED, anomalies: [], faults: [] });
      expect(await cluster.stop()).toEqual([0, 0, 0]);
      expect(await differencesOf(cluster, ends)).toEqual([]);
      for (const node of cluster.nodes) await leaveSegments(node.dataDir, `cluster-${node.id}`);
      expect([...load.tally.acknowledgedBy.keys()].sort()).toEqual([
        'grpc-batches-0',
        'grpc-records-0',
        'rest-0',
        'sdk-0',
        'websocket-0',
      ]);
      expect(Math.min(...load.tally.seenBy.values())).toBeGreaterThan(0);
      report(load, kindsOf(told), ends);
    } catch (error) {
      process.stderr.write(`cluster: seed ${SEED}\n${told.join('\n')}\n`);
      for (const { id, process: life, faults } of cluster.nodes)
        process.stderr.write(`--- node ${id}\n${faults.join('\n')}\n---\n${life?.log.slice(-4_000) ?? ''}\n`);
      throw error;
    } finally {
      over.abort();
      await cluster.close();
    }
  },
  SECONDS * 1000 + 2 * SETTLE_MS_MAX,
);

/** What a node has to say of the disk that this test fills: the log is full, and whoever led it leads no more. */
function isOfFullDisk({ id }: ClusterNode, line: string): boolean {
  if (!isMounted || id !== SMALL_DISK_NODE) return false;
  return line.includes('"state":"full"') || line.includes('leadership is given up: the log lost what it had taken');
}

/** What a node has to say of a segment that this test damaged; whether it is whole again is seen in the files. */
function isOfDamage(line: string): boolean {
  return (
    line.includes('damaged: these offsets cannot be read') || line.includes('a damaged replica cannot be repaired yet')
  );
}

async function createTopic(node: ClusterNode): Promise<void> {
  const http = new HttpClient(node.http);
  const topic = {
    name: TOPIC,
    partition_count: PARTITIONS,
    replication_factor: 3,
    config: { 'segment.bytes': SEGMENT_BYTES, 'min.insync.replicas': '2' },
  };
  await http.json(
    {
      method: 'POST',
      path: '/v1/topics',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(topic),
    },
    201,
  );
  http.close();
}

/** Every node knows a leader of every partition, all of whose replicas are in sync; the high watermarks. */
async function converged(cluster: TestCluster): Promise<readonly number[]> {
  await cluster.startAll();
  const untilMs = performance.now() + SETTLE_MS_MAX;
  for (;;) {
    const views = await Promise.all(cluster.nodes.map(node => viewOf(node)));
    const whole = views.every(view => view?.every(({ leader, isr }) => leader > 0 && isr.length === 3) === true);
    if (whole) return views[0]!.map(partition => partition.high_watermark);
    if (performance.now() > untilMs) throw new Error(`they do not come together: ${JSON.stringify(views)}`);
  }
}

async function viewOf(node: ClusterNode) {
  const described = await describeAt(node, TOPIC);
  return described?.partitions ?? null;
}

/** Everything, through this node, whoever leads: by gRPC, and once more as lines over HTTP. */
async function readAll({ history, topic }: ClusterLoad, node: ClusterNode, ends: readonly number[]): Promise<void> {
  const client = new GrpcClient(node.grpc);
  const http = new HttpClient(node.http);
  for (const [partition, end] of ends.entries()) {
    const name = `${topic}-${partition}`;
    const byStream = `end-${node.id}-stream`;
    let next = 0;
    for await (const { payload } of client.readToEnd({ topic, partition, form: Form.RECORDS })) {
      if (payload.case !== 'records') continue;
      const records = payload.value.records.map(({ offset, value }) => ({
        offset: Number(offset),
        value: identityOf(Buffer.from(value ?? []).toString()),
      }));
      history.poll(byStream, name, records);
      next = (records.at(-1)?.offset ?? next - 1) + 1;
    }
    expect({ node: node.id, partition, next }).toEqual({ node: node.id, partition, next: end });
    const path = `/v1/topics/${topic}/partitions/${partition}/records?values=text`;
    const { body } = await http.send({ path, headers: { accept: 'application/x-ndjson' } });
    for (const line of body.toString().trimEnd().split('\n').filter(Boolean)) {
      const { offset, value_text: text } = JSON.parse(line) as { offset: number; value_text: string };
      history.poll(`end-${node.id}-lines`, name, [{ offset, value: identityOf(text) }]);
    }
  }
  client.close();
  http.close();
}

async function differencesOf(cluster: TestCluster, ends: readonly number[]): Promise<readonly string[]> {
  const found: string[] = [];
  for (const [partition, end] of ends.entries()) {
    const replicas = await Promise.all(
      cluster.nodes.map(node => replicaFiles(`node ${node.id}`, join(node.dataDir, `${TOPIC}-${partition}`))),
    );
    found.push(...differences(replicas, end).map(text => `partition ${partition}: ${text}`));
  }
  return found;
}

/** How often each kind of fault came. */
function kindsOf(told: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const line of told) {
    const kind = line.split(' ')[1]!;
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  return `${told.length} faults (${Array.from(counts, ([kind, count]) => `${count} ${kind}`).join(', ')})`;
}

function report({ tally, history }: ClusterLoad, faults: string, ends: readonly number[]): void {
  const refused = Array.from(tally.refused, ([code, count]) => `${count} ${code}`).join(', ');
  process.stderr.write(
    `cluster: seed ${SEED}, ${SECONDS} s, ${faults}, ${history.sendCount} records sent, ${history.acknowledgedCount} acknowledged, ` +
      `${ends.reduce((sum, end) => sum + end, 0)} found; ${tally.unknown} requests of unknown outcome, refused: ${refused || 'none'}\n`,
  );
}
