// How a node that belongs to no cluster comes to belong to one, once.
//
//   all nodes of the list ask each other for their standing, again and again
//
//   some peer is founded            ──> this node joins that cluster, as one that does not vote
//   all of the list answer blank,   ──> the lowest of them draws the cluster id, and *keeps* the membership (voters with their
//   with the same list                  directories) before it says a word of it; then every voter is asked to keep the same:
//                                       `prepare`. When all have, and not before, the founding record is written
//   anything else                   ──> wait, and say what for
//
// Why this founds at most one cluster: a node keeps one membership and never changes it; the record needs the promise of
// *every* voter; so two different memberships with a voter in common cannot both get it. A crash anywhere is gone on from: who has
// kept the membership is not blank any more, and the lowest one asks for the rest of the promises again. A voter that lost its
// directory before the founding keeps it waiting, and the log says so: the cluster holds nothing yet, so that all
// directories may be removed.

import type { NodeId } from '@sluice/protocol/ids';
import { FOUNDING_LOG_MS, FOUNDING_PAUSE_MS, METADATA_ATTEMPT_MS } from '../base/limits.ts';
import type { Logger } from '../base/logger.ts';
import type { Clock } from '../io/clock.ts';
import type { PeerIdentity, PeerLinks } from '../io/peer-link.ts';
import type { Random } from '../io/random.ts';
import { askPeer, type PeerRequests } from '../replication/peer-request.ts';
import { isSameReplica, type Replica } from '../state/cluster/record.ts';
import {
  decodePrepare,
  decodePrepareAnswer,
  decodeStanding,
  encodePrepare,
  encodePrepareAnswer,
  encodeStanding,
  type PrepareAnswer,
  type Standing,
} from './founding-message.ts';
import type { Membership, NodeAddress } from './membership.ts';
import { pause } from './pause.ts';
import { PEER_KIND } from './peer-kinds.ts';

export interface FoundingOptions {
  readonly self: Replica;
  /** `join`: this node never founds, and never votes because of its list. */
  readonly mode: 'cluster' | 'join';
  /** Its own among them, if it is in the list. */
  readonly nodes: readonly NodeAddress[];
  readonly votersMax: number;
  readonly links: Pick<PeerLinks, 'call'>;
  readonly random: Random;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Durable when it returns. */
  readonly keep: (membership: Membership) => Promise<void>;
  readonly isFounded: () => boolean;
}

const isSameVoters = (a: readonly Replica[], b: readonly Replica[]): boolean =>
  a.length === b.length && a.every((voter, index) => isSameReplica(voter, b[index] as Replica));

const listText = (nodes: readonly NodeId[]): string => nodes.join(', ');

export class Founding {
  readonly #options: FoundingOptions;
  #membership: Membership | null;
  /** One membership is judged at a time: nothing is promised twice. */
  #keeping: Promise<unknown> = Promise.resolve();
  #isClosed = false;
  #toldWait = '';
  #toldWaitMs = 0;

  constructor(options: FoundingOptions, membership: Membership | null) {
    this.#options = options;
    this.#membership = membership;
  }

  answerTo(requests: PeerRequests): void {
    requests.register(PEER_KIND.foundingStanding, () => Promise.resolve(encodeStanding(this.#standing())));
    requests.register(PEER_KIND.foundingPrepare, async (from, body) => {
      const asked = decodePrepare(body);
      const answer =
        asked === null ? { accepted: false, detail: 'the request is not valid' } : this.#prepare(from, asked);
      return encodePrepareAnswer(await answer);
    });
  }

  close(): void {
    this.#isClosed = true;
  }

  get #others(): readonly NodeId[] {
    const { nodes, self } = this.#options;
    return nodes.map(node => node.nodeId).filter(id => id !== self.nodeId);
  }

  #standing(): Standing {
    const { self, isFounded } = this.#options;
    const standing = this.#membership === null ? 'blank' : isFounded() ? 'founded' : 'prepared';
    const { clusterId = '', voters = [] } = this.#membership ?? {};
    const listed = [...new Set([self.nodeId, ...this.#others])].sort((a, b) => a - b);
    return { clusterId, directoryId: self.directoryId, standing, listed, voters };
  }

  // ---- Becoming a member

  /** The membership, once there is one; null when it was closed before. */
  async run(): Promise<Membership | null> {
    while (!this.#isClosed && this.#membership === null) {
      const found = await this.#round();
      if (found !== null) await this.#keepOnce(found);
      else if (this.#membership === null) await pause(this.#options.clock, FOUNDING_PAUSE_MS);
    }
    return this.#membership;
  }

  async #round(): Promise<Membership | null> {
    const asked = this.#others;
    const answers = await Promise.all(asked.map(id => this.#ask(id)));
    if (this.#membership !== null || this.#isClosed) return null;
    const standings = new Map<NodeId, Standing>();
    for (const [index, answer] of answers.entries()) if (answer !== null) standings.set(asked[index] as NodeId, answer);
    const founded = [...standings.values()].filter(({ standing }) => standing === 'founded');
    if (founded.length > 0) return this.#join(founded);
    return this.#options.mode === 'join'
      ? this.#wait('no node of the cluster to join has answered yet')
      : this.#found(standings);
  }

  async #ask(id: NodeId): Promise<Standing | null> {
    const request = { to: id, kind: PEER_KIND.foundingStanding, body: new Uint8Array() };
    const answer = await askPeer(this.#options.links, request, { timeoutMs: METADATA_ATTEMPT_MS });
    return answer.kind === 'answer' ? decodeStanding(answer.body) : null;
  }

  #join(founded: readonly Standing[]): Membership | null {
    const { self, nodes, logger } = this.#options;
    const [first] = founded as [Standing];
    if (founded.some(({ clusterId }) => clusterId !== first.clusterId)) {
      return this.#wait('the nodes of the list belong to different clusters');
    }
    const voters = founded.flatMap(standing => standing.voters);
    const former = voters.find(voter => voter.nodeId === self.nodeId && !isSameReplica(voter, self));
    if (former !== undefined) {
      logger.error(
        { cluster_id: first.clusterId, directory: former.directoryId },
        `the cluster knows node ${self.nodeId} with another data directory, whose copies are not here: bring that directory back, or start with a node id that is free and remove node ${self.nodeId} from the cluster`,
      );
    }
    return { clusterId: first.clusterId, voters: [], nodes };
  }

  #found(standings: ReadonlyMap<NodeId, Standing>): Membership | null {
    const { self, nodes, votersMax, random } = this.#options;
    const silent = this.#others.filter(id => !standings.has(id));
    if (silent.length > 0) return this.#wait(`nodes of the list have not answered yet: ${listText(silent)}`);
    const own = this.#standing();
    const all = new Map<NodeId, Standing>([...standings, [self.nodeId, own]]);
    const prepared = [...standings].filter(([, { standing }]) => standing === 'prepared').map(([id]) => id);
    if (prepared.length > 0) return this.#wait(`the founding has begun elsewhere: at ${listText(prepared)}`);
    const different = [...standings].filter(([, { listed }]) => listed.join() !== own.listed.join()).map(([id]) => id);
    if (different.length > 0) return this.#wait(`nodes were started with another list: ${listText(different)}`);
    const ids = [...all.keys()].sort((a, b) => a - b);
    if (ids[0] !== self.nodeId) return this.#wait(`node ${ids[0]} founds the cluster`);
    const voters = ids
      .slice(0, votersMax)
      .map(id => ({ nodeId: id, directoryId: (all.get(id) as Standing).directoryId }));
    return { clusterId: random.uuid(), voters, nodes };
  }

  #wait(why: string): null {
    const { clock, logger } = this.#options;
    const nowMs = clock.monotonicMs();
    if (why !== this.#toldWait || nowMs - this.#toldWaitMs >= FOUNDING_LOG_MS) {
      this.#toldWait = why;
      this.#toldWaitMs = nowMs;
      logger.info({ why }, 'this node belongs to no cluster yet and waits');
    }
    return null;
  }

  /** Unless another one was kept meanwhile. */
  #keepOnce(membership: Membership): Promise<Membership> {
    const kept = this.#keeping.then(async () => {
      if (this.#membership === null) {
        await this.#options.keep(membership);
        this.#membership = membership;
      }
      return this.#membership;
    });
    this.#keeping = kept;
    return kept;
  }

  // ---- The promises of all

  async #prepare(from: PeerIdentity, asked: Membership): Promise<PrepareAnswer> {
    const { self, mode } = this.#options;
    const fault = this.#membership === null ? this.#prepareFault(from, asked) : null;
    if (fault !== null) return { accepted: false, detail: fault };
    if (this.#membership === null && mode === 'join') {
      return { accepted: false, detail: `node ${self.nodeId} joins a cluster and founds none` };
    }
    const kept = this.#membership ?? (await this.#keepOnce({ ...asked, nodes: this.#options.nodes }));
    return kept.clusterId === asked.clusterId && isSameVoters(kept.voters, asked.voters)
      ? { accepted: true, detail: '' }
      : { accepted: false, detail: `node ${self.nodeId} belongs to cluster ${kept.clusterId}` };
  }

  #prepareFault(from: PeerIdentity, { voters }: Membership): string | null {
    const { self } = this.#options;
    const [founder] = voters;
    if (founder?.nodeId !== from.nodeId || founder.directoryId !== from.directory)
      return 'the lowest voter founds a cluster';
    const { listed } = this.#standing();
    if (!voters.every(voter => listed.includes(voter.nodeId)))
      return `node ${self.nodeId} was started with another list`;
    if (voters.some(voter => isSameReplica(voter, self))) return null;
    return `node ${self.nodeId} has the directory ${self.directoryId}, which is none of the voters`;
  }

  /** Of the founder: returns when every voter has promised, or when the cluster is founded anyway. */
  async gatherPromises(): Promise<void> {
    const { self, isFounded, clock } = this.#options;
    const membership = this.#membership;
    if (membership === null) return;
    const missing = new Set(membership.voters.filter(voter => voter.nodeId !== self.nodeId).map(voter => voter.nodeId));
    while (missing.size > 0 && !isFounded() && !this.#isClosed) {
      await Promise.all([...missing].map(id => this.#askPromise(id, membership, missing)));
      if (missing.size > 0) await pause(clock, FOUNDING_PAUSE_MS);
    }
  }

  async #askPromise(id: NodeId, membership: Membership, missing: Set<NodeId>): Promise<void> {
    const request = { to: id, kind: PEER_KIND.foundingPrepare, body: encodePrepare(membership) };
    const asked = await askPeer(this.#options.links, request, { timeoutMs: METADATA_ATTEMPT_MS });
    const answer = asked.kind === 'answer' ? decodePrepareAnswer(asked.body) : null;
    if (answer?.accepted === true) missing.delete(id);
    else
      this.#wait(
        answer === null
          ? `node ${id} has not answered`
          : `node ${id} refuses to be part of the cluster: ${answer.detail}`,
      );
  }
}
