// Who is let into a cluster: nodes of another one, without the secret, with a node id that is taken or a directory that was wiped, or of
// another release are turned away, with a line in the log that says why; the cluster goes on and loses nothing.

import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nodeId } from '@sluice/protocol/ids';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { PEER_PROTOCOL_VERSION } from '../../server/io/real/peer-link/admission.ts';
import { listenPeers } from '../../server/io/real/peer-link/peer-links.ts';
import { realClock } from '../../server/io/real/clock.ts';
import { realRandom } from '../../server/io/real/random.ts';
import { BrokerProcess } from './broker-process.ts';
import { ClusterNode, doors, freePort, TestCluster } from './cluster-processes.ts';
import { HttpClient } from './http-exchange.ts';

const TOPIC = 'kept';
const LONG_MS = 180_000;

let folder: string;
let cluster: TestCluster;
const guests: BrokerProcess[] = [];
let written = 0;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sluice-admission-'));
  await writeFile(join(folder, 'secret'), 'what all of them know\n');
  await writeFile(join(folder, 'other-secret'), 'what nobody else knows\n');
  cluster = await TestCluster.start({ folder, flags: { 'cluster-secret-file': join(folder, 'secret') } });
  const http = new HttpClient(cluster.node(1).http);
  const topic = { name: TOPIC, replication_factor: 3, config: { 'min.insync.replicas': '2' } };
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
  await write(cluster.node(1));
}, LONG_MS);

afterAll(async () => {
  await Promise.all(guests.map(process => process.kill()));
  await cluster?.close();
  await rm(folder, { recursive: true, force: true });
});

/** One record, acknowledged by all that are in sync. */
async function write(node: ClusterNode): Promise<void> {
  const http = new HttpClient(node.http);
  await http.json({
    method: 'POST',
    path: `/v1/topics/${TOPIC}/records`,
    headers: { 'content-type': 'text/plain' },
    body: `record ${written}`,
  });
  written++;
  http.close();
}

async function valuesAt(node: ClusterNode): Promise<readonly string[]> {
  const http = new HttpClient(node.http);
  const { body } = await http.send({ path: `/v1/topics/${TOPIC}/records`, headers: { accept: 'text/plain' } });
  http.close();
  return body.toString().trimEnd().split('\n');
}

async function expectEverything(nodes: readonly ClusterNode[] = cluster.nodes): Promise<void> {
  const all = Array.from({ length: written }, (_, index) => `record ${index}`);
  for (const node of nodes) expect([node.id, await valuesAt(node)]).toEqual([node.id, all]);
}

/** A process that is not of the cluster, and need not come up. */
async function guest(id: number, flags: Readonly<Record<string, string>>, name: string): Promise<BrokerProcess> {
  const process = BrokerProcess.launch(join(folder, name), {
    'node-id': `${id}`,
    peer: `127.0.0.1:${await freePort()}`,
    ...(await doors()),
    ...flags,
  });
  guests.push(process);
  return process;
}

const refusedFor = (reason: string): RegExp => new RegExp(`"reason":"${reason}".*"msg":"a peer was refused"`);

const secret = (): Record<string, string> => ({ 'cluster-secret-file': join(folder, 'secret') });

describe('turned away is', () => {
  test(
    'a node of another cluster',
    async () => {
      const own = `127.0.0.1:${await freePort()}`;
      const address = await doors();
      const founder = new ClusterNode(7, join(folder, 'other'), {
        'node-id': '7',
        cluster: `7@${own}`,
        ...address,
        ...secret(),
      });
      guests.push(founder.launch());
      await founder.process!.listening();
      await founder.ready();
      expect((await founder.terminate())?.status).toBe(0);
      const stranger = founder.launch({ cluster: cluster.list, peer: own });
      guests.push(stranger);
      expect(await stranger.logged(refusedFor('cluster-id'))).toMatch(
        /node 7 belongs to cluster [0-9a-f-]{36}, node \d to cluster [0-9a-f-]{36}/,
      );
      await cluster.node(1).process!.logged(refusedFor('cluster-id'));
      await write(cluster.node(2));
      await expectEverything();
    },
    LONG_MS,
  );

  test.each([
    ['another secret', 'other-secret'],
    ['no secret', null],
  ])(
    'a node with %s',
    async (name, file) => {
      const flags = file === null ? {} : { 'cluster-secret-file': join(folder, file) };
      const stranger = await guest(8, { cluster: cluster.list, ...flags }, name);
      expect(await stranger.logged(refusedFor('secret'))).toMatch(
        /node 8 and node \d do not have the same cluster secret/,
      );
      await cluster.node(1).process!.logged(refusedFor('secret'));
      await write(cluster.node(3));
      await expectEverything();
      // It belongs to nothing, and can be ended like any other.
      expect(await stranger.terminate()).toMatchObject({ status: 0, signal: null });
    },
    LONG_MS,
  );

  test(
    'a second node with the id of a member',
    async () => {
      const twin = await guest(2, { cluster: cluster.list, ...secret() }, 'twin');
      expect(
        await twin.logged(/"reason":"(duplicate-node|wiped-directory|own-node)".*"msg":"a peer was refused"/),
      ).toMatch(/node 2/);
      await write(cluster.node(2));
      await expectEverything();
    },
    LONG_MS,
  );

  test(
    'a node of a release with another protocol',
    async () => {
      const identity = { nodeId: nodeId(9), directory: realRandom.uuid(), incarnation: 1, clusterId: '' };
      const silent = { info() {}, warn() {}, error() {}, fatal() {}, debug() {} };
      const links = await listenPeers({
        listen: { host: '127.0.0.1', port: 0 },
        local: identity,
        secret: Buffer.from('what all of them know'),
        clock: realClock,
        random: realRandom,
        logger: silent,
        protocolVersion: 99,
      });
      try {
        const told = new Promise<string>(resolve => {
          links.start({
            frame: () => {},
            call: () => Promise.resolve(new Uint8Array()),
            up: () => resolve('it was let in'),
            down: () => {},
            refused: (_to, { reason, detail }) => resolve(`${reason}: ${detail}`),
            admit: () => null,
          });
        });
        links.open(nodeId(1), cluster.list.split(',')[0]!.slice(2));
        expect(await told).toBe(
          `protocol-version: node 9 speaks version 99 of the peer protocol, node 1 version ${PEER_PROTOCOL_VERSION}`,
        );
        await cluster.node(1).process!.logged(refusedFor('protocol-version'));
      } finally {
        await links.close();
      }
      await write(cluster.node(1));
      await expectEverything();
    },
    LONG_MS,
  );

  test(
    'a voter whose disk was wiped, until it has its directory again',
    async () => {
      const wiped = cluster.node(2);
      await wiped.terminate();
      const kept = `${wiped.dataDir}-kept`;
      await rename(wiped.dataDir, kept);
      const blank = wiped.launch();
      expect(await blank.logged(refusedFor('wiped-directory'))).toMatch(
        /node 2 belongs to this cluster with the data directory/,
      );
      const others = cluster.nodes.filter(node => node !== wiped);
      await write(cluster.node(3));
      await expectEverything(others);
      expect(await blank.terminate()).toMatchObject({ status: 0, signal: null });
      await rm(wiped.dataDir, { recursive: true });
      await rename(kept, wiped.dataDir);
      await wiped.start();
      await wiped.ready();
      await write(wiped);
      await expectEverything();
    },
    LONG_MS,
  );
});
