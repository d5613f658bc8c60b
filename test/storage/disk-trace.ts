// What a log asked of its disk, in order, as short lines: `write 00000000000000000000.log 0+120`.

import { type DiskCall, type Fate, type SimulatedDisk, usual } from '../simulation/disk.ts';

const nameOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1);

const lineOf = (call: DiskCall): string => {
  if (call.kind === 'write' || call.kind === 'read') {
    return `${call.kind} ${nameOf(call.path)} ${call.position}+${call.byteLength}`;
  }
  return call.kind === 'truncate'
    ? `truncate ${nameOf(call.path)} ${call.position}`
    : `${call.kind} ${nameOf(call.path)}`;
};

/** Records calls from here on; `fate` decides over each as the disk's own judge would. */
export const traceDisk = (disk: SimulatedDisk, fate: (call: DiskCall) => Fate = () => usual): string[] => {
  const lines: string[] = [];
  disk.judge = call => {
    lines.push(lineOf(call));
    return fate(call);
  };
  return lines;
};

/** Lines about record data alone: log files, without looking at them. */
export const changesOfLogs = (lines: readonly string[]): string[] =>
  lines.filter(line => line.includes('.log') && !/^(?:byte-length|exists|read|close)/.test(line));
