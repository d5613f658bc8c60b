// Members of one group on a cluster that loses power, links and coordinators: what each was told and what it committed, and whether that can
// be of a group in which a partition has one owner and a committed position is kept.
//
// A stint is one time of one member with one partition, from the answer that gave it to the one that took it. What must hold of a partition:
//
// - stints take turns: once another stint's commit is acknowledged, no commit of the one before, begun later, is;
// - who is given a partition, and whoever reads at the end, finds a position that no acknowledged commit, begun after it was over, replaced.

import type { GroupCluster } from './group-cluster.ts';
import { offset } from '@sluice/protocol/ids';
import type { Membership } from '../../../server/broker/groups.ts';
import type { SeededRandom } from '../../simulation/random.ts';

interface Commit {
  readonly stint: string;
  readonly position: number;
  readonly beganMs: number;
  /** Infinite: nobody knows whether it was done, or when. */
  endedMs: number;
  isAcknowledged: boolean;
}

const TOPIC = 't';
const PARTITIONS = 6;
const SESSION_MS = 3_000;

export class GroupHistory {
  readonly #cluster: GroupCluster;
  readonly #random: SeededRandom;
  readonly #commits = new Map<number, Commit[]>();
  readonly faults: string[] = [];
  readonly tally = { joins: 0, heartbeats: 0, commits: 0, refused: 0, stints: 0 };
  #isOver = false;
  #stints = 0;

  constructor(cluster: GroupCluster, random: SeededRandom) {
    this.#cluster = cluster;
    this.#random = random;
    for (let partition = 0; partition < PARTITIONS; partition++) this.#commits.set(partition, []);
  }

  get #nowMs(): number {
    return this.#cluster.scheduler.nowMs;
  }

  async play(safetyMs: number): Promise<void> {
    await this.#cluster.topic(TOPIC, PARTITIONS);
    const members = Array.from({ length: 4 }, (_, index) => this.#member(index));
    const troubles = this.#troubles();
    await this.#cluster.sleep(safetyMs);
    this.#isOver = true;
    await Promise.all([...members, troubles]);
    this.#cluster.network.heal();
    for (const node of this.#cluster.nodes) node.start();
    await this.#cluster.when(() => this.#cluster.isReady);
    await this.#readAtTheEnd();
    this.#judgeTurns();
  }

  // ---- Troubles

  async #troubles(): Promise<void> {
    const { nodes, network } = this.#cluster;
    while (!this.#isOver) {
      await this.#cluster.sleep(this.#random.between(300, 2_500));
      const node = this.#random.pick(nodes);
      switch (this.#random.below(4)) {
        case 0:
        case 1:
          if (nodes.filter(each => each.isUp).length < nodes.length || !node.isUp) break;
          node.end(this.#random.chance(0.5) ? 'power' : 'kill');
          this.#cluster.scheduler.after(this.#random.between(200, 4_000), () => node.start());
          break;
        case 2: {
          const rest = nodes.filter(each => each !== node).map(each => each.nodeId);
          network.partition([node.nodeId], rest);
          await this.#cluster.sleep(this.#random.between(500, 6_000));
          network.heal();
          break;
        }
        default:
          node.stall(this.#random.between(100, 3_000));
      }
    }
  }

  /** A call through any node; a node that dies never answers, so the client gives up after a while. */
  async #ask<T>(question: (groups: ReturnType<GroupCluster['groups']>) => Promise<T>): Promise<T | null> {
    const up = this.#cluster.nodes.filter(node => node.isUp);
    if (up.length === 0) {
      await this.#cluster.sleep(100);
      return null;
    }
    const answer = question(this.#cluster.groups(this.#random.pick(up).nodeId));
    return Promise.race([answer, this.#cluster.sleep(20_000).then(() => null)]);
  }

  // ---- Members

  async #member(index: number): Promise<void> {
    while (!this.#isOver) {
      const joined = await this.#ask(groups =>
        groups.join({ group: 'g', topics: [TOPIC], sessionTimeoutMs: SESSION_MS, clientId: `client ${index}` }),
      );
      if (joined?.ok !== true) continue;
      this.tally.joins++;
      await this.#live(joined.value);
      await this.#cluster.sleep(this.#random.between(0, 1_500));
    }
  }

  async #live(first: Membership): Promise<void> {
    let told = first;
    let stints = await this.#follow(new Map(), told);
    const untilMs = this.#nowMs + this.#random.between(2_000, 15_000);
    while (!this.#isOver && this.#nowMs < untilMs) {
      await this.#cluster.sleep(this.#random.between(10, 700));
      await this.#commitSome(told, stints);
      const { memberId, memberEpoch } = told;
      const waitMs = this.#random.chance(0.3) ? this.#random.between(100, 4_000) : 0;
      const request = { group: 'g', memberId, memberEpoch, owned: null, waitMs };
      const answer = await this.#ask(groups => groups.heartbeat(request));
      if (answer === null) continue;
      if (answer.ok) {
        this.tally.heartbeats++;
        told = answer.value;
        stints = await this.#follow(stints, told);
      } else if (['UNKNOWN_MEMBER', 'FENCED_MEMBER_EPOCH'].includes(answer.problem.code)) return;
    }
    if (this.#random.chance(0.5)) await this.#ask(groups => groups.leave({ group: 'g', memberId: told.memberId }));
  }

  /** What is kept goes on; what is new begins where the group says. */
  async #follow(before: ReadonlyMap<number, Stint>, told: Membership): Promise<Map<number, Stint>> {
    const now = new Map<number, Stint>();
    for (const { partitions } of told.assignment) {
      for (const partition of partitions) {
        const kept = before.get(partition);
        if (kept === undefined) this.tally.stints++;
        now.set(partition, kept ?? { id: `${told.memberId} ${++this.#stints}`, position: null });
      }
    }
    for (const [partition, stint] of now) if (stint.position === null) await this.#begin(partition, stint);
    return now;
  }

  async #begin(partition: number, stint: Stint): Promise<void> {
    const beganMs = this.#nowMs;
    const places = [{ topic: TOPIC, partitions: [partition] }];
    const read = await this.#ask(groups => groups.offsets({ group: 'g', places }));
    if (read?.ok !== true) return;
    stint.position = read.value[0]?.offset ?? 0;
    this.#judgeRead(partition, stint.position, beganMs);
  }

  async #commitSome({ memberId, memberEpoch }: Membership, stints: ReadonlyMap<number, Stint>): Promise<void> {
    const chosen = Array.from(stints).filter(([, { position }]) => position !== null && this.#random.chance(0.6));
    if (chosen.length === 0) return;
    const commits = chosen.map(([partition, stint]) => {
      stint.position = (stint.position ?? 0) + this.#random.between(1, 5);
      const commit: Commit = {
        stint: stint.id,
        position: stint.position,
        beganMs: this.#nowMs,
        endedMs: Number.POSITIVE_INFINITY,
        isAcknowledged: false,
      };
      this.#commits.get(partition)!.push(commit);
      return { partition, commit };
    });
    const offsets = commits.map(({ partition, commit }) => ({
      topic: TOPIC,
      partition,
      offset: offset(commit.position),
    }));
    const member = { memberId, memberEpoch };
    const answer = await this.#ask(groups => groups.commit({ group: 'g', member, offsets }));
    if (answer === null) return;
    this.tally[answer.ok ? 'commits' : 'refused']++;
    const isUnknown = !answer.ok && answer.problem.facts['outcome'] === 'unknown';
    if (isUnknown) return;
    for (const { partition, commit } of commits) {
      commit.endedMs = this.#nowMs;
      commit.isAcknowledged = answer.ok;
      // Certainly not done.
      if (!answer.ok)
        this.#commits.set(
          partition,
          this.#commits.get(partition)!.filter(each => each !== commit),
        );
    }
  }

  // ---- Judging

  async #readAtTheEnd(): Promise<void> {
    for (const { nodeId } of this.#cluster.nodes) {
      const beganMs = this.#nowMs;
      const read = await this.#cluster.groups(nodeId).offsets({ group: 'g' });
      if (!read.ok) {
        this.faults.push(`node ${nodeId} gives no positions at the end: ${read.problem.detail}`);
        continue;
      }
      for (let partition = 0; partition < PARTITIONS; partition++) {
        const found = read.value.find(each => each.partition === partition)?.offset ?? 0;
        this.#judgeRead(partition, found, beganMs);
      }
    }
  }

  #judgeRead(partition: number, position: number, beganMs: number): void {
    const commits = this.#commits.get(partition)!;
    const acknowledged = commits.filter(each => each.isAcknowledged && each.endedMs < beganMs);
    const sources = commits.filter(each => each.position === position);
    const isReplaced = (source: Commit): boolean => acknowledged.some(each => each.beganMs > source.endedMs);
    const isFine = position === 0 ? acknowledged.length === 0 : sources.some(source => !isReplaced(source));
    if (isFine) return;
    const last = acknowledged.at(-1);
    this.faults.push(
      `partition ${partition}: ${position} was read at ${beganMs}, after ${last?.position} of ${last?.stint} was acknowledged at ${last?.endedMs}`,
    );
  }

  #judgeTurns(): void {
    for (const [partition, commits] of this.#commits) {
      const acknowledged = commits.filter(each => each.isAcknowledged);
      for (const other of acknowledged) {
        const mine = acknowledged.filter(each => each.stint !== other.stint);
        const before = new Set(mine.filter(each => each.endedMs < other.beganMs).map(each => each.stint));
        const late = mine.find(each => each.beganMs > other.endedMs && before.has(each.stint));
        if (late === undefined) continue;
        this.faults.push(
          `partition ${partition}: ${late.position} of ${late.stint} was taken at ${late.endedMs}, after ${other.stint} had it at ${other.endedMs}`,
        );
      }
    }
  }
}

interface Stint {
  readonly id: string;
  /** Null: not read yet. */
  position: number | null;
}
