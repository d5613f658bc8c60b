// One file twice: as the page cache shows it, and as the platters have it.
//
//   write, truncate   change the cache; touched pages (4 KiB) become dirty, a new size joins the list of size changes
//   sync              what was dirty when it began becomes durable when it ends
//   failed sync       the same pages become clean *without* becoming durable: the next sync does nothing for them
//   write-back        at any time, some dirty page becomes durable by itself
//   crash             each dirty page and each size change survives or not; a surviving page may be torn at 512 bytes
//
// Invariant: a page that is not dirty and was not in a failed sync is the same in both images.

import type { SeededRandom } from './random.ts';

export const PAGE_BYTES = 4_096;
const SECTOR_BYTES = 512;

interface SizeChange {
  readonly sequence: number;
  readonly byteLength: number;
}

interface SyncedPage {
  readonly page: number;
  readonly version: number;
  /** Null while the cache still has it as it was. */
  bytes: Uint8Array | null;
}

/** What a sync will make durable: pages as they were when it began. */
export interface SyncSnapshot {
  readonly pages: readonly SyncedPage[];
  readonly byteLength: number;
  readonly sequence: number;
}

const withRoom = (image: Uint8Array, byteLength: number): Uint8Array => {
  if (byteLength <= image.length) return image;
  const larger = new Uint8Array(Math.max(byteLength, image.length * 2, SECTOR_BYTES));
  larger.set(image);
  return larger;
};

export class FileImage {
  readonly kind = 'file';
  #cached: Uint8Array = new Uint8Array(0);
  #cachedBytes = 0;
  #durable: Uint8Array = new Uint8Array(0);
  #durableBytes = 0;
  #durableSequence = 0;
  #sequence = 0;
  /** Page to the sequence of its last change. */
  readonly #dirty = new Map<number, number>();
  readonly #durableVersions = new Map<number, number>();
  #sizeChanges: SizeChange[] = [];
  /** Of syncs under way: what is about to change is copied for them first. */
  readonly #snapshots = new Set<SyncSnapshot>();

  get byteLength(): number {
    return this.#cachedBytes;
  }

  /** What it takes on the disk: whole pages. */
  get pageBytes(): number {
    return Math.ceil(this.#cachedBytes / PAGE_BYTES) * PAGE_BYTES;
  }

  get isDirty(): boolean {
    return this.#dirty.size > 0 || this.#sizeChanges.length > 0;
  }

  read(target: Uint8Array, position: number): number {
    const count = Math.max(0, Math.min(target.length, this.#cachedBytes - position));
    target.set(this.#cached.subarray(position, position + count));
    return count;
  }

  /** A copy of what a reader sees. */
  contents(): Uint8Array {
    return this.#cached.slice(0, this.#cachedBytes);
  }

  /** A copy of what a crash that loses all unsynced changes would leave. */
  durableContents(): Uint8Array {
    const result = new Uint8Array(this.#durableBytes);
    result.set(this.#durable.subarray(0, this.#durableBytes));
    return result;
  }

  write(bytes: Uint8Array, position: number): void {
    if (bytes.length === 0) return;
    const end = position + bytes.length;
    this.#touch(position, end);
    this.#cached = withRoom(this.#cached, end);
    this.#cached.set(bytes, position);
    if (end > this.#cachedBytes) this.#resize(end);
  }

  truncate(byteLength: number): void {
    if (byteLength === this.#cachedBytes) return;
    if (byteLength < this.#cachedBytes) {
      this.#touch(byteLength, this.#cachedBytes);
      this.#cached.fill(0, byteLength, this.#cachedBytes);
    }
    this.#cached = withRoom(this.#cached, byteLength);
    this.#resize(byteLength);
  }

  beginSync(): SyncSnapshot {
    const pages = Array.from(this.#dirty, ([page, version]): SyncedPage => ({ page, version, bytes: null }));
    const snapshot: SyncSnapshot = { pages, byteLength: this.#cachedBytes, sequence: this.#sequence };
    this.#snapshots.add(snapshot);
    return snapshot;
  }

  endSync(snapshot: SyncSnapshot): void {
    this.#snapshots.delete(snapshot);
    for (const { page, version, bytes } of snapshot.pages) {
      this.#harden(page, version, bytes);
      if (this.#dirty.get(page) === version) this.#dirty.delete(page);
    }
    this.#hardenSize(snapshot.byteLength, snapshot.sequence);
  }

  /** Some of it may have reached the disk; nobody will try the rest again. */
  failSync(snapshot: SyncSnapshot, random: SeededRandom): void {
    this.#snapshots.delete(snapshot);
    for (const { page, version, bytes } of snapshot.pages) {
      if (random.chance(0.5)) this.#harden(page, version, bytes);
      if (this.#dirty.get(page) === version) this.#dirty.delete(page);
    }
    if (random.chance(0.5)) this.#hardenSize(snapshot.byteLength, snapshot.sequence);
    this.#sizeChanges = this.#sizeChanges.filter(change => change.sequence > snapshot.sequence);
  }

  /** The kernel writes what it likes, when it likes. */
  writeBack(random: SeededRandom): void {
    for (const [page, version] of this.#dirty) {
      if (!random.chance(0.3)) continue;
      this.#harden(page, version, null);
      this.#dirty.delete(page);
    }
    const change = this.#sizeChanges[random.below(this.#sizeChanges.length + 1)];
    if (change !== undefined) this.#hardenSize(change.byteLength, change.sequence);
  }

  /** Changes both images behind everybody's back. */
  rot(position: number, change: (byte: number) => number): void {
    if (position >= this.#cachedBytes) throw new RangeError(`no byte ${position} in ${this.#cachedBytes}`);
    this.#durable = withRoom(this.#durable, position + 1);
    this.#cached[position] = change(this.#cached[position] ?? 0);
    this.#durable[position] = change(this.#durable[position] ?? 0);
  }

  /** Both images become what the crash left. */
  crash(random: SeededRandom, survival: number): void {
    const survives = (): boolean => random.chance(survival);
    for (const page of this.#dirty.keys()) {
      if (!survives()) continue;
      const start = page * PAGE_BYTES;
      const fresh = this.#page(page);
      const isTorn = random.chance(0.2);
      this.#durable = withRoom(this.#durable, start + PAGE_BYTES);
      for (let at = 0; at < PAGE_BYTES; at += SECTOR_BYTES) {
        if (!isTorn || random.chance(0.5)) this.#durable.set(fresh.subarray(at, at + SECTOR_BYTES), start + at);
      }
    }
    for (const change of this.#sizeChanges) if (survives()) this.#durableBytes = change.byteLength;
    this.#dirty.clear();
    this.#snapshots.clear();
    this.#sizeChanges = [];
    this.#durable = withRoom(this.#durable, this.#durableBytes);
    this.#durable.fill(0, this.#durableBytes);
    this.#cached = this.#durable.slice();
    this.#cachedBytes = this.#durableBytes;
  }

  #touch(from: number, to: number): void {
    this.#sequence++;
    for (let page = Math.floor(from / PAGE_BYTES); page * PAGE_BYTES < to; page++) {
      for (const { pages } of this.#snapshots) {
        for (const synced of pages) if (synced.page === page) synced.bytes ??= this.#page(page);
      }
      this.#dirty.set(page, this.#sequence);
    }
  }

  #resize(byteLength: number): void {
    this.#cachedBytes = byteLength;
    this.#sizeChanges.push({ sequence: ++this.#sequence, byteLength });
  }

  /** A copy; short where the memory of the cache ends. */
  #page(page: number): Uint8Array {
    return this.#cached.slice(page * PAGE_BYTES, (page + 1) * PAGE_BYTES);
  }

  /** Null: as the cache has it. */
  #harden(page: number, version: number, bytes: Uint8Array | null): void {
    if (version <= (this.#durableVersions.get(page) ?? 0)) return;
    this.#durableVersions.set(page, version);
    const [start, end] = [page * PAGE_BYTES, (page + 1) * PAGE_BYTES];
    const fresh = bytes ?? this.#cached.subarray(start, end);
    this.#durable = withRoom(this.#durable, start + fresh.length);
    this.#durable.set(fresh, start);
    if (fresh.length < PAGE_BYTES) this.#durable.fill(0, start + fresh.length, end);
  }

  #hardenSize(byteLength: number, sequence: number): void {
    if (sequence <= this.#durableSequence) return;
    this.#durableSequence = sequence;
    this.#durableBytes = byteLength;
    this.#sizeChanges = this.#sizeChanges.filter(change => change.sequence > sequence);
  }
}
