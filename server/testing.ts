// A real broker inside the caller's process, for tests of programs that use Sluice: free ports, a data directory of its own
// (removed at the end unless the caller gave one), nothing simulated.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createLogger } from './base/logger.ts';
import type { Broker } from './broker/broker.ts';
import { type Config, nodeRoles } from './config.ts';
import { startNode } from './node.ts';

export interface TestBroker extends AsyncDisposable {
  /** http://HOST:PORT of the REST door. */
  readonly http: string;
  /** HOST:PORT of the gRPC door. */
  readonly grpc: string;
  /** http://HOST:PORT of the management port. */
  readonly management: string;
  readonly dataDir: string;
  readonly broker: Broker;
  stop(): Promise<void>;
}

export interface TestBrokerOptions {
  /** Kept after the stop when given. */
  readonly dataDir?: string;
  readonly settings?: Partial<Config>;
}

export const startBroker = async (options: TestBrokerOptions = {}): Promise<TestBroker> => {
  const dataDir = options.dataDir ?? (await mkdtemp(path.join(tmpdir(), 'sluice-')));
  const free = { host: '127.0.0.1', port: 0 };
  const config: Config = {
    dataDir,
    nodeId: 1,
    rack: '',
    roles: nodeRoles,
    cluster: null,
    peer: free,
    clusterSecretFile: null,
    http: free,
    grpc: free,
    management: free,
    allowOrigins: [],
    hostNames: [],
    offsetsRetentionMinutes: 10_080,
    insecure: false,
    logLevel: 'silent',
    topicDefaults: {},
    ...options.settings,
  };
  const node = await startNode(config, createLogger(config.logLevel));
  const stop = async (): Promise<void> => {
    await node.stop();
    if (options.dataDir === undefined) await rm(dataDir, { recursive: true, force: true });
  };
  return {
    http: `http://${node.addresses.http}`,
    grpc: node.addresses.grpc,
    management: `http://${node.addresses.management}`,
    dataDir,
    broker: node.broker,
    stop,
    [Symbol.asyncDispose]: stop,
  };
};
