// Open files, bounded over all partitions: a file is opened when it is used and stays open until others need the place.
//
// Invariant: a file in use is never closed; beyond the limit only idle files are closed, the least recently used first.
// More files in use than the limit is allowed: the limit bounds what is kept, not what is needed.

import { OPEN_FILES_MAX } from '../base/limits.ts';
import type { Disk, DiskFile } from '../io/disk.ts';

interface Held {
  readonly opened: Promise<DiskFile>;
  users: number;
  /** True once the name is gone: closed by its last user. */
  forgotten: boolean;
}

export class FilePool {
  readonly #disk: Disk;
  readonly #limit: number;
  /** In order of last use: a Map keeps insertion order, and use inserts again. */
  readonly #held = new Map<string, Held>();

  constructor(disk: Disk, limit: number = OPEN_FILES_MAX) {
    this.#disk = disk;
    this.#limit = limit;
  }

  get openCount(): number {
    return this.#held.size;
  }

  async use<T>(path: string, action: (file: DiskFile) => Promise<T>): Promise<T> {
    let held = this.#held.get(path);
    if (held === undefined) {
      held = { opened: this.#disk.open(path, 'write'), users: 0, forgotten: false };
    } else {
      this.#held.delete(path);
    }
    held.users++;
    this.#held.set(path, held);
    const mine = held;
    try {
      return await action(await mine.opened);
    } finally {
      mine.users--;
      if (mine.users === 0) await this.#released(path, mine);
    }
  }

  async #released(path: string, held: Held): Promise<void> {
    const file = await held.opened.catch(() => null);
    if (held.users > 0) return;
    if (file === null) {
      if (this.#held.get(path) === held) this.#held.delete(path);
      return;
    }
    if (held.forgotten) {
      await file.close();
      return;
    }
    if (this.#held.size > this.#limit) await this.#closeIdle();
  }

  async #closeIdle(): Promise<void> {
    for (const [path, held] of this.#held) {
      if (this.#held.size <= this.#limit) return;
      if (held.users > 0) continue;
      this.#held.delete(path);
      await (await held.opened).close();
    }
  }

  /** For a file that is renamed or removed: no new user gets the old handle, the last user closes it. */
  async forget(path: string): Promise<void> {
    const held = this.#held.get(path);
    if (held === undefined) return;
    this.#held.delete(path);
    held.forgotten = true;
    if (held.users === 0) await (await held.opened.catch(() => null))?.close();
  }

  async close(): Promise<void> {
    for (const path of this.#held.keys()) await this.forget(path);
  }
}
