// The requests about partitions among those that nodes make of each other (replication/peer-request.ts). A number that was given is
// never given again.

export const PEER_KIND = {
  produce: 1,
  fetch: 2,
  listOffsets: 3,
  standings: 4,
  deleteRecords: 5,
} as const;
