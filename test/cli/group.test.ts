// `sluice group` against a real broker.

import { create } from '@bufbuild/protobuf';
import { GroupService, MemberRequestSchema } from '@sluice/protocol/services';
import { Sluice } from '@sluice/client';
import { startBroker, type TestBroker } from 'sluice/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { RawClient } from '../gateway/grpc/raw-client.ts';
import { type CommandRun, runCommand } from './command-run.ts';

let broker: TestBroker;
let client: Sluice;

beforeAll(async () => {
  broker = await startBroker();
  client = new Sluice({ servers: [broker.grpc] });
});

afterAll(async () => {
  await client.close();
  await broker.stop();
});

const sluice = (...words: readonly string[]): Promise<CommandRun> =>
  runCommand(['group', ...words], { environment: { SLUICE_SERVER: broker.grpc } });

const printed = async (...words: readonly string[]): Promise<string> => {
  const { exitCode, text, notes } = await sluice(...words);
  expect([exitCode, notes.startsWith('error')]).toEqual([0, false]);
  return text;
};

const topicWith = async (topic: string, records: number): Promise<void> => {
  await client.admin.createTopic({ name: topic, partitionCount: 2 });
  const producer = client.producer({ topic });
  for (let at = 0; at < records; at++) await producer.send({ value: `v${at}`, partition: 0, timestamp: 1_000 + at });
  producer.close();
};

test('a group without members is listed, described, reset and deleted', async () => {
  await topicWith('orders', 5);
  await client.groups.commit('billing', [{ topic: 'orders', partition: 0, offset: 2, metadata: 'm' }]);
  expect(await printed('list')).toMatch(/^GROUP +STATE +MEMBERS\nbilling +empty +0\n$/);
  expect(await printed('list', '--prefix', 'x', '-o', 'json')).toBe('[]\n');
  expect(await printed('describe', 'billing')).toMatch(
    /^GROUP +TOPIC +PARTITION +CURRENT-OFFSET +LOG-END-OFFSET +LAG +CONSUMER-ID +HOST +CLIENT-ID\nbilling +orders +0 +2 +5 +3 +- +- +-\n$/,
  );
  expect(JSON.parse(await printed('describe', 'billing', '-o', 'json'))).toMatchObject([
    { topic: 'orders', partition: 0, offset: 2, log_end_offset: 5, lag: 3, metadata: 'm', member_id: null },
  ]);
  const reset = (...flags: readonly string[]) => printed('reset-offsets', 'billing', '--topic', 'orders', ...flags);
  expect(await reset('--to-earliest')).toMatch(
    /^GROUP +TOPIC +PARTITION +CURRENT-OFFSET +NEW-OFFSET\nbilling +orders +0 +2 +0\nbilling +orders +1 +- +0\n$/,
  );
  expect(await client.groups.offsets('billing')).toMatchObject([{ offset: 2 }]);
  const done = async (...flags: readonly string[]) => {
    await reset('--partition', '0', '--execute', ...flags);
    return (await client.groups.offsets('billing')).map(each => each.offset);
  };
  expect(await done('--shift-by', '-1')).toEqual([1]);
  expect(await done('--to-offset', '4')).toEqual([4]);
  expect(await done('--to-datetime', '1970-01-01T00:00:01.003Z')).toEqual([3]);
  expect(await done('--to-datetime', '1001')).toEqual([1]);
  expect(await done('--to-latest')).toEqual([5]);
  expect(await sluice('delete', 'billing')).toMatchObject({ exitCode: 2, notes: expect.stringContaining('--yes') });
  expect(await printed('delete', 'billing', '--yes')).toBe('deleted billing\n');
  expect(await sluice('describe', 'billing')).toMatchObject({
    exitCode: 1,
    notes: expect.stringMatching(/^error: GROUP_NOT_FOUND: /),
  });
});

test('a group with members shows who has what, and is neither reset nor deleted', async () => {
  await topicWith('events', 0);
  const raw = new RawClient(broker.grpc);
  const stream = raw.bidi(GroupService.method.member);
  const join = { group: 'readers', topics: ['events'], clientId: 'me', instanceId: 'i' };
  stream.write(create(MemberRequestSchema, { request: { case: 'join', value: join } }));
  await stream.next();
  expect(await printed('list')).toMatch(/^readers +stable +1$/m);
  expect(await printed('describe', 'readers')).toMatch(
    /^readers +events +1 +- +0 +- +[0-9a-f-]{36} +127\.0\.0\.1:\d+ +me$/m,
  );
  expect(await printed('describe', 'readers', '--members')).toMatch(
    /^GROUP +CONSUMER-ID +HOST +CLIENT-ID +INSTANCE-ID +#PARTITIONS +ASSIGNMENT\nreaders +[0-9a-f-]{36} +127\.0\.0\.1:\d+ +me +i +2 +events\(0,1\)\n$/,
  );
  expect(JSON.parse(await printed('describe', 'readers', '--members', '-o', 'json'))).toMatchObject([
    { instance_id: 'i', assignment: [{ topic: 'events', partitions: [0, 1] }] },
  ]);
  const refused = { exitCode: 1, notes: expect.stringMatching(/^error: GROUP_NOT_EMPTY: /) };
  expect(await sluice('reset-offsets', 'readers', '--topic', 'events', '--to-latest')).toMatchObject(refused);
  expect(await sluice('delete', 'readers', '--yes')).toMatchObject(refused);
  stream.call.cancel();
  raw.close();
});

test.each([
  ['no topic', ['--to-latest']],
  ['nowhere to', ['--topic', 't']],
  ['two ways to', ['--topic', 't', '--to-latest', '--to-earliest']],
  ['a time that is none', ['--topic', 't', '--to-datetime', 'tomorrow']],
])('reset-offsets with %s is wrong usage', async (_, flags) => {
  expect(await sluice('reset-offsets', 'g', ...flags)).toMatchObject({ exitCode: 2 });
});
