// Room set aside for the few small writes that must work on a full disk: the store's, and those that free space. Without
// it a disk filled to the last byte could neither be started on nor be emptied by deleting a topic.
//
//   data-dir/reserve    zeros, given up when a write has no room, made again when there is some

import path from 'node:path';
import { DISK_RESERVE_BYTES } from '../base/limits.ts';
import { type Disk, DiskFault } from '../io/disk.ts';

export class DiskReserve {
  readonly #disk: Disk;
  readonly #path: string;

  constructor(disk: Disk, directory: string) {
    this.#disk = disk;
    this.#path = path.join(directory, 'reserve');
  }

  /** Sets the room aside unless it is; does without where there is none. */
  async hold(): Promise<void> {
    try {
      if (await this.#disk.exists(this.#path)) {
        if (await this.#isWhole()) return;
        await this.#disk.removeFile(this.#path);
      }
      await this.#fill();
    } catch (fault) {
      if (!(fault instanceof DiskFault && fault.kind === 'full')) throw fault;
      await this.#giveUp();
    }
  }

  /** Runs the action; where it has no room, once more with what was set aside. */
  async withRoom<T>(action: () => Promise<T>): Promise<T> {
    try {
      return await action();
    } catch (fault) {
      if (!(fault instanceof DiskFault && fault.kind === 'full') || !(await this.#giveUp())) throw fault;
      return action();
    }
  }

  async #isWhole(): Promise<boolean> {
    const file = await this.#disk.open(this.#path, 'read');
    try {
      return (await file.byteLength()) === DISK_RESERVE_BYTES;
    } finally {
      await file.close();
    }
  }

  async #fill(): Promise<void> {
    const file = await this.#disk.open(this.#path, 'create');
    try {
      const written = await file.write([new Uint8Array(DISK_RESERVE_BYTES)], 0);
      if (written < DISK_RESERVE_BYTES) throw new DiskFault('full', this.#path);
      await file.sync();
    } finally {
      await file.close();
    }
  }

  /** False where nothing was set aside. */
  async #giveUp(): Promise<boolean> {
    if (!(await this.#disk.exists(this.#path))) return false;
    await this.#disk.removeFile(this.#path);
    return true;
  }
}
