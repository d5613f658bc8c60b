// Images of the metadata kept in files, so that a start replays little and the log can end behind them.
//
//   metadata-0.snapshot, metadata-1.snapshot      the newer replaces the older one, whole
//
//   file     'SLMI' | head | chunk …
//   head     length u32 = 12 | crc32c u32 | version u32 = 1 | offset behind the last record u64
//   chunk    length u32 | crc32c u32 | one chunk of state/cluster/snapshot.ts, the last of which says that it is
//
// There are two, and the log keeps what is above the *older* one: a file that is damaged costs replaying, nothing else. An
// interrupted write leaves a temporary file, which the next one removes.

import path from 'node:path';
import { type Offset, offset } from '@sluice/protocol/ids';
import { crc32c } from '@sluice/protocol/record';
import type { Logger } from '../base/logger.ts';
import { type Disk, DiskFault } from '../io/disk.ts';
import { ByteReader } from '../replication/byte-reader.ts';
import { ByteWriter } from '../replication/byte-writer.ts';
import type { ClusterImage } from '../state/cluster/image.ts';
import { encodeSnapshot, SnapshotDecoder } from '../state/cluster/snapshot.ts';
import { replaceSmallFile } from '../storage/small-file.ts';

export interface KeptImage {
  readonly image: ClusterImage;
  readonly next: Offset;
}

export type ReadImage =
  | { readonly kind: 'image'; readonly kept: KeptImage }
  | { readonly kind: 'none' }
  | { readonly kind: 'damaged' | 'newer'; readonly detail: string };

const MAGIC = 0x534c4d49;
const VERSION = 1;
const HEAD_BYTES = 12;
const FIRST_BYTES = 64 * 1024;
export const SNAPSHOT_NAMES = ['metadata-0.snapshot', 'metadata-1.snapshot'] as const;

const writePart = (writer: ByteWriter, bytes: Uint8Array): void => {
  writer.uint32(bytes.length);
  writer.uint32(crc32c(bytes));
  writer.raw(bytes);
};

export const encodeKeptImage = ({ image, next }: KeptImage): Uint8Array => {
  const head = new ByteWriter(HEAD_BYTES);
  head.uint32(VERSION);
  head.offset(next);
  const writer = new ByteWriter(FIRST_BYTES);
  writer.uint32(MAGIC);
  writePart(writer, head.finish());
  for (const chunk of encodeSnapshot(image)) writePart(writer, chunk);
  return writer.finish();
};

const damagedFile = (detail: string): ReadImage => ({ kind: 'damaged', detail });

const readPart = (reader: ByteReader): Uint8Array | null => {
  const length = reader.uint32();
  const crc = reader.uint32();
  const bytes = reader.raw(length);
  return reader.isBroken || crc32c(bytes) !== crc ? null : bytes;
};

export const decodeKeptImage = (bytes: Uint8Array): ReadImage => {
  const reader = new ByteReader(bytes);
  if (reader.uint32() !== MAGIC) return damagedFile('it does not begin as a snapshot');
  const head = readPart(reader);
  const headReader = new ByteReader(head ?? new Uint8Array());
  const version = headReader.uint32();
  if (version > VERSION) return { kind: 'newer', detail: `it has format version ${version}` };
  const next = headReader.offset();
  if (head === null || headReader.isBroken || headReader.left > 0) return damagedFile('its head is damaged');
  const decoder = new SnapshotDecoder();
  for (let isWhole = false; !isWhole; ) {
    const chunk = readPart(reader);
    if (chunk === null) return damagedFile('a part is damaged or missing');
    const taken = decoder.take(chunk);
    if (!taken.ok) return { kind: taken.kind, detail: taken.detail };
    isWhole = taken.value;
  }
  const decoded = decoder.finish();
  if (!decoded.ok) return { kind: decoded.kind, detail: decoded.detail };
  return reader.left === 0
    ? { kind: 'image', kept: { image: decoded.value, next } }
    : damagedFile('something stands behind its end');
};

export class ImageSnapshots {
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #logger: Logger;
  /** Offsets of the files; null where there is none that can be read. */
  readonly #kept: (Offset | null)[] = [null, null];
  /** They come one at a time. */
  #saving: Promise<unknown> = Promise.resolve();

  constructor(disk: Disk, directory: string, logger: Logger) {
    this.#disk = disk;
    this.#directory = directory;
    this.#logger = logger;
  }

  /** What the log may lose: everything below has two snapshots. */
  get logStart(): Offset {
    const [first, second] = this.#kept;
    return first === null || second === null ? offset(0) : offset(Math.min(first ?? 0, second ?? 0));
  }

  /** The newest that can be read. */
  async load(): Promise<ReadImage> {
    let best: ReadImage = { kind: 'none' };
    for (const [index, name] of SNAPSHOT_NAMES.entries()) {
      const read = await this.#read(name);
      if (read.kind === 'newer') return read;
      if (read.kind !== 'image') continue;
      this.#kept[index] = read.kept.next;
      if (best.kind !== 'image' || best.kept.next < read.kept.next) best = read;
    }
    return best;
  }

  async #read(name: string): Promise<ReadImage> {
    const file = path.join(this.#directory, name);
    try {
      const read = decodeKeptImage(await this.#disk.readFile(file));
      if (read.kind === 'damaged')
        this.#logger.error({ file, why: read.detail }, 'a snapshot of the metadata is damaged');
      return read;
    } catch (fault) {
      if (!(fault instanceof DiskFault)) throw fault;
      if (fault.kind === 'not-found') return { kind: 'none' };
      this.#logger.error({ file, why: fault.message }, 'a snapshot of the metadata cannot be read');
      return { kind: 'none' };
    }
  }

  /** False: the disk refused it, and the log keeps what it has. */
  save(kept: KeptImage): Promise<boolean> {
    const saved = this.#saving.then(() => this.#save(kept));
    this.#saving = saved;
    return saved;
  }

  async #save(kept: KeptImage): Promise<boolean> {
    const [first, second] = this.#kept;
    const isFirst = first === null || (second !== null && (first ?? 0) < (second ?? 0));
    const index = isFirst ? 0 : 1;
    const file = path.join(this.#directory, SNAPSHOT_NAMES[index]);
    try {
      await replaceSmallFile(this.#disk, file, encodeKeptImage(kept));
      this.#kept[index] = kept.next;
      return true;
    } catch (fault) {
      if (!(fault instanceof DiskFault)) throw fault;
      this.#logger.warn({ file, why: fault.message }, 'a snapshot of the metadata could not be written');
      return false;
    }
  }
}
