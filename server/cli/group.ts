// `sluice group list | describe | reset-offsets | delete`: consumer groups, through the calls of the SDK.
//
// Columns carry the names of Kafka's tool, and "-" stands where there is nothing.

import type { GroupDescription, GroupMember, ResetTo } from '@sluice/client';
import { withClient } from './client.ts';
import type { CommandContext } from './command.ts';
import { isConfirmed } from './confirmation.ts';
import type { Invocation } from './invocation.ts';
import { printList, printObject } from './result.ts';
import type { Cell } from './table.ts';

const orDash = (value: number | string | null): Cell => (value === null || value === '' ? '-' : value);

export const listGroups = (context: CommandContext): Promise<number> =>
  withClient(context, async opened => {
    const { invocation, client, terminal } = opened;
    const prefix = invocation.optional('prefix') ?? '';
    const groups = await client.groups.list({ prefix, signal: terminal.interrupted });
    await printList(opened, {
      titles: ['GROUP', 'STATE', 'MEMBERS'],
      rows: groups.map(({ group, state, memberCount }) => [group, state, memberCount]),
      objects: groups.map(({ group, state, memberCount }) => ({ group, state, member_count: memberCount })),
    });
    return 0;
  });

export const describeGroup = (context: CommandContext): Promise<number> =>
  withClient(context, async opened => {
    const { invocation, client, terminal } = opened;
    const described = await client.groups.describe(invocation.argument(0), { signal: terminal.interrupted });
    await printList(opened, invocation.isOn('members') ? membersOf(described) : partitionsOf(described));
    return 0;
  });

const partitionsOf = ({ group, members, partitions }: GroupDescription) => {
  const byId = new Map(members.map(member => [member.memberId, member] as const));
  return {
    titles: [
      'GROUP',
      'TOPIC',
      'PARTITION',
      'CURRENT-OFFSET',
      'LOG-END-OFFSET',
      'LAG',
      'CONSUMER-ID',
      'HOST',
      'CLIENT-ID',
    ],
    rows: partitions.map(({ topic, partition, offset, logEndOffset, lag, memberId }) => {
      const member = memberId === null ? undefined : byId.get(memberId);
      const owner = [orDash(memberId), orDash(member?.clientHost ?? null), orDash(member?.clientId ?? null)];
      return [group, topic, partition, orDash(offset), orDash(logEndOffset), orDash(lag), ...owner];
    }),
    objects: partitions.map(({ topic, partition, offset, logEndOffset, lag, metadata, memberId }) => ({
      group,
      topic,
      partition,
      offset,
      log_end_offset: logEndOffset,
      lag,
      metadata,
      member_id: memberId,
      client_id: (memberId === null ? undefined : byId.get(memberId)?.clientId) ?? null,
    })),
  };
};

const sizeOf = (sets: GroupMember['assignment']): number =>
  sets.reduce((sum, { partitions }) => sum + partitions.length, 0);

const membersOf = ({ group, members }: GroupDescription) => ({
  titles: ['GROUP', 'CONSUMER-ID', 'HOST', 'CLIENT-ID', 'INSTANCE-ID', '#PARTITIONS', 'ASSIGNMENT'],
  rows: members.map(({ memberId, clientHost, clientId, instanceId, assignment }) => [
    group,
    memberId,
    orDash(clientHost),
    orDash(clientId),
    orDash(instanceId),
    sizeOf(assignment),
    orDash(assignment.map(({ topic, partitions }) => `${topic}(${partitions.join(',')})`).join(' ')),
  ]),
  objects: members.map(member => ({
    group,
    member_id: member.memberId,
    member_epoch: member.memberEpoch,
    instance_id: member.instanceId,
    client_id: member.clientId,
    client_host: member.clientHost,
    topics: member.topics,
    topic_pattern: member.topicPattern,
    assignment: member.assignment,
    revoking: member.revoking,
  })),
});

export const resetOffsets = (context: CommandContext): Promise<number> =>
  withClient(context, async opened => {
    const { invocation, client, terminal } = opened;
    const group = invocation.argument(0);
    const topic = invocation.optional('topic');
    if (topic === null) throw invocation.misused('--topic says of which topic');
    const partition = invocation.integer('partition');
    const isExecuted = invocation.isOn('execute');
    const partitions = partition === null ? undefined : [partition];
    const reset = { group, topic, partitions, to: targetOf(invocation), dryRun: !isExecuted };
    const positions = await client.groups.reset(reset, { signal: terminal.interrupted });
    await printList(opened, {
      titles: ['GROUP', 'TOPIC', 'PARTITION', 'CURRENT-OFFSET', 'NEW-OFFSET'],
      rows: positions.map(each => [group, topic, each.partition, orDash(each.before), each.after]),
      objects: positions.map(({ partition: number, before, after }) => ({
        group,
        topic,
        partition: number,
        current_offset: before,
        new_offset: after,
        executed: isExecuted,
      })),
    });
    if (!isExecuted) terminal.note('nothing was changed: --execute does it\n');
    return 0;
  });

/** Exactly one. */
const targetOf = (invocation: Invocation): ResetTo => {
  const targets: ResetTo[] = [];
  if (invocation.isOn('to-earliest')) targets.push('earliest');
  if (invocation.isOn('to-latest')) targets.push('latest');
  const offset = invocation.integer('to-offset');
  if (offset !== null) targets.push({ offset });
  const time = invocation.optional('to-datetime');
  if (time !== null) targets.push({ timestamp: timeOf(invocation, time) });
  const shiftBy = invocation.integer('shift-by');
  if (shiftBy !== null) targets.push({ shiftBy });
  const [target] = targets;
  if (target !== undefined && targets.length === 1) return target;
  throw invocation.misused('give one of --to-earliest, --to-latest, --to-offset, --to-datetime and --shift-by');
};

const timeOf = (invocation: Invocation, text: string): number => {
  const isDate = /^\d{4}-\d{2}-\d{2}(?:T\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:\d{2})?)?$/.test(text);
  const timestamp = /^\d{1,15}$/.test(text) ? Number(text) : isDate ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(timestamp)) {
    throw invocation.misused(`"${text}" is no time: use 2026-01-31T12:00:00Z, or milliseconds since 1970`);
  }
  return timestamp;
};

export const deleteGroup = (context: CommandContext): Promise<number> =>
  withClient(context, async opened => {
    const { invocation, client, terminal } = opened;
    const group = invocation.argument(0);
    if (!(await isConfirmed(opened, `Delete group ${group} with its committed positions?`))) {
      terminal.note('nothing was deleted\n');
      return 0;
    }
    await client.groups.delete(group, { signal: terminal.interrupted });
    await printObject(opened, { group, deleted: true }, `deleted ${group}\n`);
    return 0;
  });
