// A history of what clients of partitioned logs did and saw, and every anomaly in it, by the names that Jepsen's Kafka workload gave them.
//
//   lost-write              acknowledged or seen, missing below offsets that were read
//   unseen                  acknowledged, and never read although everything was read at the end
//   duplicate               one value at two offsets
//   inconsistent-offsets    two values at one offset, told or read
//   poll-skip               a reader stepped over an offset that holds a record
//   nonmonotonic-poll       a reader went back without asking for it
//   nonmonotonic-send       of two sends of one process, one after the other, the later one got the lower offset
//   aborted-read            a record was read whose send was refused for certain
// and two of our own:
//   invented                a record was read that nobody sent
//   realtime-send           a send that began after another one was acknowledged got the lower offset, whoever sent them
//
// Values are unique over the whole history: whoever records gives each record its own. Offsets may have holes (markers,
// compaction), so a hole by itself is no anomaly.

export type AnomalyName =
  | 'lost-write'
  | 'unseen'
  | 'duplicate'
  | 'inconsistent-offsets'
  | 'poll-skip'
  | 'nonmonotonic-poll'
  | 'nonmonotonic-send'
  | 'aborted-read'
  | 'invented'
  | 'realtime-send';

export interface Anomaly {
  readonly name: AnomalyName;
  readonly partition: string;
  readonly detail: string;
}

export interface ReadRecord {
  readonly offset: number;
  readonly value: string;
}

type Outcome =
  | { readonly kind: 'acknowledged'; readonly offset: number; readonly at: number }
  | { readonly kind: 'refused' }
  /** It may have been written, now or later. */
  | { readonly kind: 'unknown' };

interface Send {
  readonly process: string;
  readonly value: string;
  readonly calledAt: number;
  outcome: Outcome;
}

/** What one client did between two seeks: its polls in order. */
interface Poll {
  readonly process: string;
  readonly records: readonly ReadRecord[];
}

/** Anomalies of one name that are told; more of the same say little. */
const TOLD_MAX = 10;

export class OpenSend {
  readonly #send: Send;
  readonly #now: () => number;

  constructor(send: Send, now: () => number) {
    this.#send = send;
    this.#now = now;
  }

  acknowledge(offset: number): void {
    this.#send.outcome = { kind: 'acknowledged', offset, at: this.#now() };
  }

  /** Certainly not written, as the answer said. */
  refuse(): void {
    this.#send.outcome = { kind: 'refused' };
  }
}

class PartitionHistory {
  readonly name: string;
  readonly sends: Send[] = [];
  readonly polls: (Poll | { readonly process: string; readonly seek: true })[] = [];

  constructor(name: string) {
    this.name = name;
  }
}

export class LogHistory {
  readonly #partitions = new Map<string, PartitionHistory>();
  #time = 0;

  /** To be called before the record leaves: until its outcome is told, it may have been written. */
  send(process: string, record: { readonly partition: string; readonly value: string }): OpenSend {
    const send: Send = { process, value: record.value, calledAt: this.#time++, outcome: { kind: 'unknown' } };
    this.#partition(record.partition).sends.push(send);
    return new OpenSend(send, () => this.#time++);
  }

  poll(process: string, partition: string, records: readonly ReadRecord[]): void {
    if (records.length > 0) this.#partition(partition).polls.push({ process, records });
  }

  /** The reader asked for another position: what comes next says nothing of what came before. */
  seek(process: string, partition: string): void {
    this.#partition(partition).polls.push({ process, seek: true });
  }

  get sendCount(): number {
    let count = 0;
    for (const { sends } of this.#partitions.values()) count += sends.length;
    return count;
  }

  get acknowledgedCount(): number {
    let count = 0;
    for (const { sends } of this.#partitions.values()) {
      for (const { outcome } of sends) if (outcome.kind === 'acknowledged') count++;
    }
    return count;
  }

  #partition(name: string): PartitionHistory {
    let partition = this.#partitions.get(name);
    if (partition === undefined) this.#partitions.set(name, (partition = new PartitionHistory(name)));
    return partition;
  }

  /** Everything that is wrong; to be asked after every partition was polled from its start to its end. */
  anomalies(): readonly Anomaly[] {
    const found = new Findings();
    for (const partition of this.#partitions.values()) judgePartition(partition, found);
    return found.anomalies;
  }
}

class Findings {
  readonly anomalies: Anomaly[] = [];
  readonly #told = new Map<AnomalyName, number>();

  note(name: AnomalyName, partition: string, detail: string): void {
    const told = this.#told.get(name) ?? 0;
    this.#told.set(name, told + 1);
    if (told < TOLD_MAX) this.anomalies.push({ name, partition, detail });
  }
}

/** All that anybody was told or read about where records lie. */
class KnownLog {
  readonly #valueAt = new Map<number, string>();
  readonly #offsetOf = new Map<string, number>();
  readonly #read = new Set<string>();
  #offsets: number[] | null = null;
  highestRead = -1;

  constructor(partition: PartitionHistory, found: Findings) {
    const learn = (offset: number, value: string): void => {
      const other = this.#valueAt.get(offset);
      if (other === undefined) this.#valueAt.set(offset, value);
      else if (other !== value) {
        found.note('inconsistent-offsets', partition.name, `offset ${offset}: ${other} and ${value}`);
      }
      const elsewhere = this.#offsetOf.get(value);
      if (elsewhere === undefined) this.#offsetOf.set(value, offset);
      else if (elsewhere !== offset) found.note('duplicate', partition.name, `${value}: ${elsewhere} and ${offset}`);
    };
    for (const poll of partition.polls) {
      if ('seek' in poll) continue;
      for (const { offset, value } of poll.records) {
        learn(offset, value);
        this.#read.add(value);
        this.highestRead = Math.max(this.highestRead, offset);
      }
    }
    for (const { value, outcome } of partition.sends) if (outcome.kind === 'acknowledged') learn(outcome.offset, value);
  }

  wasRead(value: string): boolean {
    return this.#read.has(value);
  }

  /** The first offset above `from` that is known to hold a record. */
  nextAfter(from: number): number {
    this.#offsets ??= [...this.#valueAt.keys()].sort((left, right) => left - right);
    let low = 0;
    let high = this.#offsets.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#offsets[middle]! > from) high = middle;
      else low = middle + 1;
    }
    return this.#offsets[low] ?? Number.POSITIVE_INFINITY;
  }
}

const judgePartition = (partition: PartitionHistory, found: Findings): void => {
  const log = new KnownLog(partition, found);
  judgeSends(partition, log, found);
  judgePolls(partition, log, found);
  judgeOrderOfSends(partition, found);
};

const judgeSends = ({ name, sends, polls }: PartitionHistory, log: KnownLog, found: Findings): void => {
  const sent = new Map(sends.map(send => [send.value, send]));
  for (const { value, outcome } of sends) {
    if (outcome.kind !== 'acknowledged' || log.wasRead(value)) continue;
    const detail = `${value}, acknowledged at ${outcome.offset}`;
    found.note(outcome.offset < log.highestRead ? 'lost-write' : 'unseen', name, detail);
  }
  const judged = new Set<string>();
  for (const poll of polls) {
    if ('seek' in poll) continue;
    for (const { offset, value } of poll.records) {
      if (judged.has(value)) continue;
      judged.add(value);
      const send = sent.get(value);
      if (send === undefined) found.note('invented', name, `${value} at ${offset}`);
      else if (send.outcome.kind === 'refused') found.note('aborted-read', name, `${value} at ${offset}`);
    }
  }
};

const judgePolls = ({ name, polls }: PartitionHistory, log: KnownLog, found: Findings): void => {
  const lastOf = new Map<string, number>();
  for (const poll of polls) {
    if ('seek' in poll) {
      lastOf.delete(poll.process);
      continue;
    }
    for (const { offset } of poll.records) {
      const last = lastOf.get(poll.process);
      if (last !== undefined && offset <= last) {
        found.note('nonmonotonic-poll', name, `${poll.process} read ${last}, then ${offset}`);
      } else if (last !== undefined && log.nextAfter(last) < offset) {
        found.note('poll-skip', name, `${poll.process} read ${last}, then ${offset}, not ${log.nextAfter(last)}`);
      }
      lastOf.set(poll.process, offset);
    }
  }
};

/** What was acknowledged before another send began lies below it. */
const judgeOrderOfSends = ({ name, sends }: PartitionHistory, found: Findings): void => {
  const acknowledged = sends.flatMap(send =>
    send.outcome.kind === 'acknowledged' ? [{ ...send, offset: send.outcome.offset, at: send.outcome.at }] : [],
  );
  const ended = acknowledged.toSorted((left, right) => left.at - right.at);
  const highestOf = new Map<string, number>();
  let highest = { offset: -1, value: '' };
  let next = 0;
  // Sends stand in the order in which they began.
  for (const send of acknowledged) {
    for (; next < ended.length && ended[next]!.at < send.calledAt; next++) {
      const { process, offset, value } = ended[next]!;
      highestOf.set(process, Math.max(offset, highestOf.get(process) ?? -1));
      if (offset > highest.offset) highest = { offset, value };
    }
    const own = highestOf.get(send.process) ?? -1;
    if (send.offset < own) {
      found.note('nonmonotonic-send', name, `${send.process}: ${send.value} at ${send.offset} after offset ${own}`);
    } else if (send.offset < highest.offset) {
      const detail = `${send.value} at ${send.offset}, begun after ${highest.value} was acknowledged at ${highest.offset}`;
      found.note('realtime-send', name, detail);
    }
  }
};
