// Any node serves any request: those that lead, those that do not, the controller and the others, and a gateway that keeps nothing.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Acks, Form } from '@sluice/protocol/services';
import { Sluice } from '@sluice/client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sluice } from './command-line.ts';
import { ClusterNode, doors, freePort, TestCluster } from './cluster-processes.ts';
import { EventSourceReader } from './event-source.ts';
import { GrpcClient } from './grpc-streams.ts';
import { type Answer, call, expectStatus, post } from './http-call.ts';
import { TestSocket } from './web-socket-client.ts';

const GATEWAY = 9;
const LONG_MS = 180_000;
/** A hang, not a slow machine: far above an election, or the time after which a replica is out of sync. */
const HANG_MS = 60_000;

let folder: string;
let cluster: TestCluster;
let gateway: ClusterNode;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sluice-requests-'));
  cluster = await TestCluster.start({ folder });
  const flags = {
    'node-id': `${GATEWAY}`,
    role: 'gateway',
    cluster: cluster.list,
    peer: `127.0.0.1:${await freePort()}`,
  };
  gateway = new ClusterNode(GATEWAY, join(folder, 'gateway'), { ...flags, ...(await doors()) });
  await gateway.start();
  await gateway.ready();
}, LONG_MS);

afterAll(async () => {
  await gateway?.kill();
  await cluster?.close();
  await rm(folder, { recursive: true, force: true });
});

const everyNode = (): readonly ClusterNode[] => [...cluster.nodes, gateway];
const base = (node: ClusterNode): string => `http://${node.http}`;

/** Until the node answers so: what another one changed is there soon, and each answer is what is waited for. */
async function until(ask: () => Promise<Answer>, isIt: (answer: Answer) => boolean): Promise<Answer> {
  const untilMs = performance.now() + HANG_MS;
  for (;;) {
    const answer = await ask();
    if (isIt(answer)) return answer;
    if (performance.now() > untilMs) throw new Error(`it stays at ${answer.status} ${answer.text}`);
  }
}

/** Until these nodes together show that much of it: what one of them hears of the others is there soon. */
async function untilMetric(nodes: readonly ClusterNode[], name: string, wanted: number): Promise<void> {
  const untilMs = performance.now() + HANG_MS;
  for (;;) {
    const pages = await Promise.all(nodes.map(node => call(`http://${node.management}`, '/metrics')));
    const shown = pages.map(({ text }) => text.split('\n').find(line => line.startsWith(`${name} `)));
    const sum = shown.reduce((total, line) => total + Number(line?.split(' ')[1]), 0);
    if (sum === wanted) return;
    if (performance.now() > untilMs) throw new Error(`${name} stays at ${sum}`);
  }
}

const known = (node: ClusterNode, topic: string): Promise<Answer> =>
  until(
    () => call(base(node), `/v1/topics/${topic}`),
    ({ status }) => status === 200,
  );

interface Described {
  readonly partitions: readonly {
    readonly partition: number;
    readonly leader: number;
    readonly replicas: readonly number[];
    readonly isr: readonly number[];
    readonly high_watermark: number;
    readonly log_end_offset: number;
  }[];
}

const described = (answer: Answer): Described['partitions'] => (answer.json as unknown as Described).partitions;

/** Created here and known everywhere, with leaders. */
async function createAt(
  node: ClusterNode,
  topic: { readonly name: string } & Readonly<Record<string, unknown>>,
): Promise<void> {
  expectStatus(await post(base(node), '/v1/topics', topic), 201);
  for (const each of everyNode().filter(({ isUp }) => isUp)) {
    await until(
      () => call(base(each), `/v1/topics/${topic.name}`),
      answer => answer.status === 200 && described(answer).every(({ leader, isr }) => leader > 0 && isr.length === 3),
    );
  }
}

describe('every route of REST at every node', () => {
  test(
    'creates, changes, describes, lists and deletes topics, which all others know then',
    async () => {
      for (const [index, node] of everyNode().entries()) {
        const name = `changed-at-${node.id}`;
        const elsewhere = everyNode()[(index + 1) % 4]!;
        await createAt(node, { name, partition_count: 2, replication_factor: 3 });
        const taken = await post(base(elsewhere), '/v1/topics', { name });
        expect([taken.status, taken.json['code']]).toEqual([409, 'TOPIC_EXISTS']);
        const body = JSON.stringify({ partition_count: 4, config: { 'retention.ms': 60_000 } });
        const altered = await call(base(node), `/v1/topics/${name}`, {
          method: 'PATCH',
          type: 'application/json',
          body,
        });
        expect(expectStatus(altered, 200).json).toMatchObject({
          partition_count: 4,
          config: { 'retention.ms': '60000' },
        });
        await until(
          () => call(base(elsewhere), `/v1/topics/${name}`),
          ({ json }) => json['partition_count'] === 4,
        );
        const listed = expectStatus(await call(base(elsewhere), `/v1/topics?prefix=${name}`), 200);
        expect(listed.json).toMatchObject({
          topics: [{ name, partition_count: 4, replication_factor: 3 }],
          next: null,
        });
        expectStatus(await call(base(node), `/v1/topics/${name}`, { method: 'DELETE' }), 204);
        await until(
          () => call(base(elsewhere), `/v1/topics/${name}`),
          ({ status }) => status === 404,
        );
      }
    },
    LONG_MS,
  );

  test(
    'takes records in every form and gives them back in every form, wherever their leader is',
    async () => {
      const path = '/v1/topics/written/records';
      await createAt(gateway, { name: 'written', partition_count: 3, replication_factor: 3 });
      const values: string[] = [];
      for (const node of everyNode()) {
        for (let partition = 0; partition < 3; partition++) {
          const sent = `${node.id}-${partition}`;
          const where = `/v1/topics/written/partitions/${partition}/records`;
          expectStatus(await post(base(node), where, { records: [{ value: `${sent}-json` }] }), 200);
          expectStatus(await post(base(node), where, `{"value":"${sent}-lines"}\n`, 'application/x-ndjson'), 200);
          expectStatus(await post(base(node), where, `"${sent}-text"\n`, 'text/plain'), 200);
          expectStatus(await post(base(node), where, `"${sent}-bytes"`, 'application/octet-stream'), 200);
          for (const form of ['json', 'lines', 'text', 'bytes']) values.push(`${sent}-${form}`);
        }
        // All partitions with one request.
        const records = [0, 1, 2].map(partition => ({ value: `${node.id}-all-${partition}`, partition }));
        const answer = expectStatus(await post(base(node), path, { records }), 200);
        expect((answer.json['offsets'] as { partition: number }[]).map(({ partition }) => partition)).toEqual([
          0, 1, 2,
        ]);
        values.push(...records.map(({ value }) => value));
      }
      values.sort();
      for (const node of everyNode()) {
        const page = expectStatus(await call(base(node), `${path}?limit=1000`), 200);
        const records = page.json['records'] as { value: string; partition: number; offset: number }[];
        expect([node.id, records.map(({ value }) => value).sort()]).toEqual([node.id, values]);
        const lines = await call(base(node), path, { headers: { accept: 'application/x-ndjson' } });
        expect(lines.text.trimEnd().split('\n')).toHaveLength(values.length);
        const texts = await call(base(node), path, { headers: { accept: 'text/plain' } });
        expect(
          texts.text
            .trimEnd()
            .split('\n')
            .map(line => JSON.parse(line) as string)
            .sort(),
        ).toEqual(values);
        for (const { partition, offset, value } of records.slice(0, 6)) {
          const one = await call(base(node), `/v1/topics/written/partitions/${partition}/records/${offset}`);
          expect(expectStatus(one, 200).json).toMatchObject({ partition, offset, value });
        }
        const events = new EventSourceReader(`${base(node)}${path}`);
        await events.until(reader => reader.messages.length >= values.length);
        events.close();
        expect(events.messages.map(({ data }) => (JSON.parse(data) as { value: string }).value).sort()).toEqual(values);
        const offsets = expectStatus(await call(base(node), '/v1/topics/written/offsets?timestamp=0'), 200);
        const partitions = offsets.json['partitions'] as { high_watermark: number; offset: number }[];
        expect(partitions.reduce((sum, { high_watermark: end }) => sum + end, 0)).toBe(values.length);
        expect(partitions.map(({ offset }) => offset)).toEqual([0, 0, 0]);
      }
    },
    LONG_MS,
  );

  test(
    'goes on with a cursor of another node',
    async () => {
      await createAt(cluster.node(2), { name: 'paged', partition_count: 2, replication_factor: 3 });
      const records = Array.from({ length: 40 }, (_, value) => ({ value, partition: value % 2 }));
      expectStatus(await post(base(gateway), '/v1/topics/paged/records', { records }), 200);
      let query = 'limit=10';
      const read: number[] = [];
      for (const node of everyNode()) {
        const page = expectStatus(await call(base(node), `/v1/topics/paged/records?${query}`), 200);
        read.push(...(page.json['records'] as { value: number }[]).map(({ value }) => value));
        query = `limit=10&cursor=${(page.json['next'] as { cursor: string }).cursor}`;
      }
      expect(read.sort((a, b) => a - b)).toEqual(records.map(({ value }) => value));
    },
    LONG_MS,
  );

  test(
    'moves the start of a log, which all others see',
    async () => {
      await createAt(cluster.node(3), { name: 'shortened', replication_factor: 3 });
      const records = Array.from({ length: 10 }, (_, value) => ({ value }));
      expectStatus(await post(base(cluster.node(1)), '/v1/topics/shortened/records', { records }), 200);
      for (const [index, node] of everyNode().entries()) {
        const path = `/v1/topics/shortened/partitions/0/records?before=${index + 1}`;
        expect(expectStatus(await call(base(node), path, { method: 'DELETE' }), 200).json).toEqual({
          earliest_offset: index + 1,
        });
        for (const other of everyNode()) {
          const offsets = expectStatus(await call(base(other), '/v1/topics/shortened/offsets'), 200);
          expect(offsets.json['partitions']).toMatchObject([{ earliest_offset: index + 1, high_watermark: 10 }]);
        }
      }
    },
    LONG_MS,
  );

  test('says who belongs to the cluster, the same at all of them', async () => {
    const answers = await Promise.all(everyNode().map(node => call(base(node), '/v1/cluster')));
    const [first] = answers;
    const ids = (first!.json['brokers'] as { node_id: number }[]).map(({ node_id: id }) => id);
    expect(ids).toEqual([1, 2, 3, GATEWAY]);
    for (const { json } of answers) {
      expect({ ...json, brokers: null }).toEqual({ ...first!.json, brokers: null });
      expect([1, 2, 3]).toContain(json['controller']);
    }
    for (const node of everyNode()) {
      expectStatus(await call(base(node), '/v1/brokers'), 200);
      expectStatus(await call(base(node), '/openapi.yaml'), 200);
      expectStatus(await call(base(node), '/'), 200);
    }
  });

  test(
    'takes and gives records over WebSocket',
    async () => {
      await createAt(cluster.node(1), { name: 'framed', partition_count: 3, replication_factor: 3 });
      for (const node of everyNode()) {
        await using socket = await TestSocket.open(base(node));
        const records = [0, 1, 2].map(partition => ({ value: node.id, partition }));
        const answer = await socket.ask({ id: 1, op: 'produce', topic: 'framed', records });
        expect(answer.op).toBe('produced');
      }
      for (const node of everyNode()) {
        await using socket = await TestSocket.open(base(node));
        const name = await socket.subscribe({ topic: 'framed', from: 'earliest' });
        const frames = await socket.records(name, 12);
        const ids = frames.flatMap(({ records }) => records!.map(({ value }) => value as number));
        expect(ids.sort((a, b) => a - b)).toEqual([1, 1, 1, 2, 2, 2, 3, 3, 3, GATEWAY, GATEWAY, GATEWAY]);
      }
    },
    LONG_MS,
  );
});

describe('every verb of gRPC at every node', () => {
  test(
    'changes and describes topics, and says who leads what',
    async () => {
      for (const [index, node] of everyNode().entries()) {
        const elsewhere = everyNode()[(index + 1) % 4]!;
        const [here, there] = [new Sluice({ servers: [node.grpc] }), new Sluice({ servers: [elsewhere.grpc] })];
        const name = `administered-at-${node.id}`;
        await here.admin.createTopic({ name, partitionCount: 2, replicationFactor: 3 });
        await known(elsewhere, name);
        await expect(there.admin.createTopic({ name })).rejects.toMatchObject({ code: 'TOPIC_EXISTS' });
        const altered = await there.admin.alterTopic({ name, partitionCount: 3, config: { 'retention.ms': 60_000 } });
        expect(altered).toMatchObject({ partitionCount: 3, config: { 'retention.ms': '60000' } });
        await until(
          () => call(base(node), `/v1/topics/${name}`),
          ({ json }) => json['partition_count'] === 3,
        );
        expect((await here.admin.listTopics({ prefix: name })).map(topic => topic.name)).toEqual([name]);
        await using producer = here.producer({ topic: name });
        for (let partition = 0; partition < 3; partition++) await producer.send({ value: 'x', partition });
        const offsets = await there.admin.listOffsets(name, { timestamp: 0 });
        expect(offsets.map(({ highWatermark, offset }) => [highWatermark, offset])).toEqual([
          [1, 0],
          [1, 0],
          [1, 0],
        ]);
        await there.admin.deleteRecords({ topic: name, partition: 1, before: 1 });
        expect((await here.admin.describeTopic(name)).partitions.map(({ earliestOffset }) => earliestOffset)).toEqual([
          0, 1, 0,
        ]);
        const { controller, brokers } = await here.admin.cluster();
        expect([brokers.map(({ nodeId }) => nodeId), brokers.some(({ nodeId }) => nodeId === controller)]).toEqual([
          [1, 2, 3, GATEWAY],
          true,
        ]);
        await there.admin.deleteTopic(name);
        await here.close();
        await there.close();
      }
    },
    LONG_MS,
  );

  test(
    'takes and gives records of every partition, with every acks',
    async () => {
      await createAt(cluster.node(1), { name: 'streamed', partition_count: 3, replication_factor: 3 });
      const sent: string[][] = [[], [], []];
      for (const node of everyNode()) {
        const client = new GrpcClient(node.grpc);
        const stream = client.produce();
        for (const [partition, values] of sent.entries()) {
          for (const acks of [Acks.ALL, Acks.LEADER]) {
            const value = `${node.id} with ${acks}`;
            const answer = await stream.send({
              topic: 'streamed',
              partition,
              acks,
              records: [{ value: Buffer.from(value) }],
            });
            expect(answer).toMatchObject({ case: 'ack', value: { count: 1, baseOffset: BigInt(values.length) } });
            values.push(value);
          }
          // Not answered: its turn comes before whatever this stream sends for the partition after it.
          const value = `${node.id} with ${Acks.NONE}`;
          void stream
            .send({ topic: 'streamed', partition, acks: Acks.NONE, records: [{ value: Buffer.from(value) }] })
            .catch(() => {});
          const after = await stream.send({ topic: 'streamed', partition, records: [{ value: Buffer.from('after') }] });
          expect(after).toMatchObject({ case: 'ack', value: { baseOffset: BigInt(values.length + 1) } });
          values.push(value, 'after');
        }
        stream.end();
        client.close();
      }
      for (const node of everyNode()) {
        const client = new GrpcClient(node.grpc);
        for (const [partition, values] of sent.entries()) {
          const read: string[] = [];
          for await (const { payload } of client.readToEnd({ topic: 'streamed', partition, form: Form.RECORDS })) {
            if (payload.case !== 'records') continue;
            read.push(...payload.value.records.map(({ value }) => Buffer.from(value ?? []).toString()));
          }
          expect([node.id, partition, read]).toEqual([node.id, partition, values]);
        }
        client.close();
      }
    },
    LONG_MS,
  );

  test(
    'sluice cluster describe shows all of them',
    async () => {
      for (const node of everyNode()) {
        const { status, stdout } = await sluice(['cluster', 'describe', '--server', node.grpc]);
        expect(status).toBe(0);
        const lines = stdout.toString().trimEnd().split('\n');
        expect(lines[0]).toMatch(/^cluster [0-9a-f-]{36}, controller [123]$/);
        const rows = lines.slice(3).map(line => line.trim().split(/ {2,}/).slice(0, 5));
        expect(rows).toEqual(everyNode().map(({ id, grpc, http }) => [`${id}`, 'running', '-', grpc, http]));
      }
    },
    LONG_MS,
  );
});

test(
  'a gateway keeps no replica, and no topic has more of them than there are brokers that do',
  async () => {
    const answer = await post(base(gateway), '/v1/topics', { name: 'too-many', replication_factor: 4 });
    expect([answer.status, answer.json['code']]).toEqual([400, 'INVALID_REPLICATION_FACTOR']);
    await createAt(gateway, { name: 'placed', partition_count: 12, replication_factor: 3 });
    for (const { replicas } of described(await call(base(gateway), '/v1/topics/placed'))) {
      expect([...replicas].sort((a, b) => a - b)).toEqual([1, 2, 3]);
    }
  },
  LONG_MS,
);

/** The last of all, because it ends two nodes. */
test(
  'with one node down and with two, acknowledgements are given, or refused before anything is appended',
  async () => {
    await createAt(gateway, { name: 'two', replication_factor: 3, config: { 'min.insync.replicas': 2 } });
    await createAt(gateway, { name: 'three', replication_factor: 3, config: { 'min.insync.replicas': 3 } });
    const survivor = cluster.node(1);
    const [first, second] = [cluster.node(3), cluster.node(2)];
    const write = (topic: string, query = ''): Promise<Answer> =>
      post(base(gateway), `/v1/topics/${topic}/records?timeout_ms=2000${query}`, { records: [{ value: topic }] });
    expectStatus(await write('two'), 200);
    expectStatus(await write('three'), 200);

    await first.kill();
    for (const topic of ['two', 'three']) {
      await until(
        () => call(base(survivor), `/v1/topics/${topic}`),
        answer =>
          described(answer).every(({ leader, isr }) => leader > 0 && isr.length === 2 && !isr.includes(first.id)),
      );
    }
    await untilMetric([survivor, second], 'sluice_is_controller', 1);
    await untilMetric([survivor, second], 'sluice_partitions_leaderless', 0);
    await untilMetric([gateway], 'sluice_peers{state="up"}', 2);
    await untilMetric([gateway], 'sluice_peers{state="down"}', 1);
    expectStatus(await write('two'), 200);
    const refused = await write('three');
    expect([refused.status, refused.json['code'], refused.json['outcome']]).toEqual([
      503,
      'NOT_ENOUGH_REPLICAS',
      undefined,
    ]);
    // Nothing was appended; who asks for less is served.
    expect(described(await call(base(gateway), '/v1/topics/three'))).toMatchObject([{ log_end_offset: 1 }]);
    expectStatus(await write('three', '&acks=1'), 200);
    expectStatus(await write('three', '&acks=0'), 202);
    await until(
      () => call(base(gateway), '/v1/topics/three'),
      answer => described(answer)[0]!.high_watermark === 3,
    );

    await second.kill();
    const left = await until(
      () => call(base(survivor), '/v1/topics/two'),
      answer => described(answer).every(({ leader }) => leader === -1),
    );
    expect(described(left)).toMatchObject([{ partition: 0, leader: -1, replicas: expect.arrayContaining([1, 2, 3]) }]);
    const lonely = await write('two');
    expect([lonely.status, lonely.json['retriable'], lonely.json['outcome']]).toEqual([503, true, undefined]);

    await Promise.all([first.start(), second.start()]);
    for (const topic of ['two', 'three']) {
      await until(
        () => call(base(survivor), `/v1/topics/${topic}`),
        answer => answer.status === 200 && described(answer).every(({ leader, isr }) => leader > 0 && isr.length === 3),
      );
    }
    // What was refused is not there, and what was acknowledged is.
    for (const node of everyNode()) {
      expect(described(await known(node, 'two'))).toMatchObject([{ high_watermark: 2 }]);
      expect(described(await known(node, 'three'))).toMatchObject([{ high_watermark: 3 }]);
    }
    expectStatus(await write('two'), 200);
    expectStatus(await write('three'), 200);
  },
  LONG_MS,
);
