// Nodes that wait for the rest of their cluster.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { TestCluster } from './cluster-processes.ts';
import { HttpClient } from './http-exchange.ts';

let folder: string;
let cluster: TestCluster;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sluice-founding-'));
  cluster = await TestCluster.plan({ folder });
});

afterEach(async () => {
  await cluster.close();
  await rm(folder, { recursive: true, force: true });
});

test('a node that waits for others says for whom, is alive and not ready, and ends when it is asked to', async () => {
  const node = cluster.node(1);
  const life = node.launch();
  await life.logged(/nodes of the list have not answered yet: 2, 3/);
  const http = new HttpClient(node.management);
  expect((await http.send({ path: '/livez' })).status).toBe(200);
  expect((await http.send({ path: '/readyz' })).status).toBe(503);
  http.close();
  expect(await node.terminate()).toMatchObject({ status: 0, signal: null });
  expect(node.faults).toEqual([]);
});

test('a node of a cluster that has no majority comes up as soon as it has one, and ends when it is asked to before', async () => {
  await cluster.startAll();
  expect(await cluster.stop()).toEqual([0, 0, 0]);
  const node = cluster.node(3);
  const alone = node.launch();
  await alone.logged(/"peer":1,.*"a peer is not reached"/);
  expect(await node.terminate()).toMatchObject({ status: 0, signal: null });
  await Promise.all([node.start(), cluster.node(2).start()]);
  await Promise.all([node.ready(), cluster.node(2).ready()]);
  expect(cluster.nodes.flatMap(each => each.faults)).toEqual([]);
}, 120_000);
