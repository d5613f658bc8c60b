// What was sent, what was acknowledged, and whether a log agrees.
//
//   Ledger    kept while records are sent: every sender numbers its records, and notes the fate of each
//   Reading   fed with a log, record by record: names everything that the log should not show, or should and does not
//
// A record carries its sender and number and a filling computed from both, so that a reading knows a foreign, damaged or
// repeated one without any other help. The rules:
//
//   an acknowledged record is there, once, at the offset that was told     lost-write, duplicate, wrong-offset
//   the records of one sender rise in number                               reordered
//   what was never sent is not there                                       invented
//   what was refused is not there                                          refused-but-written
//   of a whole group all records are there, or none                        torn
//   of a pipeline whose outcome is unknown a first part is there           hole
//   what any reader saw is there, at its offset                            vanished
//   the offsets of a partition have no gap                                 gap

/** Records that share a fate: one batch is written whole or not at all. */
export type Grouping = 'whole' | 'pipeline';

type Fate = 'unknown' | 'acknowledged' | 'refused';

interface Entry {
  readonly group: SentGroup;
  fate: Fate;
  /** Where the acknowledgement said that it is; null when it did not say. */
  offset: number | null;
}

const FAULTS_MAX = 20;

/** One sender writes to one partition, in the order of its numbers. */
export class Sender {
  readonly name: string;
  readonly partition: number;
  readonly entries: Entry[] = [];

  constructor(name: string, partition: number) {
    this.name = name;
    this.partition = partition;
  }

  group(grouping: Grouping): SentGroup {
    return new SentGroup(this, grouping);
  }
}

export class SentGroup {
  readonly sender: Sender;
  readonly grouping: Grouping;
  readonly numbers: number[] = [];

  constructor(sender: Sender, grouping: Grouping) {
    this.sender = sender;
    this.grouping = grouping;
  }

  /** Numbers one more record, before it is sent, and gives its value. */
  add(): string {
    const number = this.sender.entries.length;
    this.sender.entries.push({ group: this, fate: 'unknown', offset: null });
    this.numbers.push(number);
    return valueOf(this.sender.name, number);
  }

  /** The `index`-th record of the group. */
  acknowledge(index: number, offset: number | null): void {
    const entry = this.entryAt(index);
    entry.fate = 'acknowledged';
    entry.offset = offset;
  }

  acknowledgeAll(firstOffset: number | null): void {
    for (const index of this.numbers.keys()) this.acknowledge(index, firstOffset === null ? null : firstOffset + index);
  }

  /** Certainly not written, as its door said. */
  refuse(index: number): void {
    this.entryAt(index).fate = 'refused';
  }

  /** Handed over, and not answered yet: what every record is from the beginning. */
  hand(index: number): void {
    this.entryAt(index).fate = 'unknown';
  }

  refuseAll(): void {
    for (const index of this.numbers.keys()) this.refuse(index);
  }

  private entryAt(index: number): Entry {
    const entry = this.sender.entries[this.numbers[index] ?? -1];
    if (entry === undefined) throw new RangeError(`the group of ${this.sender.name} has no record ${index}`);
    return entry;
  }
}

export class Ledger {
  readonly senders = new Map<string, Sender>();
  /** By partition: what was read at each offset while records were still being sent. */
  readonly sightings = new Map<number, Map<number, string>>();

  sender(name: string, partition: number): Sender {
    if (this.senders.has(name)) throw new Error(`two senders ${name}`);
    const sender = new Sender(name, partition);
    this.senders.set(name, sender);
    return sender;
  }

  see(partition: number, offset: number, value: string): void {
    let seen = this.sightings.get(partition);
    if (seen === undefined) this.sightings.set(partition, (seen = new Map()));
    seen.set(offset, value);
  }

  count(fate?: Fate): number {
    let count = 0;
    for (const { entries } of this.senders.values()) {
      count += fate === undefined ? entries.length : entries.filter(entry => entry.fate === fate).length;
    }
    return count;
  }
}

/** `number` spreads the sizes: 40 to about 600 bytes. */
function valueOf(sender: string, number: number): string {
  const filling = ((number * 2_654_435_761) >>> 0).toString(36).repeat(1 + ((number * 7_919) % 97));
  return JSON.stringify({ sender, number, filling });
}

export class Reading {
  private readonly ledger: Ledger;
  private readonly found: string[] = [];
  private readonly seen = new Map<Sender, Set<number>>();
  private readonly lastNumber = new Map<Sender, number>();
  /** By partition: the offset of the next record. */
  private readonly ends = new Map<number, number>();
  recordCount = 0;

  constructor(ledger: Ledger) {
    this.ledger = ledger;
  }

  /** Where to go on in a partition. */
  position(partition: number): number {
    return this.ends.get(partition) ?? 0;
  }

  take(partition: number, offset: number, value: string): void {
    this.recordCount++;
    const place = `${partition}/${offset}`;
    const expected = this.position(partition);
    if (offset !== expected) this.fault(`gap: ${place} where offset ${expected} was next`);
    this.ends.set(partition, offset + 1);
    const sighting = this.ledger.sightings.get(partition)?.get(offset);
    if (sighting !== undefined && sighting !== value) this.fault(`vanished: ${place} was read with another record`);

    const { sender: name, number } = identityOf(value);
    const sender = this.ledger.senders.get(name);
    const entry = sender?.entries[number];
    if (
      sender === undefined ||
      entry === undefined ||
      value !== valueOf(name, number) ||
      sender.partition !== partition
    ) {
      this.fault(`invented: ${place} holds ${value.slice(0, 120)}`);
      return;
    }
    const record = `${name} #${number} at ${place}`;
    const numbers = this.numbersOf(sender);
    if (numbers.has(number)) {
      this.fault(`duplicate: ${record}`);
      return;
    }
    if (number < (this.lastNumber.get(sender) ?? -1)) this.fault(`reordered: ${record}`);
    if (entry.fate === 'refused') this.fault(`refused-but-written: ${record}`);
    if (entry.fate === 'acknowledged' && entry.offset !== null && entry.offset !== offset) {
      this.fault(`wrong-offset: ${record}, acknowledged at ${entry.offset}`);
    }
    numbers.add(number);
    this.lastNumber.set(sender, Math.max(number, this.lastNumber.get(sender) ?? -1));
  }

  /** To be asked when every partition was read to its end and nothing is being sent. */
  faults(): readonly string[] {
    const missing: string[] = [];
    const note = (text: string): void => {
      if (missing.length < FAULTS_MAX) missing.push(text);
    };
    for (const sender of this.ledger.senders.values()) {
      const numbers = this.numbersOf(sender);
      const judged = new Set<SentGroup>();
      for (const [number, { fate, offset, group }] of sender.entries.entries()) {
        if (fate === 'acknowledged' && !numbers.has(number)) {
          note(`lost-write: ${sender.name} #${number}, acknowledged at ${sender.partition}/${offset ?? '?'}`);
        }
        if (judged.has(group)) continue;
        judged.add(group);
        const fault = groupFault(group, numbers);
        if (fault !== null) note(`${fault}: ${sender.name} #${group.numbers[0]} to #${group.numbers.at(-1)}`);
      }
    }
    for (const [partition, seen] of this.ledger.sightings) {
      for (const offset of seen.keys()) {
        if (offset >= this.position(partition)) note(`vanished: ${partition}/${offset} was read before`);
      }
    }
    return [...this.found, ...missing];
  }

  private numbersOf(sender: Sender): Set<number> {
    let numbers = this.seen.get(sender);
    if (numbers === undefined) this.seen.set(sender, (numbers = new Set()));
    return numbers;
  }

  private fault(text: string): void {
    if (this.found.length < FAULTS_MAX) this.found.push(text);
  }
}

function groupFault({ grouping, numbers, sender }: SentGroup, seen: ReadonlySet<number>): 'torn' | 'hole' | null {
  const sent = numbers.filter(number => sender.entries[number]?.fate !== 'refused');
  const there = sent.map(number => seen.has(number));
  const count = there.filter(Boolean).length;
  if (grouping === 'whole') return count === 0 || count === sent.length ? null : 'torn';
  return there.lastIndexOf(true) === count - 1 ? null : 'hole';
}

function identityOf(value: string): { readonly sender: string; readonly number: number } {
  try {
    const { sender, number } = JSON.parse(value) as { sender?: unknown; number?: unknown };
    return { sender: String(sender), number: Number(number) };
  } catch {
    return { sender: '', number: -1 };
  }
}
