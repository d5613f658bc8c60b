// How the groups of a broker elect and replicate. Times are in ticks of RAFT_TICK_MS.

import { UNCOMMITTED_BYTES_MAX } from '../base/limits.ts';
import type { RaftSettings } from '../replication/replicated-log.ts';
import type { FlushMode } from '../storage/log-settings.ts';

export const RAFT_TICK_MS = 50;
/** A follower that heard nothing for so long, and up to twice as long, asks for votes. */
const ELECTION_TICKS = 8;
const HEARTBEAT_TICKS = 2;
/** A replica that did not reach the leader's end for so long is not in sync. */
const LAG_MS_MAX = 10_000;

export const ELECTION_MS = ELECTION_TICKS * RAFT_TICK_MS;

/** One request to a follower: several of the largest batches, and a few milliseconds of a link. */
const APPEND_BYTES_MAX = 1024 * 1024;
const IN_FLIGHT_BYTES_MAX = 8 * 1024 * 1024;

export const raftSettings = (flushMode: FlushMode): RaftSettings => ({
  electionTicks: ELECTION_TICKS,
  heartbeatTicks: HEARTBEAT_TICKS,
  appendBytesMax: APPEND_BYTES_MAX,
  inFlightBytesMax: IN_FLIGHT_BYTES_MAX,
  uncommittedBytesMax: UNCOMMITTED_BYTES_MAX,
  lagTicksMax: LAG_MS_MAX / RAFT_TICK_MS,
  mayLoseWrites: flushMode !== 'sync',
});
