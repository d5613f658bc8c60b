// One running broker and a client for each of its doors.

import { Sluice } from '@sluice/client';
import { BrokerProcess } from './broker-process.ts';
import { GrpcClient } from './grpc-streams.ts';
import { HttpClient } from './http-exchange.ts';

export class Doors {
  readonly broker: BrokerProcess;
  readonly http: HttpClient;
  readonly grpc: GrpcClient;
  readonly sluice: Sluice;
  /** For files that go through the command line or curl. */
  readonly folder: string;

  private constructor(broker: BrokerProcess, folder: string) {
    this.broker = broker;
    this.folder = folder;
    this.http = new HttpClient(broker.http);
    this.grpc = new GrpcClient(broker.grpc);
    this.sluice = new Sluice({ servers: [broker.grpc] });
  }

  static async open(dataDir: string, folder: string): Promise<Doors> {
    return new Doors(await BrokerProcess.start(dataDir), folder);
  }

  async createTopic(name: string, partitionCount: number): Promise<void> {
    await this.sluice.admin.createTopic({ name, partitionCount });
  }

  /** Closes the clients and stops the broker; its exit code. */
  async close(): Promise<number | null> {
    this.http.close();
    this.grpc.close();
    await this.sluice.close();
    return (await this.broker.terminate()).status;
  }
}
