// What nodes tell each other before there is a cluster, as JSON.
//
//   standing   {clusterId, directoryId, standing, listed, voters}: asked for and answered with the same
//   prepare    {clusterId, voters, nodes}: answered with {accepted, detail}
//
//   blank      belongs to no cluster
//   prepared   has promised to be part of this one, durably; whether it is founded yet it does not know
//   founded    the founding record is committed

import type { NodeId } from '@sluice/protocol/ids';
import { type DirectoryId, isDirectoryId, type Replica } from '../state/cluster/record.ts';
import { JsonReader } from './json-reader.ts';
import type { Membership, NodeAddress } from './membership.ts';
import { readReplica } from './metadata-command.ts';

export interface Standing {
  /** Empty while it is blank. */
  readonly clusterId: string;
  readonly directoryId: DirectoryId;
  readonly standing: 'blank' | 'prepared' | 'founded';
  /** Ids of the nodes that it was told of, its own among them, ascending. */
  readonly listed: readonly number[];
  readonly voters: readonly Replica[];
}

export interface PrepareAnswer {
  readonly accepted: boolean;
  readonly detail: string;
}

const encode = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value));

export const encodeStanding = (standing: Standing): Uint8Array => encode(standing);
export const encodePrepare = (membership: Membership): Uint8Array => encode(membership);
export const encodePrepareAnswer = (answer: PrepareAnswer): Uint8Array => encode(answer);

const standings = ['blank', 'prepared', 'founded'] as const;

export const decodeStanding = (bytes: Uint8Array): Standing | null => {
  const reader = JsonReader.parse(bytes);
  const directoryId = reader.text('directoryId');
  const word = reader.text('standing');
  const standing = standings.find(each => each === word);
  const answer = {
    clusterId: reader.text('clusterId'),
    listed: reader.numbers('listed'),
    voters: reader.list('voters', readReplica),
  };
  if (reader.isBroken || standing === undefined || !isDirectoryId(directoryId)) return null;
  return { ...answer, standing, directoryId };
};

const readNodeAddress = (reader: JsonReader): NodeAddress => ({
  nodeId: reader.count('nodeId') as NodeId,
  address: reader.text('address'),
});

export const decodePrepare = (bytes: Uint8Array): Membership | null => {
  const reader = JsonReader.parse(bytes);
  const membership = {
    clusterId: reader.text('clusterId'),
    voters: reader.list('voters', readReplica),
    nodes: reader.list('nodes', readNodeAddress),
  };
  return reader.isBroken || membership.clusterId === '' ? null : membership;
};

export const decodePrepareAnswer = (bytes: Uint8Array): PrepareAnswer | null => {
  const reader = JsonReader.parse(bytes);
  const answer = { accepted: reader.boolean('accepted'), detail: reader.text('detail') };
  return reader.isBroken ? null : answer;
};
