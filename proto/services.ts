// The generated messages and service descriptors, behind one door.

export * from './gen/google/rpc/error_details_pb.ts';
export * from './gen/google/rpc/status_pb.ts';
export * from './gen/grpc/health/v1/health_pb.ts';
export * from './gen/grpc/reflection/v1/reflection_pb.ts';
export * from './gen/sluice/v1/admin_pb.ts';
export * from './gen/sluice/v1/fetch_pb.ts';
export * from './gen/sluice/v1/group_pb.ts';
export * from './gen/sluice/v1/metadata_pb.ts';
export * from './gen/sluice/v1/problem_pb.ts';
export * from './gen/sluice/v1/produce_pb.ts';
export * from './gen/sluice/v1/producer_pb.ts';
export * from './gen/sluice/v1/record_pb.ts';
