// Which cluster a data directory belongs to, kept beside meta.json from the moment that the node is part of one.
//
//   cluster.json   {"version": 1, "cluster_id", "voters": [{node_id, directory_id}], "nodes": [{node_id, address}], "checksum"}
//
// `voters` are the first voters of the metadata group, and the node is one of them if its own directory is among them; none: the
// node joined later. `nodes` is who it can ask for the rest. A directory without the file is blank, unless it is of a
// node alone, whose cluster id is in meta.json.

import path from 'node:path';
import { type NodeId, nodeId } from '@sluice/protocol/ids';
import { StartRefusal } from '../base/start-refusal.ts';
import type { Disk } from '../io/disk.ts';
import { isDirectoryId, type Replica } from '../state/cluster/record.ts';
import { formatChecked, parseChecked } from '../storage/checked-document.ts';
import { readSmallFile, replaceSmallFile } from '../storage/small-file.ts';

export interface NodeAddress {
  readonly nodeId: NodeId;
  /** HOST:PORT of its peer listener. */
  readonly address: string;
}

export interface Membership {
  readonly clusterId: string;
  readonly voters: readonly Replica[];
  readonly nodes: readonly NodeAddress[];
}

export const MEMBERSHIP_FILE = 'cluster.json';
const VERSION = 1;

const isNodeNumber = (value: unknown): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 0x7fff_ffff;

const listOf = <T>(
  value: unknown,
  read: (each: Readonly<Record<string, unknown>>) => T | null,
): readonly T[] | null => {
  if (!Array.isArray(value)) return null;
  const list = value.map(each => (typeof each === 'object' && each !== null ? read(each) : null));
  return list.every(each => each !== null) ? list : null;
};

const readVoter = ({ node_id: id, directory_id: directory }: Readonly<Record<string, unknown>>): Replica | null =>
  isNodeNumber(id) && typeof directory === 'string' && isDirectoryId(directory)
    ? { nodeId: nodeId(id), directoryId: directory }
    : null;

const readNode = ({ node_id: id, address }: Readonly<Record<string, unknown>>): NodeAddress | null =>
  isNodeNumber(id) && typeof address === 'string' ? { nodeId: nodeId(id), address } : null;

/** Null: the directory belongs to no cluster yet. Throws StartRefusal for what no broker writes. */
export const readMembership = async (disk: Disk, directory: string): Promise<Membership | null> => {
  const file = path.join(directory, MEMBERSHIP_FILE);
  const text = await readSmallFile(disk, file);
  if (text === null) return null;
  const parsed = parseChecked(text, ['version', 'cluster_id', 'voters', 'nodes']);
  if (!parsed.ok) {
    throw new StartRefusal('data-directory-damaged', `${file} ${parsed.why}. Restore it from a backup.`);
  }
  const { version, cluster_id: clusterId } = parsed.document;
  if (version !== VERSION) {
    throw new StartRefusal(
      'data-directory-version',
      `${file} has version ${JSON.stringify(version)}, this broker reads ${VERSION}.`,
    );
  }
  const voters = listOf(parsed.document['voters'], readVoter);
  const nodes = listOf(parsed.document['nodes'], readNode);
  if (typeof clusterId !== 'string' || clusterId === '' || voters === null || nodes === null) {
    throw new StartRefusal('data-directory-damaged', `${file} lacks a member. Restore it from a backup.`);
  }
  return { clusterId, voters, nodes };
};

export const writeMembership = async (disk: Disk, directory: string, membership: Membership): Promise<void> => {
  const { clusterId, voters, nodes } = membership;
  const document = {
    version: VERSION,
    cluster_id: clusterId,
    voters: voters.map(voter => ({ node_id: voter.nodeId, directory_id: voter.directoryId })),
    nodes: nodes.map(node => ({ node_id: node.nodeId, address: node.address })),
  };
  await replaceSmallFile(disk, path.join(directory, MEMBERSHIP_FILE), formatChecked(document, 2));
};
