// Clients of simulated brokers: each asks any node, as one behind a load balancer does, so that requests are passed on. What they were told
// and what they read goes into the history of the topic.
//
// Whoever deletes records has read all of them before, from the first one that was left: so everything that was acknowledged is read by
// somebody, or lost. A refusal says whether its records may be written all the same (`outcome`).

import { offset } from '@sluice/protocol/ids';
import type { Problem } from '@sluice/protocol/errors';
import { isConfiguration } from '@sluice/protocol/record';
import type { Acks, Broker, FetchedPartition } from '../../server/broker/broker.ts';
import { LogHistory, type ReadRecord } from '../history/log-history.ts';
import { makeBatch, recordsOf, valuesOf } from '../storage/batches.ts';
import type { BrokerCluster } from './broker-cluster.ts';
import type { BrokerNode } from './broker-node.ts';
import { WALL_START_MS } from './clock.ts';
import type { SeededRandom } from './random.ts';

export class KnownTopic {
  readonly name: string;
  readonly history = new LogHistory();
  readonly replicationFactor: number;
  /** As asked for; there may be fewer. */
  partitions: number;
  /** Whoever asked for it was told so. Until then it may be asked for once more, and come back after its end. */
  isThere = false;
  /** Somebody asked for its end. */
  isDoomed = false;

  constructor(name: string, shape: { readonly partitions: number; readonly replicationFactor: number }) {
    this.name = name;
    this.partitions = shape.partitions;
    this.replicationFactor = shape.replicationFactor;
  }
}

interface Reader {
  readonly name: string;
  readonly next: Map<string, number>;
  /** Of the request that it waits for; what others bring is not looked at. */
  ticket: number;
  isBusy: boolean;
}

const VALUE_BYTES = 40;
const READ_BYTES = 4_096;
/** When a reader gives a request up: its node is gone. */
const PATIENCE_MS = 12_000;

/** No request of these clients deserves one of these. */
const WRONG = new Set([
  'INTERNAL',
  'CORRUPT_BATCH',
  'INVALID_REQUEST',
  'INVALID_TIMESTAMP',
  'UNSUPPORTED_COMPRESSION',
  'RECORD_TOO_LARGE',
  'PARTITION_DAMAGED',
  'INVALID_TOPIC_NAME',
  'INVALID_CONFIG',
  'INVALID_REPLICATION_FACTOR',
]);

export const dataRecords = (piece: FetchedPartition, from: number): readonly ReadRecord[] =>
  piece.batches
    .filter(batch => !isConfiguration(batch))
    .flatMap(batch => recordsOf(batch))
    .filter(record => record.offset >= from);

export class BrokerClients {
  readonly #cluster: BrokerCluster;
  readonly #random: SeededRandom;
  readonly topics: KnownTopic[] = [];
  #names = 0;
  #isOver = false;
  /** Readers that were told by a leader that knew less than what they had read. */
  behindCount = 0;
  answers = 0;

  constructor(cluster: BrokerCluster, random: SeededRandom) {
    this.#cluster = cluster;
    this.#random = random;
  }

  start(): void {
    const { plan } = this.#cluster;
    for (let each = 0; each < plan.producers; each++) {
      this.#every(plan.clientEveryMs, () => this.#producerTurn(`producer ${each}`));
    }
    for (let each = 0; each < plan.readers; each++) {
      const reader: Reader = { name: `reader ${each}`, next: new Map(), ticket: 0, isBusy: false };
      this.#every(plan.clientEveryMs, () => void this.#readerTurn(reader));
    }
    if (plan.hasAdministrators) this.#every(plan.clientEveryMs * 20, () => this.#administratorTurn());
  }

  stop(): void {
    this.#isOver = true;
  }

  #every(meanMs: number, turn: () => void): void {
    this.#cluster.scheduler.after(meanMs * 2 * this.#random.fraction(), () => {
      if (this.#isOver) return;
      turn();
      this.#every(meanMs, turn);
    });
  }

  /** A node that takes requests, as far as anybody can see. */
  #anyNode(): BrokerNode | null {
    const up = this.#cluster.nodes.filter(({ isUp, life }) => isUp && !life!.stall.isStalled);
    return up.length === 0 ? null : this.#random.pick(up);
  }

  /** Never settles where the node dies. */
  async ask<T extends { readonly ok: boolean }>(
    node: BrokerNode,
    what: string,
    question: (broker: Broker) => Promise<T>,
  ): Promise<T> {
    const life = node.life!;
    life.openRequests++;
    const answer = await question(node.running.broker);
    life.openRequests--;
    this.answers++;
    const problem = answer.ok ? null : (answer as unknown as { readonly problem: Problem }).problem;
    this.#cluster.trace(`${node.nodeId} ${what}: ${problem === null ? 'ok' : problem.code}`);
    const isRot = problem?.code === 'PARTITION_DAMAGED' && this.#cluster.mayRot;
    if (problem !== null && WRONG.has(problem.code) && !isRot) {
      this.#cluster.fail(`node ${node.nodeId}, ${what}: ${JSON.stringify(problem)}`);
    }
    return answer;
  }

  // ---- Topics

  async create(node: BrokerNode): Promise<void> {
    const random = this.#random;
    const { plan } = this.#cluster;
    const partitionCount = random.between(1, plan.partitionsMax);
    const replicationFactor = plan.nodes < 3 ? 1 : random.pick([1, 3, 3, 3]);
    const config = {
      'segment.bytes': String(plan.segmentBytes),
      'min.insync.replicas': replicationFactor === 1 ? '1' : random.pick(['1', '2']),
    };
    const shape = { partitions: partitionCount, replicationFactor };
    const topic = new KnownTopic(`topic-${this.topics.length}`, shape);
    this.topics.push(topic);
    const request = { name: topic.name, partitionCount, replicationFactor, config };
    const created = await this.ask(node, `create ${topic.name}`, broker => broker.createTopic(request));
    // It may be there all the same, and then it is judged like every other one; nobody goes on to use it.
    if (created.ok) topic.isThere = true;
    else topic.isDoomed = true;
  }

  #administratorTurn(): void {
    const random = this.#random;
    const node = this.#anyNode();
    if (node === null) return;
    const living = this.topics.filter(topic => !topic.isDoomed);
    if (living.length < this.#cluster.plan.topicsMax) {
      void this.create(node);
      return;
    }
    const topic = random.pick(living);
    const draw = random.fraction();
    if (draw < 0.15 && topic.isThere) {
      topic.isDoomed = true;
      void this.ask(node, `delete ${topic.name}`, broker => broker.deleteTopic(topic.name));
    } else if (draw < 0.4) {
      const partitionCount = Math.min(topic.partitions + 1, this.#cluster.plan.partitionsMax + 1);
      topic.partitions = partitionCount;
      void this.ask(node, `widen ${topic.name}`, broker => broker.alterTopic({ name: topic.name, partitionCount }));
    } else {
      const config = { 'segment.bytes': String(random.pick([2_000, 8_000, 100_000])) };
      void this.ask(node, `alter ${topic.name}`, broker => broker.alterTopic({ name: topic.name, config }));
    }
  }

  // ---- Producing

  #producerTurn(process: string): void {
    const random = this.#random;
    const node = this.#anyNode();
    const living = this.topics.filter(topic => !topic.isDoomed);
    if (node === null || living.length === 0) return;
    const topic = random.pick(living);
    const acks = random.pick<Acks>(['all', 'all', 'all', 'leader']);
    const partition = random.below(topic.partitions);
    void this.produce(node, { process, topic, partition, acks, count: random.between(1, 3) });
  }

  /** True where it was acknowledged. */
  async produce(node: BrokerNode, { process, topic, partition, acks, count }: Produced): Promise<boolean> {
    const name = `r${this.#names++}`;
    const timestamp = WALL_START_MS + Math.floor(this.#cluster.scheduler.nowMs);
    const plan = { count, name, valueBytes: VALUE_BYTES, timestamp };
    const sends = valuesOf(plan).map(value => topic.history.send(process, { partition: String(partition), value }));
    const timeoutMs = this.#random.pick([500, 5_000, 5_000]);
    const request = { topic: topic.name, partition, batches: makeBatch(plan), acks, timeoutMs };
    const answer = await this.ask(node, `${process} ${name} ${topic.name}/${partition} ${acks}`, broker =>
      broker.produce(request),
    );
    if (answer.ok) {
      // A leader's word alone promises nothing.
      if (acks === 'all')
        for (const [index, send] of sends.entries()) send.acknowledge(answer.value.baseOffset + index);
    } else if (answer.problem.facts['outcome'] === undefined) for (const send of sends) send.refuse();
    return answer.ok;
  }

  // ---- Reading

  async #readerTurn(reader: Reader): Promise<void> {
    const random = this.#random;
    const node = this.#anyNode();
    const [topic] = random.shuffled(this.topics);
    if (node === null || topic === undefined || reader.isBusy) return;
    if (random.chance(0.05)) {
      await this.#offsetsTurn(node, topic);
      return;
    }
    const all = Array.from({ length: topic.partitions }, (_, partition) => partition);
    const partitions = random.shuffled(all).slice(0, random.between(1, all.length));
    const ticket = ++reader.ticket;
    reader.isBusy = true;
    this.#cluster.scheduler.after(PATIENCE_MS, () => this.#free(reader, ticket));
    const positions = partitions.map(partition => ({
      partition,
      offset: offset(this.#next(reader, topic, partition)),
    }));
    const request = {
      topic: topic.name,
      positions,
      bytesMax: READ_BYTES,
      isolation: 'read_uncommitted',
      waitMs: random.pick([0, 100, 500]),
    } as const;
    const answer = await this.ask(node, `${reader.name} ${topic.name}`, broker => broker.fetch(request));
    if (reader.ticket !== ticket || !reader.isBusy) return;
    this.#free(reader, ticket);
    if (answer.ok) {
      for (const piece of answer.value) this.#read(reader, topic, piece);
    } else if (answer.problem.code === 'OFFSET_OUT_OF_RANGE') this.#outOfRange(reader, topic, answer.problem);
    if (this.#cluster.plan.hasAdministrators && random.chance(0.02)) this.#deleteRead(reader, topic, partitions[0]!);
  }

  #free(reader: Reader, ticket: number): void {
    if (reader.ticket === ticket) reader.isBusy = false;
  }

  #next(reader: Reader, topic: KnownTopic, partition: number): number {
    return reader.next.get(`${topic.name}/${partition}`) ?? 0;
  }

  #read(reader: Reader, topic: KnownTopic, piece: FetchedPartition): void {
    const { partition } = piece;
    const key = `${topic.name}/${partition}`;
    const from = this.#next(reader, topic, partition);
    if (piece.nextOffset < from)
      this.#cluster.fail(`${reader.name} read ${key} from ${from} and got to ${piece.nextOffset}`);
    if (piece.nextOffset > piece.highWatermark) {
      this.#cluster.fail(`${reader.name} read ${key} to ${piece.nextOffset}, above ${piece.highWatermark}`);
    }
    topic.history.poll(reader.name, String(partition), dataRecords(piece, from));
    reader.next.set(key, piece.nextOffset);
  }

  #outOfRange(reader: Reader, topic: KnownTopic, { facts }: Problem): void {
    const partition = Number(facts['partition']);
    const earliest = Number(facts['earliest_offset']);
    if (this.#next(reader, topic, partition) >= earliest) {
      this.behindCount++;
      return;
    }
    topic.history.seek(reader.name, String(partition));
    reader.next.set(`${topic.name}/${partition}`, earliest);
  }

  #deleteRead(reader: Reader, topic: KnownTopic, partition: number): void {
    const node = this.#anyNode();
    const beforeOffset = offset(Math.floor(this.#next(reader, topic, partition) * this.#random.fraction()));
    if (node === null || beforeOffset === 0) return;
    void this.ask(node, `delete ${topic.name}/${partition} below ${beforeOffset}`, broker =>
      broker.deleteRecords({ topic: topic.name, partition, beforeOffset }),
    );
  }

  async #offsetsTurn(node: BrokerNode, topic: KnownTopic): Promise<void> {
    const query = this.#random.pick([{ kind: 'none' }, { kind: 'tail', count: 3 }] as const);
    const answer = await this.ask(node, `offsets ${topic.name}`, broker =>
      broker.listOffsets({ topic: topic.name, query }),
    );
    if (!answer.ok) return;
    for (const { partition, earliestOffset, highWatermark, found } of answer.value) {
      const isInside = found === null || (found.offset >= earliestOffset && found.offset <= highWatermark);
      if (earliestOffset > highWatermark || !isInside) {
        this.#cluster.fail(
          `offsets of ${topic.name}/${partition}: ${earliestOffset}, ${found?.offset}, ${highWatermark}`,
        );
      }
    }
  }
}

interface Produced {
  readonly process: string;
  readonly topic: KnownTopic;
  readonly partition: number;
  readonly acks: Acks;
  readonly count: number;
}
