// Where metrics are registered, and what they become at a scrape. prom-client renders them, and adds what it knows of the
// process; it is loaded at the first scrape, because a broker that nobody scrapes should not carry it.
//
// So what prom-client itself watches (the event loop's lag, garbage collections) is counted from the first scrape on;
// everything of the broker is counted from its start.

import type { Metric, Registry } from 'prom-client';

export type Labels = Readonly<Record<string, string | number>>;

export interface Sample {
  readonly labels: Labels;
  readonly value: number;
  readonly metricName?: string;
}

export interface About {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
}

const PREFIX = 'sluice_';

export class MetricRegistry {
  readonly contentType = 'text/plain; version=0.0.4; charset=utf-8';
  readonly #metrics: Metric[] = [];
  #loaded: Promise<Registry> | null = null;

  /** A metric whose samples are made at each scrape. */
  add(about: About, samples: () => Sample[]): void {
    const metric = {
      ...about,
      get: () => Promise.resolve({ ...about, aggregator: 'sum', values: samples() }),
      reset: () => undefined,
    };
    // The registry asks a metric for its name and for `get`, and for nothing else.
    this.#metrics.push(metric as unknown as Metric);
  }

  /** The text of a scrape. */
  async metrics(): Promise<string> {
    this.#loaded ??= this.#load();
    return (await this.#loaded).metrics();
  }

  clear(): void {
    this.#metrics.length = 0;
    this.#loaded = null;
  }

  async #load(): Promise<Registry> {
    const { collectDefaultMetrics, Registry } = await import('prom-client');
    const registry = new Registry();
    collectDefaultMetrics({ register: registry, prefix: PREFIX });
    for (const metric of this.#metrics) registry.registerMetric(metric);
    return registry;
  }
}

interface GaugeOptions<Name extends string> {
  readonly name: string;
  readonly help: string;
  readonly labelNames?: readonly Name[];
  readonly registers: readonly MetricRegistry[];
  /** Called at each scrape, before the values are read. */
  readonly collect?: () => void;
}

type LabelsOf<Name extends string> = Readonly<Record<Name, string | number>>;

/** The gauge of one set of labels. */
export interface Level {
  inc(): void;
  dec(): void;
  set(value: number): void;
}

/** Values that go up and down, one a set of labels. Its methods are those of prom-client's gauge. */
export class Gauge<Name extends string = never> {
  readonly #values = new Map<string, { readonly labels: Labels; value: number }>();
  readonly #labelNames: readonly Name[];

  constructor(options: GaugeOptions<Name>) {
    const { name, help, labelNames = [], registers, collect } = options;
    this.#labelNames = labelNames;
    for (const registry of registers) {
      registry.add({ name, help, type: 'gauge' }, () => {
        collect?.();
        return [...this.#values.values()];
      });
    }
  }

  reset(): void {
    this.#values.clear();
  }

  /** In the order of the names. */
  labels(...values: readonly (string | number)[]): Level {
    const labels = Object.fromEntries(this.#labelNames.map((name, index) => [name, values[index]!])) as LabelsOf<Name>;
    return {
      inc: () => this.inc(labels),
      dec: () => this.dec(labels),
      set: value => this.set(labels, value),
    };
  }

  set(labels: LabelsOf<Name>, value: number): void {
    this.#at(labels).value = value;
  }

  inc(labels: LabelsOf<Name>): void {
    this.#at(labels).value++;
  }

  dec(labels: LabelsOf<Name>): void {
    this.#at(labels).value--;
  }

  #at(labels: LabelsOf<Name>): { value: number } {
    const key = this.#labelNames.map(name => labels[name]).join('/');
    let entry = this.#values.get(key);
    if (entry === undefined) {
      entry = { labels, value: 0 };
      this.#values.set(key, entry);
    }
    return entry;
  }
}
