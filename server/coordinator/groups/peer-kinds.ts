// The requests about groups among those that nodes make of each other (replication/peer-request.ts). A number that was given is never
// given again.

export const GROUP_PEER_KIND = {
  groupCommand: 192,
} as const;
