// What /metrics shows is what was counted.

import { expect, test } from 'vitest';
import { createMetrics, NO_CLEANING } from '../server/base/metrics.ts';

const scrape = async (metrics: ReturnType<typeof createMetrics>): Promise<string[]> =>
  (await metrics.registry.metrics())
    .split('\n')
    .filter(line => line.startsWith('sluice_re') || line.startsWith('sluice_sync'));

test('requests of one verb are counted together, whoever asked for the verb', async () => {
  const metrics = createMetrics();
  metrics.verb('rest', 'topics').finished('ok', 0.002);
  metrics.verb('rest', 'topics').finished('ok', 0.2);
  metrics.verb('rest', 'topics').finished('TOPIC_NOT_FOUND', 40);
  metrics.verb('rest', 'topics').received(7);
  const lines = await scrape(metrics);
  expect(lines).toContain('sluice_requests_total{door="rest",verb="topics",outcome="ok"} 2');
  expect(lines).toContain('sluice_requests_total{door="rest",verb="topics",outcome="TOPIC_NOT_FOUND"} 1');
  expect(lines).toContain('sluice_request_errors_total{door="rest",verb="topics",code="TOPIC_NOT_FOUND"} 1');
  expect(lines).toContain('sluice_received_bytes_total{door="rest",verb="topics"} 7');
  expect(new Set(lines).size).toBe(lines.length);
});

test('durations are counted by upper bound, and cumulatively', async () => {
  const metrics = createMetrics();
  const verb = metrics.verb('grpc', 'fetch');
  for (const seconds of [0.0005, 0.0006, 40]) verb.finished('ok', seconds);
  const lines = (await scrape(metrics)).filter(line => line.startsWith('sluice_request_duration'));
  const value = (le: string): string | undefined =>
    lines
      .find(line => line.includes(`le="${le}"`))
      ?.split(' ')
      .at(-1);
  expect([value('0.0005'), value('0.001'), value('30'), value('+Inf')]).toEqual(['1', '2', '2', '3']);
  expect(lines).toContain('sluice_request_duration_seconds_count{door="grpc",verb="fetch"} 3');
});

test('partitions and the cluster are shown as the broker reports them at the scrape', async () => {
  const metrics = createMetrics();
  const sizes = { sizeBytes: 5, segments: 1, highWatermark: 3, startOffset: 0 };
  const others = { ...sizes, topic: 't', isOffline: false, leaderEpoch: 7, dirtyRatio: null };
  metrics.reportFrom(() => ({
    cleaner: { isAtWork: true, bytesRead: 11, bytesFreed: 7, runs: 2, lastRunSeconds: 1_700_000_000.5 },
    partitions: [
      { ...others, partition: 0, isOffline: true, led: null, isLeaderless: true },
      { ...others, partition: 1, led: { replicas: 3, inSync: 2 }, isLeaderless: false },
      { ...others, partition: 2, led: { replicas: 3, inSync: 3 }, isLeaderless: false, dirtyRatio: 0.25 },
    ],
    pendingProduceBytes: 9,
    tailCacheBytes: 4,
    isController: true,
    peers: { up: 1, down: 2 },
  }));
  const lines = (await metrics.registry.metrics()).split('\n');
  expect(lines).toEqual(
    expect.arrayContaining([
      'sluice_log_high_watermark{topic="t",partition="0"} 3',
      'sluice_leader_epoch{topic="t",partition="1"} 7',
      'sluice_partitions_offline 1',
      'sluice_partitions_leaderless 1',
      'sluice_partitions_led 2',
      'sluice_partitions_under_replicated 1',
      'sluice_is_controller 1',
      'sluice_peers{state="up"} 1',
      'sluice_peers{state="down"} 2',
      'sluice_pending_produce_bytes 9',
      'sluice_log_dirty_ratio{topic="t",partition="2"} 0.25',
      'sluice_cleaner_at_work 1',
      'sluice_cleaner_freed_bytes 7',
      'sluice_cleaner_last_run_timestamp_seconds 1700000000.5',
    ]),
  );
  expect(
    lines.filter(line => line.startsWith('sluice_log_dirty_ratio{')),
    'of compacted logs alone',
  ).toHaveLength(1);
});

test('groups are shown as the broker reports them, and as none where it reports none', async () => {
  const metrics = createMetrics();
  const node = {
    cleaner: NO_CLEANING,
    partitions: [],
    pendingProduceBytes: 0,
    tailCacheBytes: 0,
    isController: false,
    peers: { up: 0, down: 0 },
  };
  metrics.reportFrom(() => node);
  expect(await metrics.registry.metrics()).toContain('sluice_group_members 0');
  const groups = { groups: 1, members: 2, offsets: 3, rebalances: 4, commits: 5, fencedMembers: 6 };
  metrics.reportFrom(() => ({ ...node, groups: { ...groups, lags: [{ group: 'g', topic: 't', lag: 7 }] } }));
  const text = await metrics.registry.metrics();
  expect(text).toContain('sluice_groups 1');
  expect(text).toContain('sluice_group_members 2');
  expect(text).toContain('sluice_group_rebalances 4');
  expect(text).toContain('sluice_group_commits 5');
  expect(text).toContain('sluice_group_lag_records{group="g",topic="t"} 7');
});
