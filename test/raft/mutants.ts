// Faults of the core, each a rule of replication left out, as changes of its source text. They live here, so that no
// production code knows of them; a text that is not found exactly once is an error, so that none can wither unseen.

import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import type { Core, DriverFault } from './walk.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const place = join(root, '.work/raft-mutants');

export interface CoreMutant {
  readonly name: string;
  /** A scenario catches each of them; this one is also caught within so many walks. Others take many more. */
  readonly walks?: number;
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

export const coreMutants: readonly CoreMutant[] = [
  {
    name: 'epoch starts at the very end of the log are left out of the comparison',
    walks: 100,
    file: 'append-request.ts',
    from: 'const own = shape.startsAfter(from);',
    to: 'const own = shape.startsAfter(from).filter(start => start.startOffset < shape.end.offset);',
  },
  {
    name: 'points in gaps are left out of the comparison',
    file: 'append-request.ts',
    from: 'const isBeyond = mine === undefined || mine.startOffset >= end.offset;',
    to: 'const isBeyond = mine === undefined || !batches.some(each => each.endOffset > mine.startOffset && each.baseOffset <= mine.startOffset);',
  },
  {
    name: 'a repeat cuts what came after it',
    file: 'append-request.ts',
    from: 'const cutTo = firstDifference({ from, end, batches }, shape);',
    to: 'const cutTo = firstDifference({ from, end, batches }, shape) ?? (isBefore(end, shape.end) && shape.holds(end) ? end : null);',
  },
  {
    name: 'a request is matched whatever stands before it',
    file: 'append-request.ts',
    from: 'if (isBefore(settled, prev) && !shape.holds(prev)) {',
    to: 'if (isBefore(settled, prev) && prev.offset > shape.end.offset) {',
  },
  {
    name: 'an entry of an earlier term is counted',
    file: 'leader.ts',
    from: 'agreed.epoch !== this.#replica.term || ',
    to: '',
  },
  {
    name: 'a leader counts what it has not synced',
    walks: 50,
    file: 'leader.ts',
    from: 'const position = this.#replica.acknowledgeable;',
    to: 'const position = this.#replica.shape.end;',
  },
  {
    name: 'a leader that is removed counts itself',
    walks: 100,
    file: 'leader.ts',
    from: 'const agreed = jointPosition(this.#replica.configuration,',
    to: 'const { configuration, self } = this.#replica;\n    const agreed = jointPosition({ ...configuration, voters: new Set([...configuration.voters, self]) },',
  },
  {
    name: 'a change is proposed while one is pending',
    file: 'leader.ts',
    from: "if (this.#replica.configurations.isChangePending) return { ok: false, refusal: 'change-pending' };",
    to: '',
  },
  {
    name: 'a change is proposed before the own epoch start is committed',
    file: 'leader.ts',
    from: "if (!this.#isReady) return { ok: false, refusal: 'not-ready' };",
    to: '',
  },
  {
    name: 'the new voters decide alone while joint',
    file: 'quorum.ts',
    from: 'const outgoing = majorityPosition(sets.outgoing, acknowledged);',
    to: "const outgoing = 'everything' as ReturnType<typeof majorityPosition>;",
  },
  {
    name: 'the new voters elect alone while joint',
    file: 'quorum.ts',
    from: 'const outgoing = majorityVote(sets.outgoing, votes);',
    to: "const outgoing = 'won' as ReturnType<typeof majorityVote>;",
  },
  {
    name: 'half the voters are a majority',
    walks: 20,
    file: 'quorum.ts',
    from: 'Math.floor(voters.size / 2) + 1',
    to: 'Math.ceil(voters.size / 2)',
  },
  {
    name: 'a follower commits up to its own end',
    file: 'replica.ts',
    from: 'this.commitTo(earlier(append.commit, judgement.matched));',
    to: 'this.commitTo(earlier(append.commit, this.shape.end));',
  },
  {
    name: 'a follower acknowledges its own end',
    file: 'replica.ts',
    from: "this.hold(append.from, { kind: 'append-matched', position: judgement.matched, commit: this.#commit });",
    to: "this.hold(append.from, { kind: 'append-matched', position: this.shape.end, commit: this.#commit });",
  },
  {
    name: 'a cut forgets that a configuration went with it',
    file: 'replica.ts',
    from: 'if (this.configurations.cut(to)) this.#touch();',
    to: '',
  },
  {
    name: 'a stale snapshot replaces a newer log',
    file: 'replica.ts',
    from: 'if (isSettled || this.shape.holds(snapshot.base)) {',
    to: 'if (this.shape.end.offset === snapshot.base.offset) {',
  },
  {
    name: 'an old log of a later epoch makes a snapshot durable before it is',
    file: 'log-shape.ts',
    from: 'this.#isInstalling = true;',
    to: 'this.#durable = earlier(this.#durable, base);',
  },
  {
    name: 'a term may have two votes',
    file: 'voter.ts',
    from: 'replica.vote === from || (replica.vote === null && replica.leader === null)',
    to: 'from === from',
  },
  {
    name: 'the log of a candidate is not looked at',
    walks: 50,
    file: 'voter.ts',
    from: "if (isBefore(position, replica.claim)) return 'no';",
    to: '',
  },
  {
    name: 'offsets of candidates are compared, epochs are not',
    file: 'voter.ts',
    from: "if (isBefore(position, replica.claim)) return 'no';",
    to: "if (position.offset < replica.claim.offset) return 'no';",
  },
  {
    name: 'a vote leaves before it is durable',
    walks: 5,
    file: 'voter.ts',
    from: "replica.hold(message.from, { kind: 'vote-answer', answer });",
    to: "replica.send(message.from, { kind: 'vote-answer', answer });",
  },
  {
    name: 'who is removed by a change that is not committed asks for no votes',
    file: 'voter.ts',
    from: 'configurations.entries.some(({ configuration }) => isVoter(configuration, self))',
    to: 'isVoter(configurations.current, self)',
  },
  {
    name: 'a notice of an older generation is believed',
    file: 'log-shape.ts',
    from: 'if (generation !== this.#generation || isBefore(position, this.#base)) return false;',
    to: 'if (isBefore(this.end, position) || isBefore(position, this.#base)) return false;',
  },
  {
    name: 'what was durable stays so when it is cut',
    file: 'log-shape.ts',
    from: 'if (!this.#isInstalling) this.#durable = earlier(this.#durable, to);',
    to: '',
  },
  {
    name: 'an acknowledgement waits for the log and not for the store',
    walks: 5,
    file: 'outbox.ts',
    from: 'if (version > durable.version || !isDurable) waiting.push(held);',
    to: 'if (!isDurable) waiting.push(held);',
  },
  {
    name: 'an acknowledgement waits for the store and not for the log',
    walks: 5,
    file: 'outbox.ts',
    from: 'if (version > durable.version || !isDurable) waiting.push(held);',
    to: 'if (version > durable.version) waiting.push(held);',
  },
  {
    name: 'a read is confirmed by answers from before it was asked',
    file: 'read-rounds.ts',
    from: 'if (answered >= round.number) votes.set(from, true);',
    to: 'if (answered >= round.number - 1) votes.set(from, true);',
  },
  {
    name: 'reads are served before the own epoch start is committed',
    walks: 50,
    file: 'leader.ts',
    from: 'if (this.#reads.hasWaiting && this.#isReady) {',
    to: 'if (this.#reads.hasWaiting) {',
  },
  {
    name: 'a probe that was lost is never asked again',
    walks: 10,
    file: 'progress.ts',
    from: 'heartbeatAnswered(window: number): boolean {\n    this.#isPaused = false;',
    to: 'heartbeatAnswered(window: number): boolean {',
  },
  {
    name: 'a loss in flight is not looked for',
    walks: 50,
    file: 'leader.ts',
    from: 'if (progress.heartbeatAnswered(inFlightBytesMax)) this.#probe(message.from, progress);',
    to: 'progress.heartbeatAnswered(inFlightBytesMax);',
  },
];

/** What a driver can do wrong, caught by the first walks. */
export const driverFaults: readonly DriverFault[] = ['log notice before the sync', 'store notice before the sync'];

/** The core with the fault in it, loaded from a copy. */
export async function mutated({ name, file, from, to }: CoreMutant): Promise<Core> {
  const folder = join(place, name.replaceAll(/[^a-z]+/g, '-'));
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(join(folder, 'base'), { recursive: true });
  cpSync(join(root, 'server/raft'), join(folder, 'raft'), { recursive: true });
  for (const needed of ['assert.ts', 'limits.ts', 'position.ts'])
    cpSync(join(root, 'server/base', needed), join(folder, 'base', needed));
  const path = join(folder, 'raft', file);
  const source = readFileSync(path, 'utf8');
  const parts = source.split(from);
  if (parts.length !== 2) throw new Error(`${file} holds the text of "${name}" ${parts.length - 1} times`);
  writeFileSync(path, parts.join(to));
  // Node's own import: the test runner would transform every copy of every file.
  const load = (module: string): unknown => createRequire(import.meta.url)(join(folder, 'raft', module)) as unknown;
  const { RaftGroup } = load('raft-group.ts') as Pick<Core, 'RaftGroup'>;
  const { LogShape } = load('log-shape.ts') as Pick<Core, 'LogShape'>;
  return { RaftGroup, LogShape };
}
