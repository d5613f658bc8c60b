// The messages of the records that the coordinator of groups keeps, and how they become bytes: a door of their own for the pure
// folder that uses them, as cluster.ts is.

export { create, fromBinary, toBinary } from '@bufbuild/protobuf';
export * from './gen/sluice/internal/v1/groups_pb.ts';
