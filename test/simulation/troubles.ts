// What goes wrong in a simulated cluster, drawn one after another from those that the plan allows.

import type { NodeId } from '@sluice/protocol/ids';
import type { Trouble } from './cluster-plan.ts';
import { type SimulatedDisk, usual } from './disk.ts';
import type { SimulatedNetwork } from './network.ts';
import { calm } from './network-settings.ts';
import type { NodeClock, Stall } from './node-clock.ts';
import type { SeededRandom } from './random.ts';
import type { Scheduler } from './scheduler.ts';

/** All segments but the newest of each log: what stands behind the last sync point can be a torn write as well. */
export const sealedLogs = (disk: SimulatedDisk, isMeant: (folder: string) => boolean): string[] => {
  const logs = disk.filePaths().filter(path => path.endsWith('.log'));
  const folderOf = (path: string): string => path.slice(0, path.lastIndexOf('/'));
  return logs.filter((path, index) => {
    const next = logs[index + 1];
    return next !== undefined && folderOf(next) === folderOf(path) && isMeant(folderOf(path));
  });
};

/** A machine and the process on it. */
export interface TroubledNode {
  readonly nodeId: NodeId;
  readonly disk: SimulatedDisk;
  readonly life: { readonly stall: Stall; readonly clock: NodeClock } | null;
  start(): void;
  end(how: 'kill' | 'power'): void;
  stall(forMs: number): void;
  /** As whoever looks after it would, when a log takes nothing any more. */
  restartWhereFailed(): void;
}

/** Something that a node leads. */
export interface Led {
  transfer(random: SeededRandom): void;
  retain(part: number): void;
  changeMembers(random: SeededRandom): void;
}

export interface TroubledCluster {
  readonly plan: { readonly troubles: readonly Trouble[]; readonly troubleEveryMs: number };
  readonly scheduler: Scheduler;
  readonly network: SimulatedNetwork;
  readonly nodes: readonly TroubledNode[];
  trace(line: string): void;
  ledOn(node: TroubledNode): readonly Led[];
  /** Logs of one node that others hold too, written and sealed: damage there is found out, and made good. */
  rottable(): { readonly disk: SimulatedDisk; readonly paths: readonly string[] };
}

/** As when somebody sets the time by hand; well below what brokers allow records to be ahead. */
const JUMP_MS_MAX = 20 * 60_000;

export class Troubles {
  readonly #cluster: TroubledCluster;
  readonly #random: SeededRandom;
  #isOver = false;
  /** Elections to come whose winners are cut off at once, before anybody has their first entry. */
  #coups = 0;

  constructor(cluster: TroubledCluster, random: SeededRandom) {
    this.#cluster = cluster;
    this.#random = random;
  }

  start(): void {
    const { plan, scheduler } = this.#cluster;
    this.#superviseSoon();
    if (plan.troubles.length === 0) return;
    scheduler.after(plan.troubleEveryMs * 2 * this.#random.fraction(), () => {
      if (this.#isOver) return;
      this.#make(this.#random.pick(plan.troubles));
      this.start();
    });
  }

  /** A log that failed is looked after by whoever runs the node. */
  #superviseSoon(): void {
    this.#cluster.scheduler.after(3_000, () => {
      for (const node of this.#cluster.nodes) node.restartWhereFailed();
    });
  }

  /** A node begins to lead something. */
  elected(id: number): void {
    if (this.#coups === 0 || this.#isOver) return;
    this.#coups--;
    const others = this.#cluster.nodes.map(node => node.nodeId).filter(other => other !== id);
    this.#isolate(id, others, this.#random.chance(0.5) ? 'cut' : 'silent');
  }

  #isolate(id: number, others: readonly number[], kind: 'cut' | 'silent'): void {
    const { network, scheduler } = this.#cluster;
    for (const other of others) {
      network.cut(id, other, kind);
      network.cut(other, id, kind);
    }
    scheduler.after(this.#random.between(300, 3_000), () => {
      for (const other of others) {
        network.heal(id, other);
        network.heal(other, id);
      }
    });
  }

  /** From now on nothing goes wrong any more. */
  heal(): void {
    this.#isOver = true;
    const { network, nodes } = this.#cluster;
    network.heal();
    network.settings = calm;
    for (const node of nodes) {
      node.disk.judge = () => usual;
      node.disk.capacityBytes = Number.MAX_SAFE_INTEGER;
    }
    for (const node of nodes) {
      node.life?.stall.end();
      if (node.life === null) node.start();
    }
    this.#superviseSoon();
  }

  #make(trouble: Trouble): void {
    const { network, scheduler, nodes } = this.#cluster;
    const random = this.#random;
    const node = random.pick(nodes);
    const other = random.pick(nodes);
    this.#cluster.trace(`trouble ${trouble} ${node.nodeId} ${other.nodeId}`);
    switch (trouble) {
      case 'power':
      case 'kill':
        this.#crash(trouble);
        return;
      case 'cut':
        network.cut(node.nodeId, other.nodeId);
        this.#healLater(node.nodeId, other.nodeId);
        return;
      case 'silent':
        network.cut(node.nodeId, other.nodeId, 'silent');
        this.#healLater(node.nodeId, other.nodeId);
        return;
      case 'partition': {
        const sides = random.shuffled(nodes.map(each => each.nodeId));
        const at = random.between(0, sides.length);
        network.partition(sides.slice(0, at), sides.slice(at));
        scheduler.after(random.between(200, 6_000), () => network.heal());
        return;
      }
      case 'noise':
        network.settings = {
          ...calm,
          delayMsMax: random.pick([1, 5, 100]),
          bytesPerMs: random.pick([1_000_000, 1_000_000, 100]),
          refuseCallChance: random.pick([0, 0, 0.1]),
          dropAnswerChance: random.pick([0, 0, 0.1]),
          breakChance: random.pick([0, 0, 0.01]),
          loseChance: random.pick([0, 0.01, 0.2]),
          repeatChance: random.pick([0, 0.01, 0.2]),
          reorderChance: random.pick([0, 0.01, 0.2]),
        };
        return;
      case 'reset':
        network.breakSessions(node.nodeId, other.nodeId);
        return;
      case 'stall':
        node.stall(random.pick([20, 300, 1_500, 4_000]));
        return;
      case 'full':
        this.#fill(node);
        return;
      case 'sync-fault':
        this.#failSync(node);
        return;
      case 'slow-disk':
        this.#slowDown(node);
        return;
      case 'misread':
      case 'read-fault':
        this.#failRead(node, trouble);
        return;
      case 'rot':
        this.#rot();
        return;
      case 'clock-jump':
        node.life?.clock.moveWall(random.between(-JUMP_MS_MAX, JUMP_MS_MAX));
        return;
      case 'dethrone':
        this.#coups++;
        return;
      case 'isolate':
      case 'behead':
      case 'transfer':
      case 'retention':
      case 'membership':
        this.#operate(trouble);
    }
  }

  /** One node, or now and then all of them. */
  #crash(how: 'power' | 'kill'): void {
    const { nodes, scheduler } = this.#cluster;
    const random = this.#random;
    const hit = random.chance(0.1) ? nodes : [random.pick(nodes)];
    for (const node of hit) {
      node.end(how);
      scheduler.after(random.pick([10, 300, 2_000, 5_000]), () => {
        if (node.life === null) node.start();
      });
    }
  }

  #healLater(from: number, to: number): void {
    const { network, scheduler } = this.#cluster;
    scheduler.after(this.#random.between(100, 6_000), () => network.heal(from, to));
  }

  #fill({ disk }: TroubledNode): void {
    disk.capacityBytes = disk.usedBytes() + this.#random.pick([0, 5_000, 50_000]);
    this.#cluster.scheduler.after(this.#random.between(300, 5_000), () => {
      disk.capacityBytes = Number.MAX_SAFE_INTEGER;
    });
  }

  /** The next sync of a log, or rarely of the store. */
  #failSync({ disk }: TroubledNode): void {
    const isStore = this.#random.chance(0.2);
    disk.judge = call => {
      if (call.kind !== 'sync' || call.path.includes('store-') !== isStore) return usual;
      disk.judge = () => usual;
      return { kind: 'fault', fault: 'failed' };
    };
  }

  /** One bit of a log, for good. */
  #rot(): void {
    const random = this.#random;
    const { disk, paths } = this.#cluster.rottable();
    if (paths.length === 0) return;
    const path = random.pick(paths);
    const { length } = disk.contents(path);
    if (length === 0) return;
    const [position, bit] = [random.below(length), random.below(8)];
    disk.rot(path, position, byte => byte ^ (1 << bit));
    this.#cluster.trace(`rot of ${path} at ${position}`);
  }

  /** The next read of a log, which is right when it is tried again. */
  #failRead({ disk }: TroubledNode, how: 'misread' | 'read-fault'): void {
    const random = this.#random;
    disk.judge = call => {
      if (call.kind !== 'read' || !call.path.endsWith('.log')) return usual;
      disk.judge = () => usual;
      return how === 'misread'
        ? { kind: 'flip', bit: random.below(call.byteLength * 8) }
        : { kind: 'fault', fault: 'failed' };
    };
  }

  #slowDown({ disk }: TroubledNode): void {
    const random = this.#random;
    disk.judge = call => (call.kind === 'sync' ? { kind: 'slow', delayMs: random.between(1, 200) } : usual);
    this.#cluster.scheduler.after(random.between(300, 4_000), () => {
      disk.judge = () => usual;
    });
  }

  /** Something happens to a leader. */
  #operate(what: 'isolate' | 'behead' | 'transfer' | 'retention' | 'membership'): void {
    const random = this.#random;
    const { nodes, scheduler } = this.#cluster;
    const leaders = nodes.flatMap(node => {
      const { life } = node;
      if (life === null || life.stall.isStalled) return [];
      return this.#cluster.ledOn(node).map(led => ({ node, led }));
    });
    if (leaders.length === 0) return;
    const { node, led } = random.pick(leaders);
    const others = nodes.map(each => each.nodeId).filter(id => id !== node.nodeId);
    switch (what) {
      case 'isolate':
        // Long enough that another one is elected, while it goes on to take what clients bring.
        this.#isolate(node.nodeId, others, 'cut');
        return;
      case 'behead':
        node.end(random.pick(['power', 'kill']));
        scheduler.after(random.pick([10, 300, 2_000]), () => {
          if (node.life === null) node.start();
        });
        return;
      case 'retention':
        led.retain(random.fraction());
        return;
      case 'transfer':
        led.transfer(random);
        return;
      case 'membership':
        led.changeMembers(random);
    }
  }
}
