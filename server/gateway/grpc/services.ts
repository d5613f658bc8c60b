// Everything that the gRPC port serves: which handlers stand behind which descriptors.

import type { DescService } from '@bufbuild/protobuf';
import type { Server, ServerDuplexStream, UntypedServiceImplementation } from '@grpc/grpc-js';
import type { FetchRequest, ProduceRequest, ProduceResponse } from '@sluice/protocol/services';
import {
  AdminService,
  FetchService,
  GroupService,
  Health,
  MetadataService,
  ProducerService,
  ProduceService,
  ServerReflection,
} from '@sluice/protocol/services';
import type { GatewayContext } from '../gateway.ts';
import { adminService } from './admin.ts';
import { DescriptorIndex } from './descriptor-index.ts';
import { FetchCall } from './fetch.ts';
import { groupService } from './group.ts';
import { healthService } from './health.ts';
import { metadataService } from './metadata.ts';
import type { OpenCalls } from './open-calls.ts';
import { ProduceCall } from './produce.ts';
import { producerService } from './producer.ts';
import type { ReadGates } from './read-gate.ts';
import type { FetchAnswer } from './read.ts';
import { reflectionService } from './reflection.ts';
import { serviceDefinition } from './service-definition.ts';

const services: readonly DescService[] = [
  ProduceService,
  ProducerService,
  FetchService,
  AdminService,
  GroupService,
  MetadataService,
  Health,
  ServerReflection,
];

/** Most tools ask for reflection under this name first; messages and methods are the same. */
const OLDER_REFLECTION_PACKAGE = 'grpc.reflection.v1alpha';
const OLDER_REFLECTION = `${OLDER_REFLECTION_PACKAGE}.ServerReflection`;

export const addServices = (
  server: Server,
  context: GatewayContext,
  door: { readonly calls: OpenCalls; readonly gates: ReadGates },
): void => {
  const { calls, gates } = door;
  const serviceNames = new Set([...services.map(service => service.typeName), OLDER_REFLECTION]);
  let index: DescriptorIndex | null = null;
  const reflection = reflectionService(context, {
    calls,
    gates,
    // Made when a tool asks for it: few ever do, and it takes as long as all the rest of this door.
    get index() {
      const aliases = [{ file: ServerReflection.file, packageName: OLDER_REFLECTION_PACKAGE }];
      return (index ??= new DescriptorIndex(services, aliases));
    },
    serviceNames,
  });

  server.addService(serviceDefinition(ProduceService), produceService(context, door));
  server.addService(serviceDefinition(ProducerService), producerService(context));
  server.addService(serviceDefinition(FetchService), fetchService(context, door));
  server.addService(serviceDefinition(AdminService), adminService(context));
  server.addService(serviceDefinition(GroupService), groupService(context, door));
  server.addService(serviceDefinition(MetadataService), metadataService(context, calls));
  server.addService(serviceDefinition(Health), healthService(context, { calls, serviceNames }));
  server.addService(serviceDefinition(ServerReflection), reflection);
  server.addService(serviceDefinition(ServerReflection, OLDER_REFLECTION), reflection);
};

const produceService = (
  context: GatewayContext,
  door: { readonly calls: OpenCalls; readonly gates: ReadGates },
): UntypedServiceImplementation => {
  const metrics = context.metrics.verb('grpc', 'produce');
  return {
    produce: (call: ServerDuplexStream<ProduceRequest, ProduceResponse>): void =>
      new ProduceCall(context, call, { gate: door.gates.of(call.metadata), calls: door.calls, metrics }).start(),
  };
};

const fetchService = (
  context: GatewayContext,
  door: { readonly calls: OpenCalls; readonly gates: ReadGates },
): UntypedServiceImplementation => {
  const metrics = context.metrics.verb('grpc', 'fetch');
  return {
    fetch: (call: ServerDuplexStream<FetchRequest, FetchAnswer>): void =>
      new FetchCall(context, call, { gate: door.gates.of(call.metadata), calls: door.calls, metrics }).start(),
  };
};
