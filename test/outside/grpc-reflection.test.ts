// grpcurl knows nothing of our protos: it asks the broker by reflection, then calls what it found.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BrokerProcess } from '../integration/broker-process.ts';
import { findTool, outcomeOf, skipLoudly } from './tool.ts';

const grpcurl = await findTool('grpcurl', '-version');
if (grpcurl === null)
  skipLoudly('grpcurl', 'it is not installed (go install github.com/fullstorydev/grpcurl/cmd/grpcurl)');

describe.skipIf(grpcurl === null)('with grpcurl as the client', () => {
  let folder: string;
  let broker: BrokerProcess;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sluice-reflection-'));
    broker = await BrokerProcess.start(join(folder, 'data'));
  });

  afterAll(async () => {
    await broker.kill();
    await rm(folder, { recursive: true, force: true });
  });

  const ask = (...words: string[]) => outcomeOf(grpcurl ?? '', ['-plaintext', ...words], { timeoutMs: 30_000 });

  /** The messages that a call answered, one after another. */
  async function call(method: string, ...messages: object[]): Promise<unknown[]> {
    const data = messages.map(message => JSON.stringify(message)).join('\n');
    const { status, output } = await ask('-format-error', '-d', data, broker.grpc, method);
    if (status !== 0) throw new Error(output);
    return output
      .split(/^(?=\{$)/m)
      .filter(text => text.trim() !== '')
      .map(text => JSON.parse(text) as unknown);
  }

  test('every service is listed and can be described', async () => {
    const { output } = await ask(broker.grpc, 'list');
    const services = output.trim().split('\n');
    expect(services).toEqual(
      expect.arrayContaining([
        'grpc.health.v1.Health',
        'sluice.v1.AdminService',
        'sluice.v1.FetchService',
        'sluice.v1.MetadataService',
        'sluice.v1.ProduceService',
        'sluice.v1.ProducerService',
      ]),
    );
    for (const service of services) {
      const described = await ask(broker.grpc, 'describe', service);
      expect(described).toMatchObject({ status: 0, output: expect.stringContaining('is a service') });
    }
  });

  test('a topic is made, written and read without our protos', async () => {
    await call('sluice.v1.AdminService/CreateTopic', { name: 'reflected', partition_count: 2 });
    const key = Buffer.from('k').toString('base64');
    const value = Buffer.from('v').toString('base64');
    const answers = await call(
      'sluice.v1.ProduceService/Produce',
      { id: 1, topic: 'reflected', partition: 1, records: [{ key, value, timestamp_ms: 5 }] },
      { id: 2, topic: 'reflected', partition: 1, records: [{ value }, { key }] },
    );
    expect(answers).toEqual([
      { id: '1', ack: { count: 1, timestampMs: '5' } },
      { id: '2', ack: { baseOffset: '1', count: 2, timestampMs: expect.any(String) } },
    ]);
    const open = { stream: 1, topic: 'reflected', partition: 1, form: 'FORM_RECORDS', until_end: true };
    const responses = (await call('sluice.v1.FetchService/Fetch', { open })) as { records?: { records: object[] } }[];
    const records = responses.flatMap(response => response.records?.records ?? []);
    expect(records).toMatchObject([
      { key, value, timestampMs: '5' },
      { offset: '1', value },
      { offset: '2', key },
    ]);
    expect(records[2]).not.toHaveProperty('value');
  });

  test('a refusal of a unary call carries its code', async () => {
    const { status, output } = await ask(
      '-d',
      '{"name":"absent"}',
      broker.grpc,
      'sluice.v1.AdminService/DescribeTopic',
    );
    // grpcurl exits with 64 and the status: NOT_FOUND is 5.
    expect({ status, output }).toMatchObject({ status: 69, output: expect.stringContaining('NotFound') });
  });

  test('it is healthy', async () => {
    expect(await call('grpc.health.v1.Health/Check', {})).toEqual([{ status: 'SERVING' }]);
  });
});
