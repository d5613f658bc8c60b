// Every limit of the broker in one place, each with its reason. What a user may set is in config.ts and the topic
// settings; what stands here is fixed.

const KIB = 1024;
const MIB = 1024 * KIB;

/** A body read whole; larger input uses the streamed forms (NDJSON, text), which need no limit. */
export const BODY_BYTES_MAX = 16 * MIB;

/** Answer early with 413 or 429, but let the client read it: this much of the rest is drained, or for this long. */
export const DRAIN_BYTES_MAX = 32 * MIB;
export const DRAIN_MS_MAX = 2_000;

/** Records waiting to be written or acknowledged in the whole process; beyond it produce answers THROTTLED. */
export const PENDING_PRODUCE_BYTES_MAX = 256 * MIB;

/** The same for one log: a log behind a slow disk must not starve the others. */
export const PENDING_LOG_BYTES_MAX = 64 * MIB;

/** A body read whole, or a message, must have arrived by then: one that trickles in holds memory for nothing. */
export const MESSAGE_MS_MAX = 60_000;

/** Request bodies held in memory in the whole process, all doors together; beyond it THROTTLED before reading. */
export const BODY_BUDGET_BYTES = 256 * MIB;

/**
 * Handed out by all doors and not taken by clients. Apart from the budget of bodies, so that readers who stand still never
 * make producers wait; small, because grpc-js and the kernel's interface hold up to one more copy of it.
 */
export const OUTGOING_BYTES_MAX = 96 * MIB;
/** A stream that took nothing for this long stands still: it shows in the metrics, and is cut where room is needed. */
export const STALLED_MS = 5_000;
/** The next piece of a stream takes at most one such part of what is free: a thousand that stand still leave room. */
export const OUTGOING_PIECES_FREE = 512;
/** More than this part of what is free does not wait for one client. */
export const OUTGOING_CLIENT_SHARE = 64;

/** Epochs that sync points name and the checkpoint of a log lacks: a few dozen bytes each in every sync point of that log. */
export const EPOCHS_BEHIND_MAX = 8;

/** One gathered write: writev takes at most IOV_MAX (1,024) buffers; 8 MiB keeps the time to the next sync short. */
export const GATHER_BUFFERS_MAX = 1_024;
export const GATHER_BYTES_MAX = 8 * MIB;

/** A read from disk brings at least this much: smaller reads cost as much as this one. */
export const DISK_READ_BYTES_MIN = 64 * KIB;
/**
 * What a follower that is behind is given of the disk at a time. Each piece is checked and framed on the loop without a pause, and whoever
 * produces meanwhile needs several turns of it: a mebibyte was a millisecond of each, at the same processor time for all.
 */
export const FOLLOWER_READ_BYTES_MAX = 256 * KIB;

/** Checked batches kept for readers near the end, all partitions together, in bytes of memory kept alive. */
export const TAIL_CACHE_BYTES_MAX = 128 * MIB;

/** Memory for the keys of a log that is being cleaned, one log at a time: what does not fit is cleaned in a further pass. */
export const CLEANER_MAP_BYTES_MAX = 64 * MIB;

/** What the cleaner of logs reads and works on in one turn of the event loop: a fraction of a millisecond. */
export const CLEANER_PIECE_BYTES = 64 * KIB;

/** What it writes between two syncs, so that none of them keeps the disk long from those of appends. */
export const CLEANER_SYNC_BYTES = 8 * MIB;

/** Syncs under way at once: the thread pool has 16 threads, and slow syncs must not stop every read. */
export const CONCURRENT_SYNCS_MAX = 12;

/** Files kept open by sealed segments, all partitions together; beyond it the least recently used are closed. */
export const OPEN_FILES_MAX = 512;

/** A sync point becomes durable after at most this time, or this much written since. */
export const SYNC_POINT_MS_MAX = 1_000;
export const SYNC_POINT_BYTES_MAX = 64 * MIB;

/** A log that met a full disk takes appends again when this much is free: enough for a few batches and their indexes. */
export const DISK_HEADROOM_BYTES = 4 * MIB;

/** Set aside for the store and for deletions on a full disk: the store's two copies and a catalogue of many topics. */
export const DISK_RESERVE_BYTES = 2 * MIB;

export const PARTITIONS_PER_TOPIC_MAX = 10_000;
export const PARTITIONS_MAX = 20_000;

/** The cluster's metadata. Every broker talks to every other one, and every node holds the metadata in memory. */
export const BROKERS_MAX = 64;
/** More copies make an append slower and nothing safer; with it a topic of 10,000 partitions fits into one record (190 KiB). */
export const REPLICATION_FACTOR_MAX = 15;
/** Copies of an internal topic, where there are as many brokers. */
export const INTERNAL_REPLICATION_FACTOR = 3;
/** Each change of metadata waits for a majority of them; five survive two failures. */
export const METADATA_VOTERS_MAX = 5;
/** Racks and addresses: a host name has at most 253 characters, and a port goes behind it. */
export const BROKER_TEXT_CHARS_MAX = 260;
/** Topic ids remembered until every broker removed the folders: one broker that stays away must not fill the memory of all. */
export const DELETED_TOPICS_MAX = 20_000;
/** Removals acknowledged in one request; the record stays below a tenth of a frame. */
export const REMOVALS_PER_REQUEST_MAX = 1_000;
/** Producer ids that a broker gives out before it asks again: rare enough, and a restart wastes few of 2^53. */
export const PRODUCER_ID_BLOCK = 1_000;
/** Of an idempotent producer: int16 in a batch, as in Kafka. */
export const PRODUCER_EPOCH_MAX = 32_767;
/** Of a record of such a producer; behind it they go on from 0. */
export const SEQUENCE_MAX = 0x7fff_ffff;
/** Batches of a producer that each replica of a partition remembers: as many as a producer may have under way there. */
export const PRODUCER_BATCHES_KEPT = 5;
/** Producers that a partition remembers, some 600 bytes each: beyond it those go early that are silent for long. */
export const PRODUCERS_PER_PARTITION_MAX = 32_768;
/** Followers forget by their own clocks and refuse nobody, so that they may know more for a while. */
export const PRODUCERS_IN_SNAPSHOT_MAX = 4 * PRODUCERS_PER_PARTITION_MAX;
/** How long a producer is remembered where there is no room for another one: several times longer than a request is tried. */
export const PRODUCER_SILENCE_MS_MIN = 15 * 60_000;
/** Of a log with producers, between two snapshots of them: what a start after a crash reads at most, half a second. */
export const PRODUCER_SNAPSHOT_BYTES = 64 * MIB;
/** Read at once then. */
export const PRODUCER_READ_BYTES = MIB;
/** A piece of a snapshot of the metadata: half of a frame, and more than twice the largest entry (a topic's partitions). */
export const SNAPSHOT_CHUNK_BYTES_MAX = 512 * KIB;
/** Leaderships moved at once, in all and at one broker: each stops the appends of a partition for a moment. */
export const LEADER_TRANSFERS_MAX = 8;
export const LEADER_TRANSFERS_PER_BROKER_MAX = 2;
/** Answers of one replicated state machine that wait for a commit: a majority that is slow must not fill the memory. */
export const STATE_ANSWERS_MAX = 10_000;
/** Records of metadata after which a new snapshot of it is kept: what a start replays at most, some tens of milliseconds. */
export const METADATA_SNAPSHOT_RECORDS = 2_000;
/** Of the metadata log, read or sent at once; half of a frame's limit, so that a long poll answers before it is large. */
export const METADATA_PIECE_BYTES = 512 * KIB;
/** A node that follows the metadata is answered after this without news: below the time-outs of anything between two nodes. */
export const METADATA_POLL_MS = 5_000;
/** A change of metadata is tried for so long: a few elections. */
export const METADATA_REQUEST_MS = 15_000;
/** One attempt of it: a controller that is cut off must not take all of that time. */
export const METADATA_ATTEMPT_MS = 5_000;
/** Between two attempts: long enough for an election to move on, short enough for a person who waits. */
export const METADATA_PAUSE_MS = 100;
/** After an answer the local image is waited for, so that who asked sees what it did; it is milliseconds away, or cut off. */
export const METADATA_IMAGE_MS = 2_000;
/** The controller's clock: liveness is judged once a tick, and a late tick is one tick. */
export const CONTROLLER_TICK_MS = 500;
/** How often a broker says that it is alive, and the silence after which the controller fences it: Kafka's 2 and 9 s. */
export const BROKER_HEARTBEAT_MS = 2_000;
export const BROKER_SESSION_MS = 9_000;
/** Ticks between two looks at who leads what, and before a transfer that was asked for is asked for again. */
export const BALANCE_TICKS = 10;
export const BALANCE_RETRY_TICKS = 120;
/** Between two rounds in which nodes that found a cluster ask each other. */
export const FOUNDING_PAUSE_MS = 250;
/** Silence of the founding in the log, when the same thing keeps it waiting. */
export const FOUNDING_LOG_MS = 30_000;

/** Consumer groups. Each member's heartbeat is answered by one node, and every change makes a target for all of them. */
export const GROUP_MEMBERS_MAX = 1_000;
/** Groups and committed positions of one partition of the offsets' topic: some 100 bytes each, held in memory by its leader. */
export const GROUPS_PER_COORDINATOR_MAX = 20_000;
export const OFFSETS_PER_COORDINATOR_MAX = 1_000_000;
/** Names of groups, members and clients: as long as a topic's, with a little more. */
export const GROUP_TEXT_CHARS_MAX = 255;
/** Topics that one member names; who wants more has a pattern. */
export const SUBSCRIBED_TOPICS_MAX = 1_000;
/** A pattern is looked at for every topic name: their lengths multiply. */
export const TOPIC_PATTERN_CHARS_MAX = 128;
export const TOPIC_PATTERN_DEPTH_MAX = 16;
/** Silence after which a member is out. Below a second a pause of the client's runtime is taken for its end. */
export const GROUP_SESSION_MS_MIN = 1_000;
export const GROUP_SESSION_MS_MAX = 1_800_000;
export const GROUP_SESSION_MS_DEFAULT = 45_000;
/** How long a member may take to give a partition back: for the handlers of what it has read already. */
export const GROUP_REBALANCE_MS_MIN = 1_000;
export const GROUP_REBALANCE_MS_MAX = 1_800_000;
export const GROUP_REBALANCE_MS_DEFAULT = 60_000;
/** What members are told to send heartbeats at, at most: Kafka's 5 s; of a short session a third. */
export const GROUP_HEARTBEAT_MS_MAX = 5_000;
/** Text that a client keeps beside a position, in characters, as Kafka has it. */
export const OFFSET_METADATA_CHARS_MAX = 4_096;
/** Positions committed, set or removed at once, and the text of all of them: one batch of a few megabytes. */
export const OFFSETS_PER_REQUEST_MAX = 10_000;
export const OFFSET_METADATA_CHARS_SUM_MAX = 1024 * KIB;
/** Of a topic that the metadata does not know: longer than any node's copy of it stays behind. */
export const OFFSETS_UNKNOWN_TOPIC_MS = 600_000;
/** Partitions of the topic that keeps the groups: they spread over the nodes of a cluster, and each is a Raft group. */
export const OFFSETS_TOPIC_PARTITIONS = 16;
/** The coordinators' clock: members are judged once a tick, and a late tick is one tick. */
export const GROUP_TICK_MS = 500;
/** Ticks between two looks for positions that nobody will come back for: a minute. */
export const OFFSETS_EXPIRY_TICKS = 120;
/** Lags shown in the metrics: a time series each, which whoever scrapes them keeps. */
export const GROUP_LAGS_MAX = 10_000;
/** A request about a group is tried for so long where it does not say it: a few elections. */
export const GROUP_REQUEST_MS = 15_000;
/** Groups of one page of their list. */
export const GROUP_PAGE_MAX = 1_000;
export const GROUP_PAGE_DEFAULT = 100;
/** Members put out, or groups looked at again, in one step: the rest follows in the next one. */
export const GROUPS_PER_STEP_MAX = 100;

export const TOPIC_PAGE_MAX = 1_000;
export const TOPIC_PAGE_DEFAULT = 100;

/** Reading over HTTP and gRPC. */
export const READ_LIMIT_MAX = 10_000;
export const READ_LIMIT_DEFAULT = 500;
export const READ_BYTES_DEFAULT = MIB;
export const READ_BYTES_MAX = 16 * MIB;
export const READ_WAIT_MS_MAX = 30_000;
export const READ_PARTITIONS_MAX = 256;
export const CURSOR_CHARS_MAX = 4 * KIB;

export const TIMEOUT_MS_DEFAULT = 30_000;
export const TIMEOUT_MS_MAX = 300_000;

/** A piece of a stream of lines: larger ones save turns of the event loop, smaller ones memory while nobody reads. */
export const STREAM_PIECE_BYTES_MAX = 256 * KIB;
export const STREAM_PIECE_BYTES_MIN = 32 * KIB;

/** Pieces of long streams rendered in one turn of the event loop: a few milliseconds. */
export const STREAM_PIECES_PER_TURN = 4;

/** Server-Sent Events: when a browser comes back, and how long a stream stays silent before a comment shows that it lives. */
export const EVENT_RETRY_MS = 1_000;
export const EVENT_SILENCE_MS_MAX = 15_000;

/** Rendered pieces of live reads kept for readers that come for them a little later, all forms together. */
export const FEED_CACHE_BYTES_MAX = 32 * MIB;

/** Nested arrays and objects in a JSON value: deeper ones can overflow a parser's stack somewhere downstream. */
export const JSON_DEPTH_MAX = 64;

/** One line of NDJSON or text. Larger than any batch limit makes no sense: the record could not be stored. */
export const LINE_BYTES_MAX = 16 * MIB;

export const HEADER_TIMEOUT_MS = 10_000;
/** How often connections are looked at for headers that are overdue. */
export const HEADER_CHECK_MS = 2_000;
export const HEADER_BYTES_MAX = 32 * KIB;
/** Header lines of one request: more make slow lookups out of few bytes. */
export const HEADER_LINES_MAX = 256;
/** Per listener. Above what one host of hostile clients is expected to hold, below what a process may have open as files. */
export const HTTP_CONNECTIONS_MAX = 12_000;
export const GRPC_CONNECTIONS_MAX = 4_000;
/** Scrapers keep one connection each; beyond this many something is wrong with them. */
export const MANAGEMENT_CONNECTIONS_MAX = 256;

/** WebSocket: connections are HTTP's, and a part of those stays free for plain requests. */
export const WEBSOCKET_CONNECTIONS_MAX = 9_000;
export const WEBSOCKET_MESSAGE_BYTES_MAX = 8 * MIB;
/** Pieces in which a message may come: each costs more memory than it brings when they are tiny. */
export const WEBSOCKET_FRAGMENTS_MAX = 1_024;
export const WEBSOCKET_CHUNKS_MAX = 8_192;
/** Requests of one connection without an answer, and what those that write may hold: a few of the largest. */
export const WEBSOCKET_REQUESTS_MAX = 64;
export const WEBSOCKET_REQUEST_BYTES_MAX = 32 * MIB;
export const WEBSOCKET_SUBSCRIPTIONS_MAX = 64;
/** What one connection has not taken: reading from it stops at the first, and it is cut at the second. */
export const WEBSOCKET_BUFFERED_BYTES_MAX = MIB;
export const WEBSOCKET_BUFFERED_BYTES_CUT = 32 * MIB;
/** A ping this often; no pong until the next one is due, and the connection is closed. */
export const WEBSOCKET_PING_MS = 20_000;
/** How long a stopping broker waits for answers and for clients to close. */
export const WEBSOCKET_DRAIN_MS_MAX = 5_000;

/** gRPC: receive windows (see performance notes in ARCHITECTURE.md) and what one peer may hold open. */
export const GRPC_STREAM_WINDOW_BYTES = MIB;
export const GRPC_CONNECTION_WINDOW_BYTES = 4 * MIB;
/** A piece of a read that names no size: of records as messages, and of batches that only the transport holds back. */
export const GRPC_RECORDS_PIECE_BYTES = 128 * KIB;
export const GRPC_UNCREDITED_PIECE_BYTES = 256 * KIB;

/**
 * There is no authentication yet, so there is no smaller number before it either: what a stream may hold is bounded by the
 * budgets, whoever opened it.
 */
export const GRPC_STREAMS_PER_SESSION_MAX = 100;
/** Streams that a peer may open and reset at once, and each second from then on; beyond it the session ends (CVE-2023-44487). */
export const GRPC_RESETS_BURST_MAX = 200;
export const GRPC_RESETS_PER_SECOND_MAX = 33;
/** Frames that are no HTTP/2, and streams beyond the limit, that a session survives. */
export const GRPC_INVALID_FRAMES_MAX = 100;
export const GRPC_REJECTED_STREAMS_MAX = 100;
/** Entries of one SETTINGS frame, and of one list of headers. */
export const GRPC_SETTINGS_MAX = 32;
export const GRPC_HEADER_PAIRS_MAX = 128;
/** Pings and settings in one second; each costs an answer, and clients that measure their links send far fewer. */
export const GRPC_CONTROL_FRAMES_PER_SECOND_MAX = 2_000;
/** The same of a session without a call, which has nothing to measure: keep-alive pings come seconds apart. */
export const GRPC_IDLE_CONTROL_FRAMES_PER_SECOND_MAX = 20;
/** A session without a call is told to go and closed; clients of the library reconnect by themselves. */
export const GRPC_IDLE_MS = 600_000;
/** A stream whose client has taken nothing for this long is reset, as HTTP closes a connection that is silent. */
export const GRPC_SILENCE_MS_MAX = 120_000;
export const GRPC_MESSAGE_BYTES_MAX = 20 * MIB;

/** Refuses new streams of a session that holds this much, in MiB: grpc-js switches Node's own limit off. */
export const GRPC_SESSION_MEMORY_MIB_MAX = 256;
/** A peer that answers no ping within the time-out is gone; without it its streams would be kept for hours. */
export const GRPC_KEEPALIVE_MS = 30_000;
export const GRPC_KEEPALIVE_TIMEOUT_MS = 20_000;
/** How long a stopping broker waits for streams to end before it cuts them. */
export const GRPC_DRAIN_MS_MAX = 5_000;
/** Requests of one produce stream that are read and not answered: enough for several group commits, small beside the budget. */
export const GRPC_PRODUCE_BYTES_MAX = 16 * MIB;
export const GRPC_PRODUCE_REQUESTS_MAX = 4_096;
/** Answers that the transport has not taken: two pieces of a read, so that one is written while the next is fetched. */
export const GRPC_OUTBOX_BYTES_MAX = 2 * MIB;
export const GRPC_OUTBOX_MESSAGES_MAX = 1_024;
export const GRPC_READS_PER_CALL_MAX = 1_024;
/** Requests of one member's stream that are read and not answered: commits, one after the other. */
export const GRPC_MEMBER_REQUESTS_MAX = 16;
/** Pieces fetched from disk and not yet handed to the transport, for all reads of one call. */
export const GRPC_FETCHES_PER_CALL_MAX = 2;
/** Decoded batches that reads of one call keep while they wait for credit; beyond it they decode again. */
export const GRPC_HELD_BYTES_MAX = 8 * MIB;

/** A term is the epoch in every batch, an int32: who comes near its end holds no elections any more, instead of overflowing. */
export const RAFT_TERM_MAX = 0x7fff_ffff - 0x1_0000;

/** One frame between brokers: heartbeats behind it wait this long at most, and a bad one costs no more than this. */
export const PEER_FRAME_BYTES_MAX = MIB;
/** A call between brokers, each way: the largest request that a door takes (gRPC), or a read, and what stands around it. */
export const PEER_CALL_BYTES_MAX = GRPC_MESSAGE_BYTES_MAX + MIB;
/** A long call crosses in such parts, and a short one finds its way between two of them. */
export const PEER_CALL_PART_BYTES = 128 * KIB;
/** Long requests (and answers) of one session under way at once: more would only hold more memory half-done. */
export const PEER_LONG_CALLS_MAX = 3;
/** Calls of one session without an answer: long polls wait here, one for each partition and form that somebody reads. */
export const PEER_CALLS_MAX = 4_096;
/** Requests (and answers) of one session that wait to cross; beyond it a request is not sent, and an answer is dropped. */
export const PEER_CALL_QUEUED_BYTES_MAX = 64 * MIB;
/** Requests that arrive or are being carried out, all peers together; beyond it they are refused before they begin. */
export const PEER_CALL_REQUEST_BYTES_MAX = 128 * MIB;
/** Answers of one session that have not arrived whole. A peer that keeps the limits above stays below it. */
export const PEER_CALL_ANSWER_BYTES_MAX = 80 * MIB;
/** A lane takes more while the transport holds less than this of it: one frame is written while the next is made. */
export const PEER_CONTROL_PENDING_BYTES = 256 * KIB;
export const PEER_BULK_PENDING_BYTES = MIB;
export const PEER_CALLS_PENDING_BYTES = 256 * KIB;

/** Three for each node that dials, and as many again while sessions replace each other; clusters have tens of nodes. */
export const PEER_CONNECTIONS_MAX = 512;
/** Connections that have not proven the secret: each may hold a message, and has a short time to become one that has. */
export const PEER_UNPROVEN_CONNECTIONS_MAX = 64;
export const PEER_HANDSHAKE_MS_MAX = 3_000;
/** Before the proof nothing that is said needs more. */
export const PEER_HELLO_BYTES_MAX = 4 * KIB;
/** Names that a peer gives itself: a UUID, or what a human writes for one. */
export const PEER_NAME_CHARS_MAX = 128;
export const PEER_DETAIL_CHARS_MAX = 512;
/** Between two attempts, doubling; half of it is drawn. A refused session waits for the longest from the start. */
export const PEER_BACKOFF_MS_MIN = 50;
export const PEER_BACKOFF_MS_MAX = 2_000;
/** A session that lasted this long starts from the shortest wait again. */
export const PEER_SETTLED_MS = 2_000;
/** So many lines about refused peers in that time: a stranger at the port must not fill the log. */
export const PEER_REFUSAL_LINES_MAX = 20;
export const PEER_REFUSAL_LOG_MS = 60_000;
/**
 * How often the ends of a control lane look whether something came since they looked last, and after how many times in vain the
 * other end is given up: within an election timeout. Looks are counted, not time, so that a stall here kills nobody.
 */
export const PEER_PING_MS = 300;
export const PEER_SILENT_LOOKS_MAX = 3;
/** Connections of the other lanes, which may be lost alone: a sign of life may stand behind megabytes on a slow link. */
export const PEER_KEEPALIVE_MS = 5_000;
export const PEER_KEEPALIVE_TIMEOUT_MS = 15_000;

/** What a damaged replica fetches of another one at a time: two reads of a disk, and small beside what crosses for clients. */
export const REPAIR_PIECE_BYTES = MIB;
export const REPAIR_CALL_MS_MAX = 10_000;
/** Between two attempts to repair one replica, doubling: the others may be damaged as well, or away. */
export const REPAIR_RETRY_MS_MIN = 1_000;
export const REPAIR_RETRY_MS_MAX = 60_000;

/** Messages of one group that wait while its log is being cut or replaced; Raft repeats what is dropped beyond. */
export const WAITING_MESSAGES_MAX = 256;
export const WAITING_MESSAGE_BYTES_MAX = 4 * MIB;
/** One message of the bulk lane, put together from its frames: a batch of the largest size with what stands around it. */
export const PEER_BULK_MESSAGE_BYTES_MAX = 17 * MIB;

/** Longest that a request without a time-out of its own waits for a partition to have a leader: several elections. */
export const LEADER_WAIT_MS = 10_000;
/** The same for a description, which says what is known without one. */
export const DESCRIBE_WAIT_MS = 1_000;
/** Who waits for a leader looks again after this, also without news: a peer link can be up again without any. */
export const ROUTE_RETRY_MS = 100;
/** How long after the time-out of a forwarded request its answer is waited for: the leader answers late ones itself. */
export const PEER_ANSWER_GRACE_MS = 5_000;
/** The state that travels with a snapshot: a cluster's metadata at its limits is a tenth of this. */
export const SNAPSHOT_STATE_BYTES_MAX = 64 * MIB;
/** Groups whose leader a node knows, wherever they live: those of a cluster at its limits, and deleted ones for a while. */
export const LEADERS_HEARD_MAX = 2 * PARTITIONS_MAX;
/** Requests of peers under way on this node, of one kind: a kind that stands still must not stop the others. */
export const PEER_REQUESTS_PER_KIND_MAX = 4_096;
/** Snapshot states of one peer that arrive at once: more only hold more memory half-done. */
export const PEER_SNAPSHOT_STATES_MAX = 2;
/** Bytes of one group above its commit point; beyond it a leader refuses more with THROTTLED. */
export const UNCOMMITTED_BYTES_MAX = 64 * MIB;
/** Taken from peers by all logs of a node and not durable: beyond it no more is read from them, or slow disks would fill the memory. */
export const PEER_RECEIVED_BYTES_MAX = 128 * MIB;
