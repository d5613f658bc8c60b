// `sluice topic create | list | describe | alter | delete | delete-records`: topics, through the admin calls of the SDK.
//
// As JSON a topic is printed in the form in which the HTTP door describes it.

import type { TopicDescription } from '@sluice/client';
import { SluiceError } from '@sluice/client';
import { type ClientContext, withClient } from './client.ts';
import type { CommandContext } from './command.ts';
import { isConfirmed } from './confirmation.ts';
import { printList, printObject } from './result.ts';
import { renderTable } from './table.ts';

export const createTopic = (context: CommandContext): Promise<number> =>
  withClient(context, async opened => {
    const { invocation, client, terminal } = opened;
    const name = invocation.argument(0);
    try {
      const created = await client.admin.createTopic(
        {
          name,
          partitionCount: invocation.integer('partitions') ?? 1,
          replicationFactor: invocation.integer('replication-factor') ?? 1,
          config: Object.fromEntries(invocation.pairs('config')),
        },
        { signal: terminal.interrupted },
      );
      await printObject(opened, topicObject(created), `created ${created.name}: ${extent(created)}\n`);
    } catch (error) {
      if (!(error instanceof SluiceError && error.code === 'TOPIC_EXISTS' && invocation.isOn('if-not-exists')))
        throw error;
      const existing = await client.admin.describeTopic(name, { signal: terminal.interrupted });
      await printObject(opened, topicObject(existing), `${name} exists: ${extent(existing)}\n`);
    }
    return 0;
  });

export const listTopics = (context: CommandContext): Promise<number> =>
  withClient(context, async opened => {
    const { invocation, client, terminal } = opened;
    const topics = await client.admin.listTopics({
      prefix: invocation.optional('prefix') ?? '',
      internal: invocation.isOn('internal'),
      signal: terminal.interrupted,
    });
    await printList(opened, {
      titles: ['TOPIC', 'PARTITIONS', 'REPLICATION-FACTOR', 'TOPIC-ID'],
      rows: topics.map(topic => [topic.name, topic.partitionCount, topic.replicationFactor, topic.topicId]),
      objects: topics.map(topic => ({
        name: topic.name,
        topic_id: topic.topicId,
        partition_count: topic.partitionCount,
        replication_factor: topic.replicationFactor,
        internal: topic.internal,
      })),
    });
    return 0;
  });

export const describeTopic = (context: CommandContext): Promise<number> =>
  withClient(context, async opened => {
    const { invocation, client, terminal } = opened;
    const includeDefaults = invocation.isOn('include-defaults');
    const options = { includeDefaults, signal: terminal.interrupted };
    const name = invocation.arguments[0];
    if (name !== undefined) {
      const topic = await client.admin.describeTopic(name, options);
      await printObject(opened, topicObject(topic), describeText(topic));
      return 0;
    }
    const topics: TopicDescription[] = [];
    for (const summary of await client.admin.listTopics({ signal: terminal.interrupted })) {
      topics.push(await client.admin.describeTopic(summary.name, options));
    }
    await printList(opened, {
      titles: partitionTitles,
      rows: topics.flatMap(partitionRows),
      objects: topics.map(topicObject),
    });
    return 0;
  });

export const alterTopic = (context: CommandContext): Promise<number> =>
  withClient(context, async opened => {
    const { invocation, client, terminal } = opened;
    const name = invocation.argument(0);
    const partitionCount = invocation.integer('partitions') ?? undefined;
    const set = invocation.pairs('config');
    const deleted = invocation.list('delete-config');
    if (partitionCount === undefined && set.length === 0 && deleted.length === 0) {
      throw invocation.misused('nothing to alter: give --partitions, --config or --delete-config');
    }
    const both = set.find(([key]) => deleted.includes(key));
    if (both !== undefined) throw invocation.misused(`${both[0]} is both set and deleted`);
    const config = Object.fromEntries([...set, ...deleted.map(key => [key, null] as const)]);
    const altered = await client.admin.alterTopic({ name, partitionCount, config }, { signal: terminal.interrupted });
    await printObject(opened, topicObject(altered), `altered ${name}: ${extent(altered)}\n`);
    return 0;
  });

export const deleteTopic = (context: CommandContext): Promise<number> =>
  withClient(context, async opened => {
    const { invocation, terminal } = opened;
    const name = invocation.argument(0);
    if (!(await isConfirmed(opened, `Delete topic ${name} with all its records?`))) {
      terminal.note('nothing was deleted\n');
      return 0;
    }
    return deleteNamed(opened, name);
  });

const deleteNamed = async (opened: ClientContext, name: string): Promise<number> => {
  const { invocation, client, terminal } = opened;
  try {
    await client.admin.deleteTopic(name, { signal: terminal.interrupted });
    await printObject(opened, { name, deleted: true }, `deleted ${name}\n`);
  } catch (error) {
    const isAbsent = error instanceof SluiceError && error.code === 'TOPIC_NOT_FOUND';
    if (!isAbsent || !invocation.isOn('if-exists')) throw error;
    await printObject(opened, { name, deleted: false }, `there is no topic ${name}\n`);
  }
  return 0;
};

export const deleteRecords = (context: CommandContext): Promise<number> =>
  withClient(context, async opened => {
    const { invocation, client, terminal } = opened;
    const topic = invocation.argument(0);
    const partition = invocation.integer('partition');
    const before = invocation.integer('before');
    if (partition === null) throw invocation.misused('give the partition with --partition');
    if (before === null) throw invocation.misused('give the first offset to keep with --before');
    const place = `partition ${partition} of ${topic}`;
    if (!(await isConfirmed(opened, `Delete all records of ${place} below offset ${before}?`))) {
      terminal.note('nothing was deleted\n');
      return 0;
    }
    const { earliestOffset } = await client.admin.deleteRecords(
      { topic, partition, before },
      { signal: terminal.interrupted },
    );
    const object = { topic, partition, earliest_offset: earliestOffset };
    await printObject(opened, object, `${place} begins at offset ${earliestOffset}\n`);
    return 0;
  });

const partitionTitles = [
  'TOPIC',
  'PARTITION',
  'LEADER',
  'EPOCH',
  'REPLICAS',
  'ISR',
  'EARLIEST',
  'HIGH-WATERMARK',
  'LAST-STABLE-OFFSET',
  'LOG-END-OFFSET',
];

const partitionRows = (topic: TopicDescription): (string | number)[][] =>
  topic.partitions.map(partition => [
    topic.name,
    partition.partition,
    partition.leader,
    partition.leaderEpoch,
    partition.replicas.join(','),
    partition.isr.join(','),
    partition.earliestOffset,
    partition.highWatermark,
    partition.lastStableOffset,
    partition.logEndOffset,
  ]);

const describeText = (topic: TopicDescription): string => {
  const settings =
    topic.allConfig.length > 0
      ? topic.allConfig.map(({ name, value, source }) => [name, value, source])
      : Object.entries(topic.config).map(([name, value]) => [name, value, 'topic']);
  const parts = [
    `${topic.name}: ${extent(topic)}, id ${topic.topicId}${topic.internal ? ', internal' : ''}\n`,
    renderTable(partitionTitles, partitionRows(topic)),
  ];
  if (settings.length > 0) parts.push(renderTable(['CONFIG', 'VALUE', 'SOURCE'], settings));
  return parts.join('\n');
};

const extent = (topic: TopicDescription): string =>
  `${topic.partitionCount} ${topic.partitionCount === 1 ? 'partition' : 'partitions'}, replication factor ${topic.replicationFactor}`;

const topicObject = (topic: TopicDescription): object => ({
  name: topic.name,
  topic_id: topic.topicId,
  partition_count: topic.partitionCount,
  replication_factor: topic.replicationFactor,
  internal: topic.internal,
  config: topic.config,
  partitions: topic.partitions.map(partition => ({
    partition: partition.partition,
    leader: partition.leader,
    leader_epoch: partition.leaderEpoch,
    replicas: partition.replicas,
    isr: partition.isr,
    earliest_offset: partition.earliestOffset,
    high_watermark: partition.highWatermark,
    last_stable_offset: partition.lastStableOffset,
    log_end_offset: partition.logEndOffset,
  })),
  ...(topic.allConfig.length === 0 ? {} : { all_config: topic.allConfig }),
});
