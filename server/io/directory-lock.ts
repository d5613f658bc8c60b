// One process per data directory. The lock is held by a listening socket, so the kernel frees it when the process dies, however it
// dies: a lock left behind by kill -9 never refuses a start.

export interface DirectoryLock {
  /** False when somebody else took the directory over, which can happen only while it is being locked. */
  isHeld(): Promise<boolean>;
  release(): Promise<void>;
}

export interface DirectoryLocks {
  /** Null when another process holds the directory. */
  acquire(directory: string): Promise<DirectoryLock | null>;
}
