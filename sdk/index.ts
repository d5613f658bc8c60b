// `@sluice/client`: what a program imports.

export type { ErrorCode, Facts } from '@sluice/protocol/errors';
export type {
  Admin,
  AlterTopic,
  BrokerDescription,
  ClusterDescription,
  CreateTopic,
  DeleteRecords,
  DescribeTopicOptions,
  ListOffsetsOptions,
  ListTopicsOptions,
  PartitionDescription,
  PartitionOffsets,
  SettingValue,
  TopicDescription,
  TopicSetting,
  TopicSummary,
} from './admin.ts';
export { bytes, json, text, type FieldCodec } from './field-codec.ts';
export type {
  GroupDescription,
  GroupMember,
  GroupOffset,
  GroupPartition,
  Groups,
  GroupSummary,
  ResetOffsets,
  ResetPosition,
  ResetTo,
  TopicPartitions,
} from './groups.ts';
export { Message, type Header } from './message.ts';
export type {
  Acks,
  CallOptions,
  Compression,
  Delivery,
  HeadersInput,
  Partitioner,
  PartitionerInput,
  Producer,
  ProducerOptions,
  ProducerRecord,
  Ticket,
} from './producer.ts';
export type { Isolation, ReadFrom, Reader, ReaderOptions } from './reader.ts';
export { Sluice, type SluiceOptions } from './sluice.ts';
export { SluiceError, type Outcome } from './sluice-error.ts';
export type { StandardIssue, StandardResult, StandardSchema } from './standard-schema.ts';
export { defineTopic, type RawTopic, type Topic } from './topic.ts';
