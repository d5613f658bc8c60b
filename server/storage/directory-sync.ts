// Makes names in one folder durable, for many who made some at once: whoever asks while a sync is under way shares the next one.

import type { Disk } from '../io/disk.ts';

export class DirectorySync {
  readonly #disk: Disk;
  readonly #directory: string;
  /** How often somebody asked, and of how many the names are durable. */
  #asked = 0;
  #synced = 0;
  #running: Promise<void> | null = null;

  constructor(disk: Disk, directory: string) {
    this.#disk = disk;
    this.#directory = directory;
  }

  /** Names that were made or removed before the call are durable when this returns. */
  async sync(): Promise<void> {
    const mine = ++this.#asked;
    while (this.#synced < mine) {
      this.#running ??= this.#run();
      await this.#running;
    }
  }

  async #run(): Promise<void> {
    const asked = this.#asked;
    try {
      await this.#disk.syncDirectory(this.#directory);
      this.#synced = asked;
    } finally {
      this.#running = null;
    }
  }
}
