// Everything that /metrics shows, in one registry. Names end in their unit; labels are few and closed (no topic names that
// a client invents: only topics that exist are labelled).

import { Gauge, MetricRegistry } from './metric-registry.ts';
import { type Count, CountFamily, DurationFamily, type Durations } from './tally.ts';

/** Doors are the listeners' protocols; verbs the operations behind them. */
export type Door = 'rest' | 'grpc' | 'sse' | 'websocket';

/** The ports by what listens there. */
export type ListenerName = 'http' | 'grpc' | 'management';

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
  /** Of a compacted log: which share of what can be cleaned was not cleaned yet. */
  readonly dirtyRatio: number | null;
  readonly isOffline: boolean;
  readonly leaderEpoch: number;
  /** Of a partition that this node leads; null where another one does, or nobody. */
  readonly led: { readonly replicas: number; readonly inSync: number } | null;
  /** This node knows nobody who leads it. */
  readonly isLeaderless: boolean;
}

export type PeerStanding = 'up' | 'down';

/** What the cleaner of compacted logs has done since the start. */
export interface CleanerReport {
  readonly isAtWork: boolean;
  readonly bytesRead: number;
  readonly bytesFreed: number;
  readonly runs: number;
  /** When the last one ended, in seconds since the epoch; 0: there was none. */
  readonly lastRunSeconds: number;
}

export const NO_CLEANING: CleanerReport = { isAtWork: false, bytesRead: 0, bytesFreed: 0, runs: 0, lastRunSeconds: 0 };

export interface BrokerReport {
  readonly cleaner: CleanerReport;
  readonly partitions: readonly PartitionReport[];
  readonly pendingProduceBytes: number;
  readonly tailCacheBytes: number;
  readonly groups?: GroupsReport;
  readonly isController: boolean;
  /** By how the connection to them stands. */
  readonly peers: Readonly<Record<PeerStanding, number>>;
}

/** Of the consumer groups that this broker coordinates now, and what it did for groups since it started. */
export interface GroupsReport {
  readonly groups: number;
  readonly members: number;
  readonly offsets: number;
  readonly rebalances: number;
  readonly commits: number;
  readonly fencedMembers: number;
  readonly lags: readonly GroupLag[];
}

/** Over all partitions of the topic in which the group has a committed position. */
export interface GroupLag {
  readonly group: string;
  readonly topic: string;
  readonly lag: number;
}

const NOTHING: BrokerReport = {
  cleaner: NO_CLEANING,
  partitions: [],
  pendingProduceBytes: 0,
  tailCacheBytes: 0,
  isController: false,
  peers: { up: 0, down: 0 },
};

/** What the clients of one door have not taken. */
export interface OutgoingReport {
  readonly door: Door;
  readonly bytes: number;
  readonly stalled: number;
  /** Streams cut so far because they stood still while room was needed. */
  readonly cut: number;
}

/** Connections of one port. */
export interface ConnectionMetrics {
  opened(): void;
  closed(): void;
  /** Turned away because there are too many. */
  refused(): void;
  /** Ended because of what came over it: late headers, floods. */
  cut(): void;
}

export interface Metrics {
  readonly registry: MetricRegistry;
  /** Asked at each scrape; gauges are never kept up to date on the hot path. */
  reportFrom(report: () => BrokerReport): void;
  /** The same for bodies and messages held in memory. */
  reportBodiesFrom(report: () => number): void;
  /** The same for what waits for clients. */
  reportOutgoingFrom(report: () => readonly OutgoingReport[]): void;
  /** One object a listener, made once. */
  connections(listener: ListenerName): ConnectionMetrics;
  /** One object a door and verb, made once and kept by the caller: looking labels up costs more than counting. */
  verb(door: Door, verb: string): VerbMetrics;
  readonly syncSeconds: Durations;
  /** Damaged segments that are whole again, and what was fetched of other replicas for that. */
  readonly repairedSegments: Count;
  readonly repairedBytes: Count;
  readonly openStreams: Gauge<'door'>;
}

export const createMetrics = (): Metrics => {
  const registry = new MetricRegistry();
  const registers = [registry];
  const requests = new CountFamily(
    registry,
    'sluice_requests_total',
    'Finished requests by door, verb and outcome (ok or an error code)',
  );
  const errors = new CountFamily(
    registry,
    'sluice_request_errors_total',
    'Refused or failed requests by door, verb and error code',
  );
  const latency = new DurationFamily(registry, {
    name: 'sluice_request_duration_seconds',
    help: 'Time from the arrival of a request to its answer',
    bounds: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
  });
  const receivedBytes = new CountFamily(
    registry,
    'sluice_received_bytes_total',
    'Bytes of request bodies and messages received',
  );
  const sentBytes = new CountFamily(registry, 'sluice_sent_bytes_total', 'Bytes of response bodies and messages sent');
  const syncs = new DurationFamily(registry, {
    name: 'sluice_sync_duration_seconds',
    help: 'Duration of one fdatasync',
    bounds: [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1],
  });
  const repairedSegments = new CountFamily(
    registry,
    'sluice_repaired_segments_total',
    'Damaged or missing segments of a log that were made whole from other replicas',
  );
  const repairedBytes = new CountFamily(
    registry,
    'sluice_repaired_bytes_total',
    'Bytes of damaged or missing batches fetched again from other replicas',
  );
  let report: () => BrokerReport = () => NOTHING;
  const partitionGauge = (name: string, help: string, value: (partition: PartitionReport) => number | null): void => {
    const gauge: Gauge<'topic' | 'partition'> = new Gauge({
      name,
      help,
      labelNames: ['topic', 'partition'],
      registers,
      collect() {
        gauge.reset();
        for (const entry of report().partitions) {
          const measured = value(entry);
          if (measured !== null) gauge.set({ topic: entry.topic, partition: entry.partition }, measured);
        }
      },
    });
  };
  const nodeGauge = (name: string, help: string, value: (report: BrokerReport) => number): void => {
    const gauge: Gauge = new Gauge({ name, help, registers, collect: () => gauge.set({}, value(report())) });
  };
  partitionGauge('sluice_log_size_bytes', 'Bytes of record batches on disk', entry => entry.sizeBytes);
  partitionGauge('sluice_log_segments', 'Segments of the log, the active one included', entry => entry.segments);
  partitionGauge(
    'sluice_log_high_watermark',
    'Offset below which records are given to readers',
    entry => entry.highWatermark,
  );
  partitionGauge('sluice_log_start_offset', 'Offset of the earliest record kept', entry => entry.startOffset);
  partitionGauge(
    'sluice_log_dirty_ratio',
    'Share of a compacted log that can be cleaned and was not yet',
    entry => entry.dirtyRatio,
  );
  nodeGauge(
    'sluice_cleaner_read_bytes',
    'Bytes of compacted logs that the cleaner has read since the start',
    entry => entry.cleaner.bytesRead,
  );
  nodeGauge(
    'sluice_cleaner_freed_bytes',
    'Bytes by which cleaning has made compacted logs shorter since the start',
    entry => entry.cleaner.bytesFreed,
  );
  nodeGauge('sluice_cleaner_at_work', 'Whether a log is being cleaned now', ({ cleaner }) => Number(cleaner.isAtWork));
  nodeGauge('sluice_cleaner_runs', 'Logs cleaned since the start', entry => entry.cleaner.runs);
  nodeGauge(
    'sluice_cleaner_last_run_timestamp_seconds',
    'When the cleaner last finished a log, since the Unix epoch; 0: it has not yet',
    entry => entry.cleaner.lastRunSeconds,
  );
  nodeGauge(
    'sluice_partitions_offline',
    'Partitions whose disk failed, is full or is damaged',
    ({ partitions }) => partitions.filter(entry => entry.isOffline).length,
  );
  partitionGauge('sluice_leader_epoch', 'Term of the leader; each election raises it', entry => entry.leaderEpoch);
  nodeGauge(
    'sluice_partitions_led',
    'Partitions that this broker leads',
    ({ partitions }) => partitions.filter(entry => entry.led !== null).length,
  );
  nodeGauge(
    'sluice_partitions_under_replicated',
    'Partitions that this broker leads and not all of whose replicas are in sync',
    ({ partitions }) => partitions.filter(({ led }) => led !== null && led.inSync < led.replicas).length,
  );
  nodeGauge(
    'sluice_partitions_leaderless',
    'Partitions with a replica here that nobody leads, as far as this broker knows',
    ({ partitions }) => partitions.filter(entry => entry.isLeaderless).length,
  );
  nodeGauge('sluice_is_controller', '1 on the broker that is the controller', entry => (entry.isController ? 1 : 0));
  const peers: Gauge<'state'> = new Gauge({
    name: 'sluice_peers',
    help: 'Other brokers of the cluster by whether this one is connected to them',
    labelNames: ['state'],
    registers,
    collect() {
      for (const [state, count] of Object.entries(report().peers)) peers.set({ state }, count);
    },
  });
  nodeGauge('sluice_pending_produce_bytes', 'Bytes accepted and not yet durable', entry => entry.pendingProduceBytes);
  nodeGauge('sluice_tail_cache_bytes', 'Memory kept alive by the tail cache', entry => entry.tailCacheBytes);
  const groupGauge = (name: string, help: string, value: (groups: GroupsReport) => number): void =>
    nodeGauge(name, help, ({ groups }) => (groups === undefined ? 0 : value(groups)));
  groupGauge('sluice_groups', 'Consumer groups that this broker coordinates', entry => entry.groups);
  groupGauge('sluice_group_members', 'Members of the groups that this broker coordinates', entry => entry.members);
  groupGauge('sluice_group_offsets', 'Committed positions that this broker keeps', entry => entry.offsets);
  groupGauge('sluice_group_rebalances', 'New target assignments made since the start', entry => entry.rebalances);
  groupGauge('sluice_group_commits', 'Commits taken since the start', entry => entry.commits);
  groupGauge(
    'sluice_group_members_fenced',
    'Members put out since the start because they were silent or gave nothing back',
    entry => entry.fencedMembers,
  );
  const lagGauge: Gauge<'group' | 'topic'> = new Gauge({
    name: 'sluice_group_lag_records',
    help: 'Records behind the end, of groups that this broker coordinates and topics all of whose replicas it can look at',
    labelNames: ['group', 'topic'],
    registers,
    collect() {
      lagGauge.reset();
      for (const { group, topic, lag } of report().groups?.lags ?? []) lagGauge.set({ group, topic }, lag);
    },
  });
  let bodyBytes = (): number => 0;
  const bodyGauge: Gauge = new Gauge({
    name: 'sluice_body_bytes',
    help: 'Bytes of request bodies and messages held in memory, all doors together',
    registers,
    collect: () => bodyGauge.set({}, bodyBytes()),
  });
  let outgoing: () => readonly OutgoingReport[] = () => [];
  const outgoingMetric = (
    about: { readonly name: string; readonly help: string },
    value: (entry: OutgoingReport) => number,
  ): void => {
    const gauge: Gauge<'door'> = new Gauge({
      ...about,
      labelNames: ['door'],
      registers,
      collect() {
        gauge.reset();
        for (const entry of outgoing()) gauge.set({ door: entry.door }, value(entry));
      },
    });
  };
  outgoingMetric(
    {
      name: 'sluice_outgoing_bytes',
      help: 'Bytes made for clients that they have not taken, by door; a piece shared by many counts for each',
    },
    entry => entry.bytes,
  );
  outgoingMetric(
    { name: 'sluice_stalled_streams', help: 'Streams whose client has taken nothing for 5 seconds, by door' },
    entry => entry.stalled,
  );
  outgoingMetric(
    {
      name: 'sluice_stalled_streams_cut',
      help: 'Stalled streams cut since the start because room was needed, by door',
    },
    entry => entry.cut,
  );
  const openConnections = new Gauge({
    name: 'sluice_connections',
    help: 'Open connections by listener',
    labelNames: ['listener'],
    registers,
  });
  const refusedConnections = new CountFamily(
    registry,
    'sluice_connections_refused_total',
    'Connections turned away because there were too many, by listener',
  );
  const cutConnections = new CountFamily(
    registry,
    'sluice_connections_cut_total',
    'Connections ended for late or unreadable headers or for a flood, by listener',
  );
  /** A door asks once for each of its routes; those with the same verb share one object. */
  const verbs = new Map<string, VerbMetrics>();
  const newVerb = (labels: { readonly door: Door; readonly verb: string }): VerbMetrics => {
    const durations = latency.durations(labels);
    const received = receivedBytes.count(labels);
    const sent = sentBytes.count(labels);
    const ok = requests.count({ ...labels, outcome: 'ok' });
    const refusals = new Map<string, { readonly request: Count; readonly error: Count }>();
    return {
      finished(outcome, seconds) {
        durations.observe(seconds);
        if (outcome === 'ok') {
          ok.add(1);
          return;
        }
        let refusal = refusals.get(outcome);
        if (refusal === undefined) {
          refusal = {
            request: requests.count({ ...labels, outcome }),
            error: errors.count({ ...labels, code: outcome }),
          };
          refusals.set(outcome, refusal);
        }
        refusal.request.add(1);
        refusal.error.add(1);
      },
      received: bytes => received.add(bytes),
      sent: bytes => sent.add(bytes),
    };
  };
  return {
    registry,
    verb(door, verb) {
      const key = `${door}/${verb}`;
      const known = verbs.get(key) ?? newVerb({ door, verb });
      verbs.set(key, known);
      return known;
    },
    reportFrom(source) {
      report = source;
    },
    reportBodiesFrom(source) {
      bodyBytes = source;
    },
    reportOutgoingFrom(source) {
      outgoing = source;
    },
    connections(listener) {
      const open = openConnections.labels(listener);
      const refused = refusedConnections.count({ listener });
      const cut = cutConnections.count({ listener });
      return {
        opened: () => open.inc(),
        closed: () => open.dec(),
        refused: () => refused.add(1),
        cut: () => cut.add(1),
      };
    },
    repairedSegments: repairedSegments.count({}),
    repairedBytes: repairedBytes.count({}),
    syncSeconds: syncs.durations({}),
    openStreams: new Gauge({
      name: 'sluice_open_streams',
      help: 'Long-lived reads and produce streams by door',
      labelNames: ['door'],
      registers,
    }),
  };
};
