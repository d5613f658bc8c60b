// Health and reflection, as load balancers and command line tools use them.

import { create, createFileRegistry, fromBinary } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema, FileDescriptorSetSchema, type FileDescriptorProto } from '@bufbuild/protobuf/wkt';
import { Health, ServerReflection, type ServerReflectionResponse } from '@sluice/protocol/services';
import { startBroker, type TestBroker } from 'sluice/testing';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { RawClient } from '../gateway/grpc/raw-client.ts';

let broker: TestBroker;
let client: RawClient;

beforeAll(async () => {
  broker = await startBroker();
  client = new RawClient(broker.grpc);
});

afterAll(async () => {
  client.close();
  await broker.stop();
});

const serving = 1;
const serviceUnknown = 3;

test('the broker and each of its services are serving', async () => {
  for (const service of ['', 'sluice.v1.ProduceService', 'sluice.v1.FetchService', 'grpc.health.v1.Health']) {
    expect(await client.unary(Health.method.check, { service })).toMatchObject({ status: serving });
  }
});

test('a service that is not here is not found, and a watcher of it is told in band', async () => {
  await expect(client.unary(Health.method.check, { service: 'no.such.Service' })).rejects.toMatchObject({ status: 5 });
  const watch = client.serverStream(Health.method.watch, { service: 'no.such.Service' });
  expect(await watch.next()).toMatchObject({ status: serviceUnknown });
  watch.cancel();
});

test('a watcher is told the state now', async () => {
  const watch = client.serverStream(Health.method.watch, {});
  expect(await watch.next()).toMatchObject({ status: serving });
  watch.cancel();
});

const paths = [
  '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo',
  '/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo',
];

type Ask = Parameters<ReturnType<typeof reflect>['write']>[0]['messageRequest'];

const reflect = (path: string) => client.bidi(ServerReflection.method.serverReflectionInfo, path);

const ask = async (
  path: string,
  messageRequest: Ask & object,
): Promise<ServerReflectionResponse['messageResponse']> => {
  const call = reflect(path);
  call.write({ messageRequest });
  call.end();
  const [response] = await call.rest();
  expect((await call.status).code).toBe(0);
  return response?.messageResponse ?? { case: undefined };
};

const files = (response: ServerReflectionResponse['messageResponse']): FileDescriptorProto[] => {
  if (response.case !== 'fileDescriptorResponse') throw new Error(JSON.stringify(response));
  return response.value.fileDescriptorProto.map(bytes => fromBinary(FileDescriptorProtoSchema, bytes));
};

test.each(paths)('%s lists all services', async path => {
  const response = await ask(path, { case: 'listServices', value: '' });
  if (response.case !== 'listServicesResponse') throw new Error('no list');
  expect(response.value.service.map(({ name }) => name)).toEqual([
    'sluice.v1.ProduceService',
    'sluice.v1.ProducerService',
    'sluice.v1.FetchService',
    'sluice.v1.AdminService',
    'sluice.v1.GroupService',
    'sluice.v1.MetadataService',
    'grpc.health.v1.Health',
    'grpc.reflection.v1.ServerReflection',
    'grpc.reflection.v1alpha.ServerReflection',
  ]);
});

test('every listed service can be rebuilt from the files that describe it', async () => {
  const listed = await ask(paths[0] ?? '', { case: 'listServices', value: '' });
  if (listed.case !== 'listServicesResponse') throw new Error('no list');
  for (const { name } of listed.value.service) {
    const file = files(await ask(paths[0] ?? '', { case: 'fileContainingSymbol', value: name }));
    const registry = createFileRegistry(create(FileDescriptorSetSchema, { file: file.toReversed() }));
    expect(registry.getService(name)?.methods.length).toBeGreaterThan(0);
  }
});

test('messages, fields, enums, their values and methods lead to their file', async () => {
  const symbols = {
    'sluice.v1.ProduceRequest': 'sluice/v1/produce.proto',
    'sluice.v1.ProduceRequest.batches': 'sluice/v1/produce.proto',
    'sluice.v1.Acks': 'sluice/v1/produce.proto',
    'sluice.v1.ACKS_ALL': 'sluice/v1/produce.proto',
    'sluice.v1.FetchService.Fetch': 'sluice/v1/fetch.proto',
    'sluice.v1.Problem.FactsEntry': 'sluice/v1/problem.proto',
    'grpc.reflection.v1alpha.ServerReflectionRequest': 'grpc/reflection/v1alpha/reflection.proto',
  };
  for (const [symbol, file] of Object.entries(symbols)) {
    const [first] = files(await ask(paths[1] ?? '', { case: 'fileContainingSymbol', value: symbol }));
    expect([symbol, first?.name]).toEqual([symbol, file]);
  }
});

test('a file comes with all that it imports', async () => {
  const names = files(await ask(paths[0] ?? '', { case: 'fileByFilename', value: 'sluice/v1/fetch.proto' })).map(
    ({ name }) => name,
  );
  expect(names.sort()).toEqual(['sluice/v1/fetch.proto', 'sluice/v1/problem.proto', 'sluice/v1/record.proto']);
});

test('what is not here is not found in band, and the call goes on', async () => {
  const call = reflect(paths[0] ?? '');
  const asks: (Ask & object)[] = [
    { case: 'fileByFilename', value: 'nowhere.proto' },
    { case: 'fileContainingSymbol', value: 'sluice.v1.Nothing' },
    { case: 'fileContainingExtension', value: { containingType: 'sluice.v1.Problem', extensionNumber: 1 } },
    { case: 'allExtensionNumbersOfType', value: 'sluice.v1.Nothing' },
  ];
  for (const messageRequest of asks) call.write({ messageRequest });
  call.write({});
  call.write({ messageRequest: { case: 'allExtensionNumbersOfType', value: 'sluice.v1.Problem' } });
  call.end();
  const responses = (await call.rest()).map(({ messageResponse }) => messageResponse);
  expect(responses.slice(0, 4)).toMatchObject(asks.map(() => ({ case: 'errorResponse', value: { errorCode: 5 } })));
  expect(responses[4]).toMatchObject({ case: 'errorResponse', value: { errorCode: 3 } });
  expect(responses[5]).toMatchObject({
    case: 'allExtensionNumbersResponse',
    value: { baseTypeName: 'sluice.v1.Problem', extensionNumber: [] },
  });
});
