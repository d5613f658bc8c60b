// Everything that /metrics shows, in one registry. Names end in their unit; labels are few and closed (no topic names that
// a client invents: only topics that exist are labelled).

import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';

/** Doors are the listeners' protocols; verbs the operations behind them. */
export type Door = 'rest' | 'grpc' | 'sse' | 'websocket';

export interface VerbMetrics {
  /** Counts a finished request. `outcome` is `ok` or an error code. */
  finished(outcome: string, seconds: number): void;
  received(bytes: number): void;
  sent(bytes: number): void;
}

/** What a broker knows of one of its partitions. */
export interface PartitionReport {
  readonly topic: string;
  readonly partition: number;
  readonly sizeBytes: number;
  readonly segments: number;
  readonly highWatermark: number;
  readonly startOffset: number;
  readonly isOffline: boolean;
}

export interface BrokerReport {
  readonly partitions: readonly PartitionReport[];
  readonly pendingProduceBytes: number;
  readonly tailCacheBytes: number;
}

export interface Metrics {
  readonly registry: Registry;
  /** Asked at each scrape; gauges are never kept up to date on the hot path. */
  reportFrom(report: () => BrokerReport): void;
  /** One object a door and verb, made once and kept by the caller: looking labels up costs more than counting. */
  verb(door: Door, verb: string): VerbMetrics;
  readonly syncSeconds: Histogram;
  readonly openStreams: Gauge<'door'>;
}

export const createMetrics = (): Metrics => {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry, prefix: 'sluice_' });
  const requests = new Counter({
    name: 'sluice_requests_total',
    help: 'Finished requests by door, verb and outcome (ok or an error code)',
    labelNames: ['door', 'verb', 'outcome'],
    registers,
  });
  const errors = new Counter({
    name: 'sluice_request_errors_total',
    help: 'Refused or failed requests by door, verb and error code',
    labelNames: ['door', 'verb', 'code'],
    registers,
  });
  const latency = new Histogram({
    name: 'sluice_request_duration_seconds',
    help: 'Time from the arrival of a request to its answer',
    labelNames: ['door', 'verb'],
    buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
    registers,
  });
  const receivedBytes = new Counter({
    name: 'sluice_received_bytes_total',
    help: 'Bytes of request bodies and messages received',
    labelNames: ['door', 'verb'],
    registers,
  });
  const sentBytes = new Counter({
    name: 'sluice_sent_bytes_total',
    help: 'Bytes of response bodies and messages sent',
    labelNames: ['door', 'verb'],
    registers,
  });
  let report: () => BrokerReport = () => ({ partitions: [], pendingProduceBytes: 0, tailCacheBytes: 0 });
  const partitionGauge = (name: string, help: string, value: (partition: PartitionReport) => number): void => {
    const gauge: Gauge<'topic' | 'partition'> = new Gauge({
      name,
      help,
      labelNames: ['topic', 'partition'],
      registers,
      collect() {
        gauge.reset();
        for (const entry of report().partitions) {
          gauge.set({ topic: entry.topic, partition: entry.partition }, value(entry));
        }
      },
    });
  };
  const nodeGauge = (name: string, help: string, value: (report: BrokerReport) => number): void => {
    const gauge: Gauge = new Gauge({ name, help, registers, collect: () => gauge.set(value(report())) });
  };
  partitionGauge('sluice_log_size_bytes', 'Bytes of record batches on disk', entry => entry.sizeBytes);
  partitionGauge('sluice_log_segments', 'Segments of the log, the active one included', entry => entry.segments);
  partitionGauge(
    'sluice_log_high_watermark',
    'Offset below which records are given to readers',
    entry => entry.highWatermark,
  );
  partitionGauge('sluice_log_start_offset', 'Offset of the earliest record kept', entry => entry.startOffset);
  nodeGauge(
    'sluice_partitions_offline',
    'Partitions whose disk failed, is full or is damaged',
    ({ partitions }) => partitions.filter(entry => entry.isOffline).length,
  );
  nodeGauge('sluice_pending_produce_bytes', 'Bytes accepted and not yet durable', entry => entry.pendingProduceBytes);
  nodeGauge('sluice_tail_cache_bytes', 'Memory kept alive by the tail cache', entry => entry.tailCacheBytes);
  return {
    registry,
    verb(door, verb) {
      const duration = latency.labels({ door, verb });
      const received = receivedBytes.labels({ door, verb });
      const sent = sentBytes.labels({ door, verb });
      const ok = requests.labels({ door, verb, outcome: 'ok' });
      return {
        finished(outcome, seconds) {
          duration.observe(seconds);
          if (outcome === 'ok') {
            ok.inc();
            return;
          }
          requests.inc({ door, verb, outcome });
          errors.inc({ door, verb, code: outcome });
        },
        received: bytes => received.inc(bytes),
        sent: bytes => sent.inc(bytes),
      };
    },
    reportFrom(source) {
      report = source;
    },
    syncSeconds: new Histogram({
      name: 'sluice_sync_duration_seconds',
      help: 'Duration of one fdatasync',
      buckets: [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1],
      registers,
    }),
    openStreams: new Gauge({
      name: 'sluice_open_streams',
      help: 'Long-lived reads and produce streams by door',
      labelNames: ['door'],
      registers,
    }),
  };
};
