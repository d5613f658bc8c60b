// Latencies of a run, one number each, and what Kafka's tool says about them: average, largest, percentiles.
//
// Guarantees: memory is fixed when it is made; adding allocates nothing. Relies on the caller adding at most `capacity`.

export class LatencySample {
  private readonly valuesMs: Float64Array;
  private count = 0;

  constructor(capacity: number) {
    this.valuesMs = new Float64Array(capacity);
  }

  add(latencyMs: number): void {
    this.valuesMs[this.count] = latencyMs;
    this.count++;
  }

  summary(): LatencySummary {
    const sorted = this.valuesMs.subarray(0, this.count).toSorted();
    if (sorted.length === 0) return { averageMs: 0, maxMs: 0, p50Ms: 0, p95Ms: 0, p99Ms: 0, p999Ms: 0 };
    const at = (fraction: number): number => sorted[Math.min(sorted.length - 1, Math.floor(fraction * sorted.length))]!;
    return {
      averageMs: sorted.reduce((sum, value) => sum + value, 0) / sorted.length,
      maxMs: sorted.at(-1)!,
      p50Ms: at(0.5),
      p95Ms: at(0.95),
      p99Ms: at(0.99),
      p999Ms: at(0.999),
    };
  }
}

export interface LatencySummary {
  readonly averageMs: number;
  readonly maxMs: number;
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
}
