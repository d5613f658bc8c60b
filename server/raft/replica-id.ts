// Who votes: a node together with the directory that holds its log. A node that comes back with an empty directory is
// somebody else, because it has forgotten what it acknowledged.

declare const brand: unique symbol;

/** `NODE/DIRECTORY-UUID`. Built by replicaId and by decoders that checked the form. */
export type ReplicaId = string & { readonly [brand]: 'ReplicaId' };

const pattern = /^\d{1,10}\/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

export const isReplicaId = (text: string): text is ReplicaId => pattern.test(text);

export const replicaId = (nodeId: number, directory: string): ReplicaId => {
  const text = `${nodeId}/${directory}`;
  if (!isReplicaId(text)) throw new RangeError(`not a replica: ${text}`);
  return text;
};
