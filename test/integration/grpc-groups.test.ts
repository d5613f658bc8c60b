// GroupService as a client without the SDK sees it: members on streams, and groups from outside.

import { create } from '@bufbuild/protobuf';
import {
  AdminService,
  GroupService,
  MemberRequestSchema,
  type MemberResponse,
  ProduceService,
  ResetEnd,
  StartPosition,
  type TopicPartitions,
} from '@sluice/protocol/services';
import { encodeBatch } from '@sluice/protocol/record';
import { startBroker, type TestBroker } from 'sluice/testing';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { CallRefused, RawClient } from '../gateway/grpc/raw-client.ts';

const { listGroups, describeGroup, deleteGroup, fetchGroupOffsets, commitGroupOffsets, resetGroupOffsets } =
  GroupService.method;

let broker: TestBroker;
let client: RawClient;
let topic = '';
let group = '';
let count = 0;
let members: Member[] = [];

beforeAll(async () => {
  broker = await startBroker();
  client = new RawClient(broker.grpc);
});

afterAll(async () => {
  client.close();
  await broker.stop();
});

beforeEach(async () => {
  topic = `t${++count}`;
  group = `g${count}`;
  members = [];
  await client.createTopic(topic, 4);
});

afterEach(() => {
  for (const member of members) member.end();
});

type Request = NonNullable<Parameters<typeof create<typeof MemberRequestSchema>>[1]>['request'];
type Said = Exclude<Request, { readonly case?: undefined } | undefined>;
type Case = NonNullable<MemberResponse['response']['case']>;

const partitions = (sets: readonly TopicPartitions[]): readonly number[] => sets.flatMap(set => set.partitions);

class Member {
  readonly stream = client.bidi(GroupService.method.member);

  constructor() {
    members.push(this);
  }

  static async join(changes: object = {}): Promise<Member> {
    const member = new Member();
    member.send({ case: 'join', value: { group, topics: [topic], ...changes } });
    return member;
  }

  send(request: Said): void {
    this.stream.write(create(MemberRequestSchema, { request }));
  }

  async expect<C extends Case>(wanted: C): Promise<Extract<MemberResponse['response'], { case: C }>['value']> {
    const message = await this.stream.next();
    expect(message?.response.case).toBe(wanted);
    return message!.response.value as never;
  }

  owns(memberEpoch: number, ...owned: number[]): void {
    this.send({ case: 'heartbeat', value: { memberEpoch, owned: [{ topic, partitions: owned }] } });
  }

  end(): void {
    this.stream.call.cancel();
  }
}

const refusal = async (call: Promise<unknown>): Promise<string | undefined> => {
  const error = await call.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof CallRefused)) throw new Error(`not refused: ${String(error)}`);
  return error.info?.reason;
};

const write = async (partition: number, records: number): Promise<void> => {
  const stream = client.bidi(ProduceService.method.produce);
  const batches = encodeBatch(Array.from({ length: records }, () => ({ key: null, value: 'v', timestamp: 1 })));
  stream.write({ id: 1n, topic, partition, batches });
  expect((await stream.next())?.result.case).toBe('ack');
  stream.call.cancel();
};

test('a member is given everything, and what is to move is taken back before it is given on', async () => {
  const a = await Member.join({ clientId: 'a' });
  const joined = await a.expect('joined');
  expect(joined).toMatchObject({ memberEpoch: 1, heartbeatIntervalMs: 5_000, from: StartPosition.EARLIEST });
  expect(partitions(joined.assignment)).toEqual([0, 1, 2, 3]);
  const b = await Member.join({ clientId: 'b' });
  expect(partitions((await b.expect('joined')).assignment)).toEqual([]);
  const revoking = await a.expect('revoking');
  expect(partitions(revoking.partitions)).toEqual([2, 3]);
  expect(revoking.deadlineMs).toBe(60_000);
  a.send({ case: 'commit', value: { id: 7n, offsets: [{ topic, partition: 3, offset: 5n, metadata: 'm' }] } });
  expect(await a.expect('committed')).toMatchObject({ id: 7n });
  a.owns(revoking.memberEpoch, 0, 1);
  expect(partitions((await a.expect('assigned')).assignment)).toEqual([0, 1]);
  expect(partitions((await b.expect('assigned')).assignment)).toEqual([2, 3]);
  expect(await client.unary(fetchGroupOffsets, { group })).toMatchObject({
    offsets: [{ topic, partition: 3, offset: 5n, metadata: 'm' }],
  });
});

test('what is said of an epoch before the present one gives nothing back', async () => {
  const a = await Member.join();
  await a.expect('joined');
  const b = await Member.join();
  await b.expect('joined');
  const { memberEpoch } = await a.expect('revoking');
  a.owns(memberEpoch - 1, 0);
  a.owns(memberEpoch, 0, 1, 2);
  expect(partitions((await a.expect('revoking')).partitions)).toEqual([2]);
  expect(partitions((await b.expect('assigned')).assignment)).toEqual([3]);
});

test('commits are answered in their order, each with its refusal', async () => {
  const a = await Member.join();
  await a.expect('joined');
  const commit = (id: bigint, offset: bigint, partition = 0): void =>
    a.send({ case: 'commit', value: { id, offsets: [{ topic, partition, offset }] } });
  commit(1n, 5n);
  commit(2n, 4n);
  commit(3n, -1n);
  commit(4n, 6n, 9);
  commit(5n, 6n);
  expect(await a.expect('committed')).toMatchObject({ id: 1n });
  expect(await a.expect('error')).toMatchObject({ id: 2n, problem: { code: 'INVALID_REQUEST' } });
  expect(await a.expect('error')).toMatchObject({ id: 3n, problem: { code: 'INVALID_REQUEST' } });
  expect(await a.expect('error')).toMatchObject({ id: 4n, problem: { code: 'FENCED_MEMBER_EPOCH' } });
  expect(await a.expect('committed')).toMatchObject({ id: 5n });
});

test('who leaves is told so, and its partitions go to the others', async () => {
  const a = await Member.join();
  await a.expect('joined');
  const b = await Member.join();
  await b.expect('joined');
  a.send({ case: 'leave', value: {} });
  let last = await a.stream.next();
  if (last?.response.case === 'revoking') last = await a.stream.next();
  expect(last?.response.case).toBe('left');
  expect(await a.stream.next()).toBeNull();
  expect((await a.stream.status).code).toBe(0);
  expect(partitions((await b.expect('assigned')).assignment)).toEqual([0, 1, 2, 3]);
});

test('a stream that is lost leaves the member where it is, and another one goes on with it', async () => {
  const a = await Member.join();
  const { memberId, memberEpoch } = await a.expect('joined');
  a.end();
  const again = new Member();
  const owned = [{ topic, partitions: [0, 1, 2, 3] }];
  again.send({ case: 'resume', value: { group, memberId, memberEpoch, owned } });
  const joined = await again.expect('joined');
  expect(joined.memberId).toBe(memberId);
  expect(partitions(joined.assignment)).toEqual([0, 1, 2, 3]);
});

test('silence ends the session, though the stream stands', async () => {
  const a = await Member.join({ sessionTimeoutMs: 1_000 });
  await a.expect('joined');
  const b = await Member.join();
  await b.expect('joined');
  await a.expect('revoking');
  expect(partitions((await b.expect('assigned')).assignment)).toEqual([0, 1, 2, 3]);
  a.owns(2, 0, 1);
  expect(await a.expect('error')).toMatchObject({ problem: { code: 'UNKNOWN_MEMBER' } });
  expect(await a.stream.next()).toBeNull();
});

test('a later holder of an instance id takes the place of the first one', async () => {
  const a = await Member.join({ instanceId: 'i' });
  await a.expect('joined');
  const b = await Member.join({ instanceId: 'i' });
  expect(partitions((await b.expect('joined')).assignment)).toEqual([0, 1, 2, 3]);
  expect(await a.expect('error')).toMatchObject({ problem: { code: 'FENCED_MEMBER_EPOCH' } });
});

test.each<[string, object, string]>([
  ['a topic that is not there', { topics: ['nowhere'] }, 'TOPIC_NOT_FOUND'],
  ['topics and a pattern', { topicPattern: 'a' }, 'INVALID_REQUEST'],
  ['a pattern that cannot be read', { topics: [], topicPattern: '(' }, 'INVALID_REQUEST'],
  ['an assignor that is not known', { assignor: 'fair' }, 'INVALID_REQUEST'],
  ['a start that is none', { from: 7 }, 'INVALID_REQUEST'],
  ['a session that is too short', { sessionTimeoutMs: 1 }, 'INVALID_REQUEST'],
])('a join with %s is refused in band, and the call ends', async (_, changes, code) => {
  const a = await Member.join(changes);
  expect(await a.expect('error')).toMatchObject({ problem: { code } });
  expect(await a.stream.next()).toBeNull();
});

test('a stream that begins with something else, or joins twice, is refused', async () => {
  const a = new Member();
  a.owns(1, 0);
  expect(await a.expect('error')).toMatchObject({ problem: { code: 'INVALID_REQUEST' } });
  const b = await Member.join();
  await b.expect('joined');
  b.send({ case: 'join', value: { group, topics: [topic] } });
  expect(await b.expect('error')).toMatchObject({ problem: { code: 'INVALID_REQUEST' } });
});

test('topics reach a member by its pattern as they are created', async () => {
  const a = await Member.join({ topics: [], topicPattern: `${topic}-.*`, from: StartPosition.LATEST });
  const joined = await a.expect('joined');
  expect(joined).toMatchObject({ assignment: [], from: StartPosition.LATEST });
  await client.unary(AdminService.method.createTopic, { name: `${topic}-a`, partitionCount: 2 });
  expect(await a.expect('assigned')).toMatchObject({ assignment: [{ topic: `${topic}-a`, partitions: [0, 1] }] });
});

test('a group is listed, described with its lag, reset and deleted', async () => {
  await write(0, 10);
  const a = await Member.join({ clientId: 'c' });
  const { memberId } = await a.expect('joined');
  a.send({ case: 'commit', value: { id: 1n, offsets: [{ topic, partition: 0, offset: 4n }] } });
  await a.expect('committed');
  expect(await client.unary(listGroups, { prefix: group })).toMatchObject({
    groups: [{ group, state: 'stable', memberCount: 1 }],
  });
  const described = await client.unary(describeGroup, { group });
  expect(described).toMatchObject({
    state: 'stable',
    epoch: 1,
    assignor: 'uniform',
    members: [{ memberId, clientId: 'c', topics: [topic], assignment: [{ topic, partitions: [0, 1, 2, 3] }] }],
  });
  expect(described.members[0]!.clientHost).toMatch(/^127\.0\.0\.1:\d+$/);
  expect(described.partitions[0]).toMatchObject({ partition: 0, offset: 4n, logEndOffset: 10n, lag: 6n, memberId });
  expect(described.partitions[1]!.offset).toBeUndefined();
  const metrics = await (await fetch(`${broker.management}/metrics`)).text();
  expect(metrics).toContain(`sluice_group_lag_records{group="${group}",topic="${topic}"} 6`);
  const to = (end: ResetEnd) => ({ case: 'end', value: end }) as const;
  expect(await refusal(client.unary(resetGroupOffsets, { group, topic, to: to(ResetEnd.EARLIEST) }))).toBe(
    'GROUP_NOT_EMPTY',
  );
  expect(await refusal(client.unary(deleteGroup, { group }))).toBe('GROUP_NOT_EMPTY');
  expect(await refusal(client.unary(commitGroupOffsets, { group, offsets: [{ topic, offset: 1n }] }))).toBe(
    'GROUP_NOT_EMPTY',
  );
  a.send({ case: 'leave', value: {} });
  await a.expect('left');
  const shift = { group, topic, partitions: [0], to: { case: 'shiftBy' as const, value: -1n } };
  expect(await client.unary(resetGroupOffsets, { ...shift, dryRun: true })).toMatchObject({
    positions: [{ partition: 0, before: 4n, after: 3n }],
  });
  const latest = await client.unary(resetGroupOffsets, { group, topic, to: to(ResetEnd.LATEST) });
  expect(latest.positions.map(each => [each.before, each.after])).toEqual([
    [4n, 10n],
    [undefined, 0n],
    [undefined, 0n],
    [undefined, 0n],
  ]);
  const offset = { group, topic, partitions: [0], to: { case: 'offset' as const, value: 11n } };
  expect(await refusal(client.unary(resetGroupOffsets, offset))).toBe('OFFSET_OUT_OF_RANGE');
  await client.unary(commitGroupOffsets, { group, offsets: [{ topic, partition: 1, offset: 3n }] });
  const some = await client.unary(fetchGroupOffsets, { group, partitions: [{ topic, partitions: [1, 9] }] });
  expect(some.offsets.map(each => [each.partition, each.offset])).toEqual([[1, 3n]]);
  await client.unary(deleteGroup, { group });
  expect(await refusal(client.unary(describeGroup, { group }))).toBe('GROUP_NOT_FOUND');
});

test.each<[string, object]>([
  ['says nowhere to', {}],
  ['names an end that is none', { to: { case: 'end', value: 9 } }],
  ['names a negative offset', { to: { case: 'offset', value: -1n } }],
  ['names a negative time', { to: { case: 'timestampMs', value: -1n } }],
])('a reset that %s is refused', async (_, request) => {
  expect(await refusal(client.unary(resetGroupOffsets, { group, topic, ...request }))).toBe('INVALID_REQUEST');
});

test('a broker that stops ends the stream, and says that the member goes on elsewhere', async () => {
  const other = await startBroker();
  const visitor = new RawClient(other.grpc);
  await visitor.createTopic('t');
  const stream = visitor.bidi(GroupService.method.member);
  stream.write(create(MemberRequestSchema, { request: { case: 'join', value: { group, topics: ['t'] } } }));
  expect((await stream.next())?.response.case).toBe('joined');
  const stopped = other.stop();
  expect(await stream.next()).toBeNull();
  expect((await stream.status).code).toBe(14);
  visitor.close();
  await stopped;
});
