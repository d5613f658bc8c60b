// The messages of the cluster's metadata and how they become bytes: what server/state needs of the generated code, so that a
// pure folder has a door of its own beside the messages of the services.

export { create, fromBinary, toBinary } from '@bufbuild/protobuf';
export * from './gen/sluice/internal/v1/cluster_pb.ts';
