// The decoders of what a start reads from the disk: whatever lies there, the broker reads it, leaves it out, or refuses to
// start and says why. A whole partition: recovery.test.ts.

import { offset, topicId } from '@sluice/protocol/ids';
import { crc32c } from '@sluice/protocol/record';
import { positionAt } from '../../server/base/position.ts';
import { StartRefusal } from '../../server/base/start-refusal.ts';
import { readFormerCatalogue } from '../../server/broker/former-catalogue.ts';
import { formatChecked } from '../../server/storage/checked-document.ts';
import { readIdentity } from '../../server/storage/data-directory.ts';
import { EpochMap } from '../../server/storage/epoch-map.ts';
import { MarksView } from '../../server/storage/log-marks.ts';
import { readStore, type StoreValue } from '../../server/storage/node-store.ts';
import { OffsetIndex } from '../../server/storage/offset-index.ts';
import { parseRaftRecord } from '../../server/storage/raft-marks.ts';
import { parseSegmentFileName } from '../../server/storage/segment-name.ts';
import { TimeIndex } from '../../server/storage/time-index.ts';
import { StillDisk } from '../storage/still-disk.ts';
import type { Decoder } from './decoder-run.ts';
import { producerDecoders } from './producer-snapshots.ts';

const KEY = 'k/0';
const INDEXED_MAX = 100_000;

const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('utf8');

/** A start may be refused, with a reason that says what to do. */
const startOrRefusal = async (start: () => unknown): Promise<void> => {
  try {
    await start();
  } catch (error) {
    if (!(error instanceof StartRefusal) || error.message.length < 40) throw error;
  }
};

const diskWith = async (file: string, bytes: Uint8Array): Promise<StillDisk> => {
  const disk = new StillDisk();
  await (await disk.open(file, 'create')).write([bytes], 0);
  return disk;
};

// ---- The store ----------------------------------------------------------------------------------------------------

const storeLine = (json: string): string => `${crc32c(Buffer.from(json)).toString(16).padStart(8, '0')} ${json}\n`;

const storeText = (values: Readonly<Record<string, StoreValue | null>>): Uint8Array =>
  Buffer.from(
    Object.entries({ format: { version: 1 }, ...values })
      .map(([k, v], n) => storeLine(JSON.stringify({ n: n + 1, k, v })))
      .join(''),
  );

const REPLICAS = { voters: ['1/a', '2/b'], outgoing: [], learners: ['3/c'], learnersNext: [], autoLeave: true };
const RAFT = {
  term: 7,
  vote: '1/a',
  recovery: 0,
  configurations: [{ position: { epoch: 2, offset: 5 }, configuration: REPLICAS }],
};

const soundStores = [
  storeText({
    [`sync/${KEY}`]: {
      generation: 1,
      leaderEpoch: 2,
      endOffset: 5,
      segment: 0,
      position: 100,
      crc: 7,
      latestTimestamp: 9,
      latestOffset: 4,
      firstTimestamp: 1,
      epochsCrc: 3,
      epochsBehind: [{ epoch: 2, startOffset: 4 }],
    },
    [`start/${KEY}`]: { offset: 3, base: { epoch: 1, offset: 2 } },
    [`install/${KEY}`]: { epoch: 3, offset: 9, generation: 4, isSwapped: true },
    [`fault/${KEY}`]: { reason: 'record-missing', epoch: 2, offset: 5 },
    [`raft/${KEY}`]: RAFT,
    [`sealed/${KEY}/0`]: { endOffset: 5, lastEpoch: 2, byteLength: 100, crc: 1, latestTimestamp: 2, latestOffset: 3 },
  }),
  storeText({ [`start/${KEY}`]: null, [`sync/${KEY}`]: {}, [`sealed/${KEY}/0`]: { endOffset: -1 } }),
];

const readMarks = async (bytes: Uint8Array): Promise<void> => {
  const { values } = await readStore(await diskWith('/data/store-1', bytes), '/data');
  const marks = new MarksView({ get: key => values.get(key) ?? null }, KEY);
  await startOrRefusal(() => marks.syncPoint());
  await startOrRefusal(() => marks.logStart());
  await startOrRefusal(() => marks.sealed(offset(0)));
  await startOrRefusal(() => marks.install());
  await startOrRefusal(() => marks.fault());
  const raft = values.get(`raft/${KEY}`);
  if (raft !== undefined) await startOrRefusal(() => parseRaftRecord(raft));
};

/** As a broker with a mistake in it would have written them. */
const withLineChecksums = (bytes: Uint8Array): Uint8Array => {
  const lines = Buffer.from(bytes).toString('latin1').split('\n');
  return Buffer.from(
    lines
      .map((line, index) => {
        if (index === lines.length - 1 || line.length < 9) return line;
        const json = Buffer.from(line.slice(9), 'latin1');
        return `${crc32c(json).toString(16).padStart(8, '0')} ${line.slice(9)}`;
      })
      .join('\n'),
    'latin1',
  );
};

// ---- Documents ----------------------------------------------------------------------------------------------------

const identity = Buffer.from(formatChecked({ format_version: 1, cluster_id: 'c', node_id: 1, directory_id: 'd' }, 2));
const ID = topicId('00000000-0000-4000-8000-000000000001');
const catalogue = Buffer.from(
  formatChecked(
    {
      version: 1,
      topics: [
        { name: 't', id: ID, partition_count: 1, internal: false, config: { 'retention.ms': '5' } },
        { name: 'u', id: ID, partition_count: 3, internal: true, config: {} },
      ],
      deleted: [{ name: 'v', id: ID, partition_count: 2 }],
    },
    1,
  ),
);

/** As it would have come from an earlier release: such documents are believed. */
const withoutChecksum = (bytes: Uint8Array): Uint8Array =>
  Buffer.from(textOf(bytes).replace(/,\s*"checksum":\s*"[0-9a-f]{8}"/, ''));

const readCatalogue = async (bytes: Uint8Array): Promise<void> => {
  const disk = await diskWith('/data/topics.json', bytes);
  await startOrRefusal(async () => {
    const image = await readFormerCatalogue(disk, '/data');
    for (const { partitionCount } of [...(image?.topics.values() ?? []), ...(image?.deleted ?? [])]) {
      // Each is opened: one too many of them and the start has no end.
      if (!Number.isInteger(partitionCount) || partitionCount < 1 || partitionCount > 10_000) {
        throw new Error(`${partitionCount} partitions`);
      }
    }
  });
};

// ---- Indexes ------------------------------------------------------------------------------------------------------

const offsets = new OffsetIndex();
for (let entry = 1; entry <= 6; entry++) offsets.append(entry * 10, entry * 4_096);
const times = new TimeIndex();
for (let entry = 1; entry <= 6; entry++) times.maybeAppend(1_700_000_000_000 + entry, entry * 10);

const rises = (values: readonly number[]): boolean => values.every((value, at) => at === 0 || value > values[at - 1]!);

const readOffsetIndex = (bytes: Uint8Array): void => {
  const index = new OffsetIndex();
  index.loadTrusted(bytes, INDEXED_MAX);
  const entries = Array.from({ length: index.count }, (_, entry) => entry);
  const positions = entries.map(entry => index.position(entry));
  if (!rises(entries.map(entry => index.relativeOffset(entry))) || !rises(positions)) throw new Error('does not rise');
  if (positions.some(position => position <= 0 || position >= INDEXED_MAX)) throw new Error('outside of the log');
  for (const target of [-1, 0, 25, 2 ** 31]) {
    const floor = index.floor(target);
    if (floor >= 0 && index.relativeOffset(floor) > target) throw new Error('not the floor');
    index.floorByPosition(target);
  }
  index.cut(25);
  index.append(100, 90_000);
  index.unwritten();
};

const readTimeIndex = (bytes: Uint8Array): void => {
  const index = new TimeIndex();
  index.loadTrusted(bytes, INDEXED_MAX);
  const entries = Array.from({ length: index.count }, (_, entry) => entry);
  const named = entries.map(entry => index.relativeOffset(entry));
  if (!rises(entries.map(entry => index.timestamp(entry))) || !rises(named)) throw new Error('does not rise');
  if (named.some(each => each >= INDEXED_MAX)) throw new Error('outside of the segment');
  for (const target of [-1, 0, 1_700_000_000_003, Number.MAX_SAFE_INTEGER]) {
    const below = index.below(target);
    if (below >= 0 && index.timestamp(below) >= target) throw new Error('not below');
  }
  index.cut(25);
  index.maybeAppend(Number.MAX_SAFE_INTEGER, 90_000);
  index.unwritten();
};

const readEpochs = (bytes: Uint8Array): void => {
  const epochs = EpochMap.parse(textOf(bytes));
  if (epochs === null) return;
  const entries = epochs.starts;
  if (!rises(entries.map(({ epoch }) => epoch))) throw new Error('epochs do not rise');
  for (const [at, { epoch, startOffset }] of entries.entries()) {
    if (epoch < 0 || epoch > 0x7fffffff || !Number.isSafeInteger(startOffset)) throw new Error('no epoch of a batch');
    if (at > 0 && startOffset < entries[at - 1]!.startOffset) throw new Error('starts fall');
    if (!epochs.hasStart(epoch, startOffset)) throw new Error('a start that is not there');
    epochs.epochAt(startOffset);
  }
  if (EpochMap.parse(epochs.format()) === null) throw new Error('is not read back');
  epochs.cut(positionAt(1, 20));
};

export const storedDecoders: readonly Decoder[] = [
  { name: 'store', sound: soundStores, decode: readMarks },
  { name: 'store with checksums that fit', sound: soundStores, decode: bytes => readMarks(withLineChecksums(bytes)) },
  {
    name: 'meta.json',
    sound: [identity, withoutChecksum(identity)],
    decode: async bytes => {
      const disk = await diskWith('/data/meta.json', bytes);
      await startOrRefusal(() => readIdentity(disk, '/data'));
    },
  },
  { name: 'topics.json', sound: [catalogue], decode: readCatalogue },
  { name: 'topics.json without a checksum', sound: [withoutChecksum(catalogue)], decode: readCatalogue },
  { name: 'offset index', sound: [offsets.bytes.slice(0, offsets.byteLength)], decode: readOffsetIndex },
  { name: 'time index', sound: [times.bytes.slice(0, times.byteLength)], decode: readTimeIndex },
  { name: 'epoch checkpoint', sound: [Buffer.from('0\n3\n1 0\n2 20\n7 20\n')], decode: readEpochs },
  {
    name: 'name of a segment',
    sound: [Buffer.from('00000000000000000042.log'), Buffer.from('00009007199254740991.timeindex')],
    decode: bytes => parseSegmentFileName(textOf(bytes)),
  },
  ...producerDecoders,
];
