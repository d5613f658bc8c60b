// Whether a history of operations on one object can be explained by some order of single steps (linearizability).
//
// The search of Wing and Gong with the memory of Lowe ("Testing for linearizability", 2017): take any operation whose call stands before
// the first answer that is left, step the model, go on; an answer that is reached first means a wrong turn, so step back. What
// was tried once, a set of operations taken together with the state they left, is not tried again.
//
//   entries in the order of their times, as a doubly linked list:   call a . call b . answer a . call c . answer b ...
//   taking an operation lifts both of its entries out, stepping back puts them in again where they were
//
// An operation that changes nothing and fits is taken at once, and nothing else is tried in its place: it can only have stood later in an
// order that stays right with it here.
//
// An operation without an answer (its client gave up) may have happened at any time after its call, or never as far as anybody can tell:
// its answer stands behind all others.

/** What a model answers for an output that the operation cannot have given. */
export const IMPOSSIBLE = Symbol('impossible');

export interface Model<State, Input, Output> {
  readonly initial: State;
  /** The state after the operation. An output that is undefined is not known. */
  step(state: State, operation: Pick<Operation<Input, Output>, 'input' | 'output'>): State | typeof IMPOSSIBLE;
  /** Equal for equal states. */
  keyOf(state: State): string;
  /** Whether the operation, with the output that it gave, leaves every state as it was. */
  isReadOnly(operation: Pick<Operation<Input, Output>, 'input' | 'output'>): boolean;
}

/** Times are any rising numbers: places in the history will do. */
export interface Operation<Input, Output> {
  readonly input: Input;
  /** Undefined for an operation whose answer never came. */
  readonly output: Output | undefined;
  readonly calledAt: number;
  readonly answeredAt: number;
}

interface Entry<Input, Output> {
  readonly id: number;
  readonly operation: Operation<Input, Output>;
  /** Of a call its answer; null for an answer. */
  readonly answer: Entry<Input, Output> | null;
  before: Entry<Input, Output> | null;
  next: Entry<Input, Output> | null;
}

/** One operation that was taken, and the state before it. */
interface Turn<State, Input, Output> {
  readonly call: Entry<Input, Output>;
  readonly state: State;
  /** Nothing else was possible that this one excludes. */
  readonly isForced: boolean;
}

type Verdict = 'linearizable' | 'impossible' | 'undecided';

/** Bits of the operations taken so far. */
class TakenSet {
  readonly #words: Uint32Array;

  constructor(size: number) {
    this.#words = new Uint32Array(Math.ceil(size / 32));
  }

  add(id: number): void {
    this.#words[id >>> 5]! |= 1 << (id & 31);
  }

  remove(id: number): void {
    this.#words[id >>> 5]! &= ~(1 << (id & 31));
  }

  key(): string {
    return Buffer.from(this.#words.buffer).toString('latin1');
  }
}

/** The head of the list stands before its first entry. */
const listOf = <Input, Output>(operations: readonly Operation<Input, Output>[]): Entry<Input, Output> => {
  const entries: { at: number; isAnswer: boolean; entry: Entry<Input, Output> }[] = [];
  for (const [id, operation] of operations.entries()) {
    const answer: Entry<Input, Output> = { id, operation, answer: null, before: null, next: null };
    const call: Entry<Input, Output> = { id, operation, answer, before: null, next: null };
    const answeredAt = operation.output === undefined ? Number.POSITIVE_INFINITY : operation.answeredAt;
    entries.push({ at: operation.calledAt, isAnswer: false, entry: call });
    entries.push({ at: answeredAt, isAnswer: true, entry: answer });
  }
  // At the same time calls come first: whoever cannot tell the order must allow both.
  entries.sort((left, right) =>
    left.at === right.at ? Number(left.isAnswer) - Number(right.isAnswer) : left.at - right.at,
  );
  const head: Entry<Input, Output> = { id: -1, operation: operations[0]!, answer: null, before: null, next: null };
  let last = head;
  for (const { entry } of entries) {
    last.next = entry;
    entry.before = last;
    last = entry;
  }
  return head;
};

const unlink = <Input, Output>(entry: Entry<Input, Output>): void => {
  entry.before!.next = entry.next;
  if (entry.next !== null) entry.next.before = entry.before;
};

const relink = <Input, Output>(entry: Entry<Input, Output>): void => {
  entry.before!.next = entry;
  if (entry.next !== null) entry.next.before = entry;
};

class Search<State, Input, Output> {
  readonly #model: Model<State, Input, Output>;
  readonly #head: Entry<Input, Output>;
  readonly #taken: TakenSet;
  readonly #tried = new Set<string>();
  readonly #path: Turn<State, Input, Output>[] = [];
  #state: State;
  #steps = 0;

  constructor(model: Model<State, Input, Output>, operations: readonly Operation<Input, Output>[]) {
    this.#model = model;
    this.#head = listOf(operations);
    this.#taken = new TakenSet(operations.length);
    this.#state = model.initial;
  }

  run(stepsMax: number): Verdict {
    this.#takeReads();
    let entry = this.#head.next;
    while (entry !== null) {
      if (this.#steps++ === stepsMax) return 'undecided';
      if (entry.answer === null) {
        // Those that never came stand last: once only they are left, everything is explained.
        if (entry.operation.output === undefined) break;
        const untried = this.#stepBack();
        if (untried === 'none') return 'impossible';
        entry = untried;
      } else if (this.#take(entry, false)) {
        this.#takeReads();
        entry = this.#head.next;
      } else {
        entry = entry.next;
      }
    }
    return 'linearizable';
  }

  #take(call: Entry<Input, Output>, isForced: boolean): boolean {
    const next = this.#model.step(this.#state, call.operation);
    if (next === IMPOSSIBLE) return false;
    this.#taken.add(call.id);
    if (!isForced) {
      const key = `${this.#taken.key()}/${this.#model.keyOf(next)}`;
      if (this.#tried.has(key)) {
        this.#taken.remove(call.id);
        return false;
      }
      this.#tried.add(key);
    }
    this.#path.push({ call, state: this.#state, isForced });
    this.#state = next;
    unlink(call);
    unlink(call.answer!);
    return true;
  }

  /** All that fits now and changes nothing. */
  #takeReads(): void {
    let entry = this.#head.next;
    while (entry !== null && entry.answer !== null) {
      const { operation, next } = entry;
      const isTaken = this.#model.isReadOnly(operation) && this.#take(entry, true);
      // An answer that went away may let more calls in.
      entry = isTaken ? this.#head.next : next;
    }
  }

  /** The call after the last one that was taken by choice. */
  #stepBack(): Entry<Input, Output> | 'none' | null {
    for (;;) {
      const last = this.#path.pop();
      if (last === undefined) return 'none';
      this.#state = last.state;
      this.#taken.remove(last.call.id);
      relink(last.call.answer!);
      relink(last.call);
      if (!last.isForced) return last.call.next;
    }
  }
}

const FIRST_STEPS_MAX = 10_000;

/**
 * Whether the histories of independent objects all have an order. The hardest ones may take ages, and one that has none decides: so all get
 * few steps at first, and those that are left ten times as many.
 */
export const areLinearizable = <State, Input, Output>(
  model: Model<State, Input, Output>,
  histories: readonly (readonly Operation<Input, Output>[])[],
): boolean => {
  let undecided = histories.filter(operations => operations.length > 0);
  for (let stepsMax = FIRST_STEPS_MAX; undecided.length > 0; stepsMax *= 10) {
    const left: (readonly Operation<Input, Output>[])[] = [];
    for (const operations of undecided) {
      const verdict = new Search(model, operations).run(stepsMax);
      if (verdict === 'impossible') return false;
      if (verdict === 'undecided') left.push(operations);
    }
    undecided = left;
  }
  return true;
};

export const isLinearizable = <State, Input, Output>(
  model: Model<State, Input, Output>,
  operations: readonly Operation<Input, Output>[],
): boolean => areLinearizable(model, [operations]);
