// Consumer groups over real HTTP against a real broker.

import { readFileSync } from 'node:fs';
import { create } from '@bufbuild/protobuf';
import { GroupService, MemberRequestSchema } from '@sluice/protocol/services';
import { startBroker, type TestBroker } from 'sluice/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Contract } from '../../server/gateway/rest/contract.ts';
import { RawClient } from '../gateway/grpc/raw-client.ts';
import { type Answer, call, expectStatus, post } from './http-call.ts';

let broker: TestBroker;
let client: RawClient;
const contract = new Contract(readFileSync(new URL('../../openapi.yaml', import.meta.url), 'utf8'));

beforeAll(async () => {
  broker = await startBroker();
  client = new RawClient(broker.grpc);
});
afterAll(async () => {
  client.close();
  await broker.stop();
});

const get = (path: string): Promise<Answer> => call(broker.http, path);
const remove = (path: string): Promise<Answer> => call(broker.http, path, { method: 'DELETE' });
const put = (path: string, body: unknown): Promise<Answer> =>
  call(broker.http, path, { method: 'PUT', type: 'application/json', body: JSON.stringify(body) });

/** The answer, which is as its schema has it. */
const shaped = (answer: Answer, schema: string): Record<string, unknown> => {
  expectStatus(answer, 200);
  const judge = contract.schema(schema);
  if (!judge(answer.json)) throw new Error(JSON.stringify(judge.errors));
  return answer.json;
};

const topic = async (name: string): Promise<void> => {
  expectStatus(await post(broker.http, '/v1/topics', { name, partition_count: 2 }), 201);
};

test('a broker without groups has none to show', async () => {
  expect(shaped(await get('/v1/groups'), 'GroupPage')).toEqual({ groups: [], next: null });
  expect((await get('/v1/groups/g')).json).toMatchObject({ status: 404, code: 'GROUP_NOT_FOUND' });
  expect((await remove('/v1/groups/g')).json).toMatchObject({ status: 404, code: 'GROUP_NOT_FOUND' });
  expect(shaped(await get('/v1/groups/g/offsets'), 'GroupOffsets')).toEqual({ offsets: [] });
  const unnameable = await get(`/v1/groups/${'g'.repeat(256)}/offsets`);
  expect(unnameable.json).toMatchObject({ status: 400, code: 'INVALID_REQUEST' });
});

test('where a group goes on is set, read, shown with its lag, and deleted', async () => {
  await topic('orders');
  const records = Array.from({ length: 5 }, (_, value) => ({ value, partition: 0 }));
  expectStatus(await post(broker.http, '/v1/topics/orders/records', { records }), 200);
  const offsets = [
    { topic: 'orders', partition: 1, offset: 0 },
    { topic: 'orders', partition: 0, offset: 2, leader_epoch: 1, metadata: 'm' },
  ];
  const path = '/v1/groups/a~b/offsets';
  expect(shaped(await put(`${path}?dry_run=true`, { offsets }), 'GroupOffsetsSet')).toEqual({
    offsets: [
      { topic: 'orders', partition: 1, before: null, after: 0 },
      { topic: 'orders', partition: 0, before: null, after: 2 },
    ],
  });
  expect((await get(path)).json).toEqual({ offsets: [] });
  shaped(await put(path, { offsets }), 'GroupOffsetsSet');
  expect(shaped(await get(path), 'GroupOffsets')).toMatchObject({
    offsets: [
      { topic: 'orders', partition: 0, offset: 2, leader_epoch: 1, metadata: 'm', committed_at: expect.any(Number) },
      { topic: 'orders', partition: 1, offset: 0, leader_epoch: null, metadata: '' },
    ],
  });
  expect(shaped(await get('/v1/groups/a~b'), 'Group')).toEqual({
    group: 'a~b',
    state: 'empty',
    member_count: 0,
    epoch: 0,
    assignor: 'uniform',
    members: [],
    partitions: [
      { topic: 'orders', partition: 0, offset: 2, log_end_offset: 5, lag: 3, metadata: 'm', member_id: null },
      { topic: 'orders', partition: 1, offset: 0, log_end_offset: 0, lag: 0, metadata: '', member_id: null },
    ],
  });
  expectStatus(await remove('/v1/groups/a~b'), 204);
  expect((await get('/v1/groups/a~b')).status).toBe(404);
});

test('a name is given in the spelling of URLs', async () => {
  await topic('named');
  const offsets = [{ topic: 'named', partition: 0, offset: 0 }];
  shaped(await put(`/v1/groups/${encodeURIComponent('team/a?b')}/offsets`, { offsets }), 'GroupOffsetsSet');
  expect((await get(`/v1/groups/${encodeURIComponent('team/a?b')}`)).json).toMatchObject({ group: 'team/a?b' });
  const page = await get(`/v1/groups?prefix=${encodeURIComponent('team/')}`);
  expect(page.json).toMatchObject({ groups: [{ group: 'team/a?b' }] });
  const blank = await put(`/v1/groups/${encodeURIComponent('a b')}/offsets`, { offsets });
  expect(blank.json).toMatchObject({ status: 400, code: 'INVALID_REQUEST' });
});

test('pages go on after a name', async () => {
  await topic('paged');
  const offsets = [{ topic: 'paged', partition: 0, offset: 0 }];
  for (const name of ['p1', 'p2', 'p3']) await put(`/v1/groups/${name}/offsets`, { offsets });
  const first = shaped(await get('/v1/groups?prefix=p&limit=2'), 'GroupPage');
  expect(first).toMatchObject({ groups: [{ group: 'p1' }, { group: 'p2' }], next: { after: 'p2' } });
  const second = shaped(await get('/v1/groups?prefix=p&limit=2&after=p2'), 'GroupPage');
  expect(second).toMatchObject({ groups: [{ group: 'p3' }], next: null });
  expect((await get('/v1/groups?limit=0')).json).toMatchObject({ code: 'INVALID_REQUEST' });
});

test('a group with members is described, and neither set nor deleted', async () => {
  await topic('busy');
  const stream = client.bidi(GroupService.method.member);
  const join = { group: 'crew', topics: ['busy'], clientId: 'me' };
  stream.write(create(MemberRequestSchema, { request: { case: 'join', value: join } }));
  await stream.next();
  expect(shaped(await get('/v1/groups/crew'), 'Group')).toMatchObject({
    state: 'stable',
    member_count: 1,
    members: [
      {
        client_id: 'me',
        instance_id: null,
        topics: ['busy'],
        topic_pattern: null,
        assignment: [{ topic: 'busy', partitions: [0, 1] }],
        revoking: [],
      },
    ],
    partitions: [{ partition: 0, offset: null, lag: null }, { partition: 1 }],
  });
  const set = await put('/v1/groups/crew/offsets', { offsets: [{ topic: 'busy', partition: 0, offset: 0 }] });
  expect(set.json).toMatchObject({ status: 409, code: 'GROUP_NOT_EMPTY' });
  expect((await remove('/v1/groups/crew')).json).toMatchObject({ status: 409, code: 'GROUP_NOT_EMPTY' });
  stream.call.cancel();
});

const position = { topic: 'checked', partition: 0, offset: 0 };

test.each<[string, unknown, number, string]>([
  ['no positions', { offsets: [] }, 400, 'INVALID_REQUEST'],
  ['an unknown member', { offsets: [position], more: 1 }, 400, 'INVALID_REQUEST'],
  ['a negative offset', { offsets: [{ ...position, offset: -1 }] }, 400, 'INVALID_REQUEST'],
  ['a long text', { offsets: [{ ...position, metadata: 'x'.repeat(4_097) }] }, 400, 'INVALID_REQUEST'],
  ['a partition that is not there', { offsets: [{ ...position, partition: 9 }] }, 404, 'PARTITION_NOT_FOUND'],
  ['a topic that is not there', { offsets: [{ ...position, topic: 'nowhere' }] }, 404, 'TOPIC_NOT_FOUND'],
])('%s cannot be set, and the group is not made', async (_, body, status, code) => {
  await post(broker.http, '/v1/topics', { name: 'checked' });
  expect((await put('/v1/groups/unmade/offsets', body)).json).toMatchObject({ status, code });
  expect((await get('/v1/groups/unmade')).status).toBe(404);
});

test('other methods are told which there are', async () => {
  const answer = await post(broker.http, '/v1/groups/g', {});
  expect(answer.json).toMatchObject({ status: 405, code: 'METHOD_NOT_ALLOWED' });
  expect(answer.headers.allow).toBe('GET, HEAD, DELETE');
});

// ---- Members

interface Joined {
  readonly member_id: string;
  readonly member_epoch: number;
  readonly assignment: readonly Sets[];
}

interface Sets {
  readonly topic: string;
  readonly partitions: readonly number[];
}

interface Heard {
  readonly member_epoch: number;
  readonly assignment: readonly Sets[];
  readonly revoking: readonly Sets[];
}

const join = async (group: string, body: Record<string, unknown>): Promise<Joined & { readonly path: string }> => {
  const answer = await post(broker.http, `/v1/groups/${group}/members`, body);
  expectStatus(answer, 201);
  const judge = contract.schema('JoinedGroup');
  if (!judge(answer.json)) throw new Error(JSON.stringify(judge.errors));
  return { ...(answer.json as unknown as Joined), path: String(answer.headers.location) };
};

const beat = async (path: string, body: Record<string, unknown>, query = ''): Promise<Heard> =>
  shaped(await post(broker.http, `${path}/heartbeat${query}`, body), 'Membership') as unknown as Heard;

test('members share a topic: what is to move is given back first', async () => {
  await topic('shared');
  const a = await join('sharers', { topics: ['shared'] });
  expect(a).toMatchObject({
    member_epoch: 1,
    heartbeat_interval_ms: 5_000,
    session_timeout_ms: 45_000,
    from: 'earliest',
    assignment: [{ topic: 'shared', partitions: [0, 1] }],
    path: `/v1/groups/sharers/members/${a.member_id}`,
  });
  const b = await join('sharers', { topics: ['shared'], from: 'latest', session_timeout_ms: 6_000 });
  expect(b).toMatchObject({ heartbeat_interval_ms: 2_000, from: 'latest', assignment: [] });
  const waiting = beat(b.path, { member_epoch: 1 }, '?wait=20000');
  const asked = await beat(a.path, { member_epoch: 1 });
  expect(asked).toMatchObject({
    assignment: [{ topic: 'shared', partitions: [0] }],
    revoking: [{ topic: 'shared', partitions: [1] }],
  });
  const owned = [{ topic: 'shared', partitions: [0, 1] }];
  expect(await beat(a.path, { member_epoch: asked.member_epoch, owned })).toEqual(asked);
  const offsets = [{ topic: 'shared', partition: 1, offset: 0, metadata: 'done' }];
  const commit = { member_epoch: asked.member_epoch, offsets };
  expectStatus(await post(broker.http, `${a.path}/commit`, commit), 204);
  expect(await beat(a.path, { member_epoch: asked.member_epoch })).toMatchObject({ revoking: [] });
  expect(await waiting).toMatchObject({ assignment: [{ topic: 'shared', partitions: [1] }], revoking: [] });
  expect((await post(broker.http, `${a.path}/commit`, commit)).json).toMatchObject({
    status: 409,
    code: 'FENCED_MEMBER_EPOCH',
  });
  expect((await get('/v1/groups/sharers/offsets')).json).toMatchObject({
    offsets: [{ partition: 1, metadata: 'done' }],
  });
  expectStatus(await remove(a.path), 204);
  expect((await remove(a.path)).json).toMatchObject({ status: 404, code: 'UNKNOWN_MEMBER' });
  expect((await post(broker.http, `${a.path}/heartbeat`, { member_epoch: 3 })).json).toMatchObject({
    status: 404,
    code: 'UNKNOWN_MEMBER',
  });
  expect(await beat(b.path, { member_epoch: 2 })).toMatchObject({
    assignment: [{ topic: 'shared', partitions: [0, 1] }],
  });
});

test("an epoch that is not the member's is refused, and so is a position before the committed one", async () => {
  await topic('strict');
  const a = await join('strict', { topic_pattern: 'stri.*' });
  const answer = await post(broker.http, `${a.path}/heartbeat`, { member_epoch: 7 });
  expect(answer.json).toMatchObject({ status: 409, code: 'FENCED_MEMBER_EPOCH', member_epoch: 1 });
  const commit = (at: number): Promise<Answer> =>
    post(broker.http, `${a.path}/commit`, {
      member_epoch: 1,
      offsets: [{ topic: 'strict', partition: 0, offset: at }],
    });
  expectStatus(await commit(5), 204);
  expect((await commit(4)).json).toMatchObject({ status: 400, code: 'INVALID_REQUEST', committed_offset: 5 });
});

test('the same instance goes on under a new id, and a later holder fences the one before', async () => {
  await topic('stable');
  const a = await join('stable', { topics: ['stable'], instance_id: 'i', client_id: 'c' });
  const b = await join('stable', { topics: ['stable'], instance_id: 'i' });
  expect(b.assignment).toEqual([{ topic: 'stable', partitions: [0, 1] }]);
  expect((await post(broker.http, `${a.path}/heartbeat`, { member_epoch: 1 })).json).toMatchObject({
    status: 409,
    code: 'FENCED_MEMBER_EPOCH',
  });
});

test.each<[string, unknown, number, string]>([
  ['neither topics nor a pattern', {}, 400, 'INVALID_REQUEST'],
  ['both', { topics: ['strict'], topic_pattern: 'a' }, 400, 'INVALID_REQUEST'],
  ['a pattern that cannot be read', { topic_pattern: '(' }, 400, 'INVALID_REQUEST'],
  ['a topic that is not there', { topics: ['nowhere'] }, 404, 'TOPIC_NOT_FOUND'],
  ['a session that is too short', { topics: ['strict'], session_timeout_ms: 1 }, 400, 'INVALID_REQUEST'],
  ['an assignor that is not known', { topics: ['strict'], assignor: 'fair' }, 400, 'INVALID_REQUEST'],
])('a join with %s is refused', async (_, body, status, code) => {
  expect((await post(broker.http, '/v1/groups/refused/members', body)).json).toMatchObject({ status, code });
});
