// The requests of the coordinator among those that nodes make of each other (replication/peer-request.ts). A number that was given is
// never given again.

export const PEER_KIND = {
  foundingStanding: 64,
  foundingPrepare: 65,
  metadataCommand: 66,
  metadataPull: 67,
  leaderTransfer: 68,
} as const;
