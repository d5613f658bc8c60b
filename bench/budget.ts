// The budgets of one broker, and the table that holds a run's figures against them.
//
// A budget without a figure is printed all the same, with the reason: a table that leaves out what it could not measure
// looks as if everything were met.

export interface Figure {
  readonly value: number;
  /** How much of a bare write-and-sync loop of the same run it is, where there is such a loop. */
  readonly ofLoop: number | null;
}

export interface Budget {
  readonly work: string;
  readonly unit: string;
  readonly target: string;
  readonly isMet: (figure: Figure) => boolean;
}

const atLeast = (least: number) => (figure: Figure) => figure.value >= least;
const atMost = (most: number) => (figure: Figure) => figure.value <= most;

export const BUDGETS = {
  produce: {
    work: 'produce, SDK, 100 B, acks=all',
    unit: 'records/s',
    target: '>= 1,500,000 or >= 0.60 of the loop',
    isMet: figure => figure.value >= 1_500_000 || (figure.ofLoop ?? 0) >= 0.6,
  },
  'consume-disk': {
    work: 'consume, SDK, 100 B, from disk',
    unit: 'records/s',
    target: '>= 3,000,000',
    isMet: atLeast(3e6),
  },
  'consume-tail': {
    work: 'consume, SDK, 100 B, from the tail',
    unit: 'records/s',
    target: '>= 3,000,000',
    isMet: atLeast(3e6),
  },
  'latency-p50': { work: 'end to end at 10,000 records/s, p50', unit: 'ms', target: '<= 2', isMet: atMost(2) },
  'latency-p99': { work: 'end to end at 10,000 records/s, p99', unit: 'ms', target: '<= 10', isMet: atMost(10) },
  'rest-one': { work: 'REST, one record a request', unit: 'records/s', target: '>= 10,000', isMet: atLeast(10_000) },
  'rest-batch': { work: 'REST, 500 records a request', unit: 'records/s', target: '>= 300,000', isMet: atLeast(3e5) },
  websocket: { work: 'WebSocket, one record a frame', unit: 'records/s', target: '>= 40,000', isMet: atLeast(40_000) },
  'fan-out-sse': { work: 'fan-out to 1,000 over SSE', unit: 'deliveries/s', target: '>= 300,000', isMet: atLeast(3e5) },
  'fan-out-sse-memory': { work: 'fan-out over SSE, memory', unit: 'KiB a reader', target: '<= 64', isMet: atMost(64) },
  'fan-out-websocket': {
    work: 'fan-out to 1,000 over WebSocket',
    unit: 'deliveries/s',
    target: '>= 300,000',
    isMet: atLeast(3e5),
  },
  'fan-out-websocket-memory': {
    work: 'fan-out over WebSocket, memory',
    unit: 'KiB a reader',
    target: '<= 64',
    isMet: atMost(64),
  },
  start: { work: 'start to first produce, no data', unit: 's', target: '<= 0.5', isMet: atMost(0.5) },
  'start-clone': { work: '  from the clone, not as published', unit: 's', target: '-', isMet: () => true },
  'start-10-gb': { work: 'the same, 10 GB, after kill -9', unit: 's', target: '<= 5', isMet: atMost(5) },
  idle: { work: 'memory of an idle broker', unit: 'MB', target: '<= 120', isMet: atMost(120) },
  'idle-node': { work: '  of it Node itself', unit: 'MB', target: '-', isMet: () => true },
  partitions: { work: '1,000 partitions against 1', unit: 'of the speed', target: '>= 0.85', isMet: atLeast(0.85) },
  'log-20-gb': { work: '20 GB log against empty', unit: 'of the speed', target: '>= 0.85', isMet: atLeast(0.85) },
} as const satisfies Readonly<Record<string, Budget>>;

export type BudgetName = keyof typeof BUDGETS;

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!;

/** The figures of a run, gathered over its rounds. */
export class FigureTable {
  readonly #figures = new Map<BudgetName, Figure[]>();
  readonly #missing = new Map<BudgetName, string>();

  note(name: BudgetName, value: number, ofLoop: number | null = null): void {
    this.#figures.set(name, [...(this.#figures.get(name) ?? []), { value, ofLoop }]);
  }

  /** Why there is no figure. */
  missing(name: BudgetName, reason: string): void {
    this.#missing.set(name, reason);
  }

  rows(names: readonly BudgetName[]): string[] {
    const rows = [['work', 'target', 'measured', 'of the loop', 'met']];
    for (const name of names) {
      const { work, unit, target, isMet }: Budget = BUDGETS[name];
      const figures = this.#figures.get(name);
      if (figures === undefined) {
        rows.push([work, target, `not measured: ${this.#missing.get(name) ?? 'the run ended before'}`, '', '']);
        continue;
      }
      const ratios = figures.flatMap(figure => (figure.ofLoop === null ? [] : [figure.ofLoop]));
      const figure: Figure = {
        value: median(figures.map(({ value }) => value)),
        ofLoop: ratios.length === 0 ? null : median(ratios),
      };
      const met = target === '-' ? '' : isMet(figure) ? 'yes' : 'NO';
      rows.push([work, target, `${shown(figure.value)} ${unit}`, figure.ofLoop?.toFixed(2) ?? '-', met]);
    }
    const widths = rows[0]!.map((_, column) => Math.max(...rows.map(row => row[column]!.length)));
    return rows.map(row =>
      row
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join(' | ')
        .trimEnd(),
    );
  }
}

const shown = (value: number): string =>
  value >= 1_000 ? Math.round(value).toLocaleString('en') : value.toFixed(value >= 100 ? 0 : 2);
