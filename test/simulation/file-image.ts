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

/** What a sync will make durable: pages as they were when it began. */
export interface SyncSnapshot {
  readonly pages: readonly { readonly page: number; readonly version: number; readonly bytes: Uint8Array }[];
  readonly byteLength: number;
  readonly sequence: number;
}

const withRoom = (image: Uint8Array, byteLength: number): Uint8Array => {
  if (byteLength <= image.length) return image;
  const larger = new Uint8Array(Math.max(byteLength, image.length * 2, PAGE_BYTES));
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
    this.#cached = withRoom(this.#cached, end);
    this.#cached.set(bytes, position);
    this.#touch(position, end);
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
    const pages = [...this.#dirty].map(([page, version]) => ({ page, version, bytes: this.#page(page) }));
    return { pages, byteLength: this.#cachedBytes, sequence: this.#sequence };
  }

  endSync(snapshot: SyncSnapshot): void {
    for (const { page, version, bytes } of snapshot.pages) {
      this.#harden(page, version, bytes);
      if (this.#dirty.get(page) === version) this.#dirty.delete(page);
    }
    this.#hardenSize(snapshot.byteLength, snapshot.sequence);
  }

  /** Some of it may have reached the disk; nobody will try the rest again. */
  failSync(snapshot: SyncSnapshot, random: SeededRandom): void {
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
      this.#harden(page, version, this.#page(page));
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
    this.#sizeChanges = [];
    this.#durable = withRoom(this.#durable, this.#durableBytes);
    this.#durable.fill(0, this.#durableBytes);
    this.#cached = this.#durable.slice();
    this.#cachedBytes = this.#durableBytes;
  }

  #touch(from: number, to: number): void {
    this.#sequence++;
    for (let page = Math.floor(from / PAGE_BYTES); page * PAGE_BYTES < to; page++)
      this.#dirty.set(page, this.#sequence);
  }

  #resize(byteLength: number): void {
    this.#cachedBytes = byteLength;
    this.#sizeChanges.push({ sequence: ++this.#sequence, byteLength });
  }

  #page(page: number): Uint8Array {
    const bytes = new Uint8Array(PAGE_BYTES);
    bytes.set(this.#cached.subarray(page * PAGE_BYTES, (page + 1) * PAGE_BYTES));
    return bytes;
  }

  #harden(page: number, version: number, bytes: Uint8Array): void {
    if (version <= (this.#durableVersions.get(page) ?? 0)) return;
    this.#durableVersions.set(page, version);
    this.#durable = withRoom(this.#durable, (page + 1) * PAGE_BYTES);
    this.#durable.set(bytes, page * PAGE_BYTES);
  }

  #hardenSize(byteLength: number, sequence: number): void {
    if (sequence <= this.#durableSequence) return;
    this.#durableSequence = sequence;
    this.#durableBytes = byteLength;
    this.#sizeChanges = this.#sizeChanges.filter(change => change.sequence > sequence);
  }
}
