// The disk as one life of a node sees it: what completes while the process stands still is noticed when it goes on.

import type { Disk, DiskFile } from '../../server/io/disk.ts';
import type { Stall } from './node-clock.ts';

export const diskOf = (disk: Disk, stall: Stall): Disk => ({
  open: async (path, mode) => fileOf(await stall.hold(disk.open(path, mode)), stall),
  readFile: path => stall.hold(disk.readFile(path)),
  list: directory => stall.hold(disk.list(directory)),
  makeDirectory: path => stall.hold(disk.makeDirectory(path)),
  rename: (from, to) => stall.hold(disk.rename(from, to)),
  removeFile: path => stall.hold(disk.removeFile(path)),
  removeDirectory: path => stall.hold(disk.removeDirectory(path)),
  syncDirectory: path => stall.hold(disk.syncDirectory(path)),
  exists: path => stall.hold(disk.exists(path)),
  freeBytes: path => stall.hold(disk.freeBytes(path)),
});

const fileOf = (file: DiskFile, stall: Stall): DiskFile => ({
  path: file.path,
  read: (target, position) => stall.hold(file.read(target, position)),
  write: (buffers, position) => stall.hold(file.write(buffers, position)),
  sync: () => stall.hold(file.sync()),
  truncate: byteLength => stall.hold(file.truncate(byteLength)),
  byteLength: () => stall.hold(file.byteLength()),
  close: () => stall.hold(file.close()),
});
