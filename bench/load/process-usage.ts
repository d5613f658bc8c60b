// What a process used, as Linux tells it: resident memory and processor time. Elsewhere the answer is null, and who asks
// says so instead of a figure.

import { readFileSync } from 'node:fs';

const KIB = 1024;
/** A tick of the processor times in /proc: 10 ms on every Linux that Node runs on. */
const TICK_MS = 10;
/** Positions after the name in /proc/PID/stat, which may itself hold spaces. */
const USER_TICKS = 11;
const SYSTEM_TICKS = 12;
const CHILDREN_USER_TICKS = 13;
const CHILDREN_SYSTEM_TICKS = 14;

/** Bytes in memory now. */
export const residentBytes = (pid: number): number | null => {
  const found = /^VmRSS:\s+(\d+) kB/m.exec(read(`/proc/${pid}/status`) ?? '');
  return found === null ? null : Number(found[1]) * KIB;
};

/** Milliseconds of processor time since the process began, all its threads together. */
export const processorMs = (pid: number): number | null => ticks(pid, USER_TICKS, SYSTEM_TICKS);

/** The same of its children that have ended, all together. */
export const endedChildrenMs = (pid: number): number | null => ticks(pid, CHILDREN_USER_TICKS, CHILDREN_SYSTEM_TICKS);

const ticks = (pid: number, user: number, system: number): number | null => {
  const text = read(`/proc/${pid}/stat`);
  if (text === null) return null;
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[user]) + Number(fields[system])) * TICK_MS;
};

const read = (path: string): string | null => {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return null;
  }
};
