// A rolling restart, one node after the other asked to stop and started again, as an upgrade does it: programs that use the SDK see no
// error, and their records are there once and in order.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Sluice } from '@sluice/client';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { LogHistory } from '../history/log-history.ts';
import { describeAt } from './cluster-faults.ts';
import { type ClusterNode, TestCluster } from './cluster-processes.ts';

const TOPIC = 'rolling';
const PARTITIONS = 3;
/** Records that each writer has under way. */
const IN_FLIGHT = 8;
/** Acknowledged between two steps, so that every node is used before and after each. */
const RECORDS_A_STEP = 200;
/** A hang, not a slow machine. */
const SETTLE_MS_MAX = 120_000;

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sluice-rolling-'));
});

afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** The longest time between two events. */
class Pause {
  longestMs = 0;
  #lastMs = performance.now();

  note(): void {
    const now = performance.now();
    this.longestMs = Math.max(this.longestMs, now - this.#lastMs);
    this.#lastMs = now;
  }
}

const inFull = (error: unknown): string => {
  const cause = error instanceof Error && error.cause !== undefined ? `, because of ${inFull(error.cause)}` : '';
  return `${String(error)}${cause}`;
};

class Traffic {
  readonly history = new LogHistory();
  readonly acknowledgements = new Pause();
  readonly deliveries = new Pause();
  readonly errors: string[] = [];
  acknowledged = 0;
  delivered = 0;
  readonly #client: Sluice;
  readonly #over = new AbortController();
  readonly #work: Promise<void>[] = [];
  #waiting: (() => void)[] = [];

  constructor(nodes: readonly ClusterNode[]) {
    this.#client = new Sluice({ servers: nodes.map(node => node.grpc) });
    for (let partition = 0; partition < PARTITIONS; partition++) this.#work.push(this.#write(partition));
    this.#work.push(this.#read());
  }

  async #write(partition: number): Promise<void> {
    await using producer = this.#client.producer({ topic: TOPIC, lingerMs: 1 });
    const under: Promise<void>[] = [];
    for (let number = 0; !this.#over.signal.aborted; number++) {
      const value = `${partition}/${number}`;
      const send = this.history.send(`writer ${partition}.${number % IN_FLIGHT}`, {
        partition: `p${partition}`,
        value,
      });
      under.push(
        producer.send({ value, partition }).then(
          ({ offset }) => {
            send.acknowledge(offset);
            this.acknowledged++;
            this.acknowledgements.note();
            this.#poke();
          },
          (error: unknown) => this.#failed(`writer ${partition}: ${inFull(error)}`),
        ),
      );
      if (under.length >= IN_FLIGHT) await under.shift();
    }
    await Promise.all(under);
  }

  async #read(): Promise<void> {
    const reader = this.#client.reader({ topic: TOPIC, from: 'earliest', signal: this.#over.signal });
    try {
      for await (const { partition, offset, valueBytes } of reader) {
        this.history.poll('reader', `p${partition}`, [{ offset, value: Buffer.from(valueBytes ?? []).toString() }]);
        this.delivered++;
        this.deliveries.note();
        this.#poke();
      }
    } catch (error) {
      if (!this.#over.signal.aborted) this.#failed(`reader: ${inFull(error)}`);
    }
  }

  #failed(error: string): void {
    this.errors.push(`${new Date().toISOString()} ${error}`);
    this.#over.abort();
    this.#poke();
  }

  #poke(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }

  /** So many more records were acknowledged, and all of these read. */
  async flows(count: number): Promise<void> {
    const goal = this.acknowledged + count;
    while ((this.acknowledged < goal || this.delivered < goal) && this.errors.length === 0) {
      await new Promise<void>(resolve => this.#waiting.push(resolve));
    }
  }

  async end(): Promise<void> {
    this.#over.abort();
    await Promise.all(this.#work);
    await this.#client.close();
  }
}

async function whole(cluster: TestCluster): Promise<void> {
  const untilMs = performance.now() + SETTLE_MS_MAX;
  for (;;) {
    const views = await Promise.all(cluster.nodes.map(node => describeAt(node, TOPIC)));
    if (views.every(view => view?.partitions.every(({ leader, isr }) => leader > 0 && isr.length === 3) === true))
      return;
    if (performance.now() > untilMs) throw new Error(`they do not come together: ${JSON.stringify(views)}`);
  }
}

test(
  'programs see no error while every node is restarted in turn',
  async () => {
    const cluster = await TestCluster.start({ folder });
    const admin = new Sluice({ servers: [cluster.node(2).grpc] });
    try {
      const config = { 'min.insync.replicas': 2 };
      await admin.admin.createTopic({ name: TOPIC, partitionCount: PARTITIONS, replicationFactor: 3, config });
      await whole(cluster);
      const traffic = new Traffic(cluster.nodes);
      const exits: (number | null | undefined)[] = [];
      try {
        for (const node of cluster.nodes) {
          await traffic.flows(RECORDS_A_STEP);
          exits.push((await node.terminate())?.status);
          await traffic.flows(RECORDS_A_STEP);
          await node.start();
          await node.ready();
          await whole(cluster);
        }
        await traffic.flows(RECORDS_A_STEP);
      } finally {
        await traffic.end();
      }
      const all = admin.reader({ topic: TOPIC, from: 'earliest', untilEnd: true });
      for await (const { partition, offset, valueBytes } of all) {
        traffic.history.poll('end', `p${partition}`, [{ offset, value: Buffer.from(valueBytes ?? []).toString() }]);
      }
      expect({ errors: traffic.errors, exits, anomalies: traffic.history.anomalies() }).toEqual({
        errors: [],
        exits: [0, 0, 0],
        anomalies: [],
      });
      expect(cluster.nodes.flatMap(node => node.faults)).toEqual([]);
      process.stderr.write(
        `rolling restart: ${traffic.acknowledged} records acknowledged, longest pause of acknowledgements ` +
          `${Math.round(traffic.acknowledgements.longestMs)} ms, of deliveries ${Math.round(traffic.deliveries.longestMs)} ms\n`,
      );
    } catch (error) {
      for (const node of cluster.nodes) process.stderr.write(`--- node ${node.id}\n${node.process?.log ?? ''}\n`);
      throw error;
    } finally {
      await admin.close();
      await cluster.close();
    }
  },
  4 * SETTLE_MS_MAX,
);
