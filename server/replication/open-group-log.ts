// Opens a replica of a group: its record in the node's store, its log, and the group on top of both.
//
// A replica that is new gets its first record before its log, so that a log never is without one; a log without a record has lost it,
// which makes the replica suspect.

import { offset } from '@sluice/protocol/ids';
import type { RaftSettings } from '../raft/replica.ts';
import { replicaId } from '../raft/replica-id.ts';
import { type Configuration, configurationOf } from '../raft/configuration.ts';
import type { DataDirectory, PartitionName } from '../storage/data-directory.ts';
import type { LogSettings } from '../storage/log-settings.ts';
import type { PartitionLog } from '../storage/partition-log.ts';
import { LogNews } from './group-log.ts';
import type { StoreRecords } from './replica-records.ts';
import type { GroupListener, GroupSnapshots, ReplicatedLog } from './replicated-log.ts';
import type { Replication } from './replication.ts';

export interface GroupLogRequest {
  readonly directory: DataDirectory;
  readonly replication: Replication;
  readonly records: StoreRecords;
  readonly name: PartitionName;
  readonly settings: LogSettings;
  readonly raft: RaftSettings;
  /** The voters of a group that was never opened here. */
  readonly voters: readonly { readonly nodeId: number; readonly directoryId: string }[];
  readonly listener: GroupListener & {
    /** What was appended above is given up, before the group hears of it. */
    dropped?(state: 'full' | 'failed', endOffset: number): void;
  };
  readonly snapshots?: GroupSnapshots;
  /** See OpenGroup. */
  readonly isAwake?: boolean;
  readonly isPatient?: boolean;
  /** In the step in which the group begins, before the listener hears anything. */
  readonly opened?: (opened: OpenedGroupLog) => void;
}

/** The first records of all those that are new, which then share one flush. Opening one makes what is missing by itself. */
export const foundGroupLogs = async (
  { directory, records }: Pick<GroupLogRequest, 'directory' | 'records'>,
  groups: readonly Pick<GroupLogRequest, 'name' | 'voters'>[],
): Promise<void> => {
  let isAny = false;
  for (const { name, voters } of groups) {
    if (records.has(name) || (await directory.holds(name))) continue;
    records.found(name, votersOnly(voters));
    directory.announce(name);
    isAny = true;
  }
  if (isAny) await records.flush();
};

const votersOnly = (voters: GroupLogRequest['voters']): Configuration =>
  configurationOf(voters.map(voter => replicaId(voter.nodeId, voter.directoryId)));

export interface OpenedGroupLog {
  readonly log: PartitionLog;
  readonly group: ReplicatedLog;
}

/** A log whose records are all there is: beside them only what they said of producers has to travel. */
const producersOf = (log: PartitionLog): GroupSnapshots => ({
  snapshotState: () => log.producers.forSnapshot(),
  installState: (_base, state) => {
    log.takeProducers(state);
    return Promise.resolve();
  },
  // The log itself sees to it that they are kept.
  startMax: () => offset(Number.MAX_SAFE_INTEGER),
});

/** Rejects with a DiskFault when the disk fails. */
export const openGroupLog = async (request: GroupLogRequest): Promise<OpenedGroupLog> => {
  const { directory, replication, records, name, listener, raft } = request;
  const configuration = votersOnly(request.voters);
  if (!records.has(name) && !(await directory.holds(name))) {
    records.found(name, configuration);
    await records.flush();
  }
  const news = new LogNews(listener);
  const log = await directory.openLog(name, request.settings, news);
  const stored = records.restored(name, log, configuration);
  const group = replication.open({
    name,
    log,
    news,
    settings: raft,
    stored,
    listener,
    snapshots: request.snapshots ?? producersOf(log),
    isAwake: request.isAwake ?? false,
    isPatient: request.isPatient ?? false,
  });
  const opened = { log, group };
  request.opened?.(opened);
  return opened;
};
