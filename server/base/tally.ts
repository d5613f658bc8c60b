// Counting on the hot path: plain numbers, turned into metrics when somebody scrapes. prom-client's own counters look labels up
// and allocate about a kilobyte a request, which shows at ten thousand requests a second.

import type { MetricRegistry, Sample } from './metric-registry.ts';

type Labels = Readonly<Record<string, string>>;

/** One number a set of labels, only rising. */
export class Count {
  value = 0;

  add(amount: number): void {
    this.value += amount;
  }
}

export class CountFamily {
  readonly #counts: { readonly labels: Labels; readonly count: Count }[] = [];

  constructor(registry: MetricRegistry, name: string, help: string) {
    registry.add({ name, help, type: 'counter' }, () =>
      this.#counts.map(({ labels, count }) => ({ labels, value: count.value })),
    );
  }

  /** Made once and kept by the caller. */
  count(labels: Labels): Count {
    const count = new Count();
    this.#counts.push({ labels, count });
    return count;
  }
}

/** Durations in seconds, counted by upper bound. */
export class Durations {
  readonly bounds: readonly number[];
  /** Not cumulative; the last one is above every bound. */
  readonly counts: number[];
  sum = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = Array.from({ length: bounds.length + 1 }, () => 0);
  }

  observe(seconds: number): void {
    this.sum += seconds;
    let index = 0;
    while (index < this.bounds.length && seconds > this.bounds[index]!) index++;
    this.counts[index]!++;
  }
}

export class DurationFamily {
  readonly #name: string;
  readonly #bounds: readonly number[];
  readonly #all: { readonly labels: Labels; readonly durations: Durations }[] = [];

  constructor(
    registry: MetricRegistry,
    about: { readonly name: string; readonly help: string; readonly bounds: readonly number[] },
  ) {
    this.#name = about.name;
    this.#bounds = about.bounds;
    registry.add({ name: about.name, help: about.help, type: 'histogram' }, () =>
      this.#all.flatMap(({ labels, durations }) => this.#samples(labels, durations)),
    );
  }

  /** Made once and kept by the caller. */
  durations(labels: Labels): Durations {
    const durations = new Durations(this.#bounds);
    this.#all.push({ labels, durations });
    return durations;
  }

  #samples(labels: Labels, durations: Durations): Sample[] {
    let below = 0;
    const samples: Sample[] = durations.counts.map((count, index) => {
      below += count;
      const le = index < durations.bounds.length ? String(durations.bounds[index]) : '+Inf';
      return { labels: { ...labels, le }, value: below, metricName: `${this.#name}_bucket` };
    });
    samples.push({ labels, value: durations.sum, metricName: `${this.#name}_sum` });
    samples.push({ labels, value: below, metricName: `${this.#name}_count` });
    return samples;
  }
}
