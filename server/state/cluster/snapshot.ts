// The whole metadata as a list of chunks, for nodes that are too far behind to be sent records, and for the log to end
// somewhere.
//
//   chunk 0      header: format level, version, founding, next producer id    entries …
//   chunk 1 …    entries: brokers, then topics, then deleted topics, each in the order of their keys
//   last chunk   … entries    end: how many entries there were
//
// The same image gives the same bytes on every node. A chunk is at most SNAPSHOT_CHUNK_BYTES_MAX, so it fits into a frame.
// Chunks must come in order and whole; who stores or sends them guards them with a checksum.

import {
  type BrokerEntry,
  type ClusterSnapshotChunk,
  ClusterSnapshotChunkSchema,
  ClusterSnapshotEndSchema,
  type ClusterSnapshotEntry,
  ClusterSnapshotEntrySchema,
  type ClusterSnapshotHeader,
  create,
  type DeletedTopicEntry,
  fromBinary,
  toBinary,
  type TopicCreated,
} from '@sluice/protocol/cluster';
import { assert } from '../../base/assert.ts';
import { SNAPSHOT_CHUNK_BYTES_MAX } from '../../base/limits.ts';
import { changedLoads } from './broker-load.ts';
import { type ClusterImage, emptyImage } from './image.ts';
import {
  FORMAT_LEVEL,
  readFounded,
  readLevel,
  readNodeId,
  readNumber,
  readRegistration,
  readTopic,
  readTopicId,
  readTopicName,
  wireFounded,
  wireRegistration,
  wireTopic,
} from './record-codec.ts';
import { damaged, type Decoding, decoding, Undecodable } from './undecodable.ts';

/** What a chunk takes beside its entries: header with the founding, index, end. */
const CHUNK_FRAME_BYTES = 4_096;
/** Tag and length in front of one entry. */
const ENTRY_FRAME_BYTES = 8;

function* wireEntries(image: ClusterImage): Generator<ClusterSnapshotEntry, void> {
  for (const { registration, fenced, draining } of image.brokers.values()) {
    const value = { registration: wireRegistration(registration), fenced, draining };
    yield create(ClusterSnapshotEntrySchema, { entry: { case: 'broker', value } });
  }
  for (const topic of image.topics.values()) {
    yield create(ClusterSnapshotEntrySchema, { entry: { case: 'topic', value: wireTopic(topic) } });
  }
  for (const { topicId, name, partitionCount, waitingFor } of image.deletedTopics.values()) {
    const value = { topicId, name, partitionCount, waitingFor: [...waitingFor] };
    yield create(ClusterSnapshotEntrySchema, { entry: { case: 'deletedTopic', value } });
  }
}

const wireHeader = (image: ClusterImage) => ({
  formatLevel: FORMAT_LEVEL,
  version: BigInt(image.version),
  nextProducerId: BigInt(image.nextProducerId),
  ...(image.founded === null ? {} : { founded: wireFounded(image.founded) }),
});

/** One chunk at a time, so that nobody holds the whole as bytes. The image may be as old as the taker likes. */
export function* encodeSnapshot(image: ClusterImage): Generator<Uint8Array, void> {
  let chunk = create(ClusterSnapshotChunkSchema, { index: 0, header: wireHeader(image) });
  let bytes = CHUNK_FRAME_BYTES;
  let entryCount = 0;
  for (const entry of wireEntries(image)) {
    const size = toBinary(ClusterSnapshotEntrySchema, entry).length + ENTRY_FRAME_BYTES;
    if (bytes + size > SNAPSHOT_CHUNK_BYTES_MAX) {
      yield encodeChunk(chunk);
      chunk = create(ClusterSnapshotChunkSchema, { index: chunk.index + 1 });
      bytes = CHUNK_FRAME_BYTES;
    }
    chunk.entries.push(entry);
    bytes += size;
    entryCount++;
  }
  chunk.end = create(ClusterSnapshotEndSchema, { entryCount });
  yield encodeChunk(chunk);
}

const encodeChunk = (chunk: ClusterSnapshotChunk): Uint8Array => {
  const bytes = toBinary(ClusterSnapshotChunkSchema, chunk);
  assert(bytes.length <= SNAPSHOT_CHUNK_BYTES_MAX, 'a chunk of a snapshot fits into a frame');
  return bytes;
};

const parseChunk = (bytes: Uint8Array): ClusterSnapshotChunk => {
  try {
    return fromBinary(ClusterSnapshotChunkSchema, bytes);
  } catch {
    throw damaged('a chunk is no message');
  }
};

/** Takes chunks as they come and gives the image at the end. After a fault it is of no more use. */
export class SnapshotDecoder {
  #image: ClusterImage = emptyImage();
  #chunkCount = 0;
  #entryCount = 0;
  #ended = false;

  /** The value is true when this was the last chunk. */
  take(bytes: Uint8Array): Decoding<boolean> {
    return decoding(() => {
      const chunk = parseChunk(bytes);
      if (chunk.index !== this.#chunkCount || this.#ended) throw damaged('a chunk is not the one that comes next');
      if ((chunk.header !== undefined) !== (chunk.index === 0)) throw damaged('the header is not in the first chunk');
      if (chunk.header !== undefined) this.#takeHeader(chunk.header);
      this.#chunkCount++;
      for (const entry of chunk.entries) this.#takeEntry(entry);
      if (chunk.end !== undefined && chunk.end.entryCount !== this.#entryCount) throw damaged('entries are missing');
      this.#ended = chunk.end !== undefined;
      return this.#ended;
    });
  }

  finish(): Decoding<ClusterImage> {
    return decoding(() => {
      if (!this.#ended) throw damaged('the end is missing');
      return this.#image;
    });
  }

  #takeHeader(header: ClusterSnapshotHeader): void {
    readLevel(header.formatLevel);
    this.#image = {
      ...this.#image,
      version: readNumber(header.version),
      founded: header.founded === undefined ? null : readFounded(header.founded),
      nextProducerId: readNumber(header.nextProducerId),
    };
  }

  #takeEntry({ entry, $unknown }: ClusterSnapshotEntry): void {
    this.#entryCount++;
    if (entry.case === 'broker') this.#takeBroker(entry.value);
    else if (entry.case === 'topic') this.#takeTopic(entry.value);
    else if (entry.case === 'deletedTopic') this.#takeDeleted(entry.value);
    else if ($unknown === undefined) throw damaged('an entry is empty');
    else throw new Undecodable('newer', 'an entry is of a kind that this release does not know');
  }

  #takeBroker(wire: BrokerEntry): void {
    if (wire.registration === undefined) throw damaged('a broker has no registration');
    const registration = readRegistration(wire.registration);
    const { nodeId: id } = registration;
    if (this.#image.brokers.has(id)) throw damaged('a broker is listed twice');
    const { fenced, draining } = wire;
    this.#image = {
      ...this.#image,
      brokers: this.#image.brokers.with(id, { registration, fenced, draining }),
      loads: this.#image.loads.with(id, { replicas: 0, preferred: 0 }),
    };
  }

  #takeTopic(wire: TopicCreated): void {
    const topic = readTopic(wire);
    const { topics, topicNames } = this.#image;
    if (topics.has(topic.name) || topicNames.has(topic.topicId)) throw damaged('a topic is listed twice');
    const loads = changedLoads(this.#image.loads, topic.partitions, 1);
    if (loads === null) throw damaged('a replica is at a node that is not listed');
    this.#image = {
      ...this.#image,
      loads,
      topics: topics.with(topic.name, topic),
      topicNames: topicNames.with(topic.topicId, topic.name),
    };
  }

  #takeDeleted(wire: DeletedTopicEntry): void {
    const topicId = readTopicId(wire.topicId);
    const { deletedTopics, topicNames } = this.#image;
    if (deletedTopics.has(topicId) || topicNames.has(topicId)) throw damaged('a deleted topic is listed twice');
    if (wire.waitingFor.length === 0) throw damaged('a deleted topic waits for nobody');
    const { partitionCount } = wire;
    const waitingFor = wire.waitingFor.map(readNodeId);
    if (!waitingFor.every(id => this.#image.brokers.has(id)))
      throw damaged('a removal waits for a node that is not listed');
    const deleted = { topicId, name: readTopicName(wire.name), partitionCount, waitingFor };
    this.#image = { ...this.#image, deletedTopics: deletedTopics.with(topicId, deleted) };
  }
}

export const decodeSnapshot = (chunks: Iterable<Uint8Array>): Decoding<ClusterImage> => {
  const decoder = new SnapshotDecoder();
  for (const chunk of chunks) {
    const taken = decoder.take(chunk);
    if (!taken.ok) return taken;
  }
  return decoder.finish();
};
