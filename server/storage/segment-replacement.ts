// New files take the place of sealed segments that follow each other: one segment instead of one or more, from the first one's base to the
// last one's end.
//
//   <base>.log.new, <base>.index.new, <base>.timeindex.new     while they are written, and until they have their names
//
// Each step is durable before the next:
//
//   1. the new files under names of their own
//   2. the mark `replace` in the store, which is the seal of the new segment: decided; from here on a crash leads to the new segment
//   3. the new files under the names of the first old segment; then the other old ones are removed
//   4. the seal of the new segment, none of the old ones, and with the last line of the same flush the mark goes
//
// Before step 2 a crash leaves the old segments and files that nobody reads, which the next start removes. After it every step can be taken
// again: a new file that is still there has not got its name, and one that is not there has.
//
// Readers: the new segment is in the log, under the names of step 1, before the first file is renamed, and whoever holds an old file reads
// on in it. A reader that opens a file by a name which changes hands meanwhile finds what it did not expect, sees that something was replaced
// (OpenLog.replacements), and begins again.

import path from 'node:path';
import { assert } from '../base/assert.ts';
import { type Disk, DiskFault } from '../io/disk.ts';
import type { LogContext } from './log-context.ts';
import type { LogFailures } from './log-failures.ts';
import { type LogMarks, type MarksView, sealedMarkOf } from './log-marks.ts';
import type { LogPump } from './log-pump.ts';
import { SyncFailure } from './log-sync.ts';
import type { OpenLog } from './open-log.ts';
import { Segment } from './segment.ts';
import { removeSegmentFiles } from './segment-files.ts';
import { NEW_SUFFIX, parseSegmentFileName } from './segment-name.ts';

/** A segment whose files are written beside those that they will replace. */
export const newSegment = (directory: string, baseOffset: Segment['baseOffset']): Segment =>
  new Segment(directory, baseOffset, NEW_SUFFIX);

export interface ReplacementParts {
  readonly log: OpenLog;
  readonly pump: LogPump;
  readonly failures: LogFailures;
}

/**
 * Puts a segment whose three files are written and synced in the place of others. False, and nothing is changed, where these are not in the
 * log any more: retention, a cut or a snapshot came first. A disk that refuses poisons the log, as every change of files does that was begun
 * and not finished.
 */
export const replaceSegments = (
  { log, pump, failures }: ReplacementParts,
  replaced: readonly Segment[],
  replacement: Segment,
): Promise<boolean> =>
  pump.exclusively(async () => {
    const first = log.segments.indexOf(replaced[0]!);
    const isThere = first >= 0 && replaced.every((segment, index) => log.segments[first + index] === segment);
    if (!isThere || log.state === 'closed' || log.state === 'failed') return false;
    assert(replacement.endOffset === replaced.at(-1)!.endOffset, 'a replacement spans what it replaces');
    assert(
      replaced.every(segment => segment.indexes === null),
      'only sealed segments are replaced',
    );
    const { marks } = log;
    const { disk, indexCache } = log.context;
    try {
      // Indexes that are being built again for an old one must not be written over those of the new one.
      for (const segment of replaced) await indexCache.retire(segment);
      await disk.syncDirectory(log.directory);
      marks.setReplacement(sealedMarkOf(replacement));
      await marks.flush();
      replacement.exists = true;
      log.segments.splice(first, replaced.length, replacement);
      log.tail.dropBelow(replacement.endOffset);
      log.replacements++;
      await takeNames(disk, replacement);
      const closed = nameAnew(log.context, replaced[0]!, replacement);
      log.replacements++;
      await closed;
      for (const segment of replaced.slice(1)) await removeSegmentFiles(log.context, segment);
      await disk.syncDirectory(log.directory);
      for (const segment of replaced) marks.removeSealed(segment.baseOffset);
      marks.setSealed(sealedMarkOf(replacement));
      marks.setReplacement(null);
      await marks.flush();
      return true;
    } catch (cause) {
      await failures.writeFailed(new SyncFailure(cause));
      throw cause;
    }
  });

/** In one step: whoever opens the names from here on is given the new files. */
const nameAnew = (context: LogContext, old: Segment, replacement: Segment): Promise<unknown> => {
  context.indexCache.forget(old);
  const closing = [old, replacement].flatMap(({ logPath, offsetIndexPath, timeIndexPath }) =>
    [logPath, offsetIndexPath, timeIndexPath].map(file => context.files.forget(file)),
  );
  replacement.takeNamesOf(old);
  replacement.indexes = null;
  return Promise.all(closing);
};

const takeNames = async (disk: Disk, { logPath, offsetIndexPath, timeIndexPath }: Segment): Promise<void> => {
  for (const file of [offsetIndexPath, timeIndexPath, logPath]) await takeName(disk, file);
};

const takeName = async (disk: Disk, file: string): Promise<void> => {
  assert(file.endsWith(NEW_SUFFIX), 'a new file has a name of its own');
  try {
    await disk.rename(file, file.slice(0, -NEW_SUFFIX.length));
  } catch (fault) {
    if (!(fault instanceof DiskFault && fault.kind === 'not-found')) throw fault;
  }
};

/** Before recovery, which removes new files that nothing was decided about: carries out what was decided. */
export const finishReplacement = async (context: LogContext, directory: string, marks: LogMarks): Promise<void> => {
  const { disk } = context;
  const decided = marks.replacement();
  if (decided === null) return;
  await takeNames(disk, newSegment(directory, decided.baseOffset));
  for (const { name } of await disk.list(directory)) {
    const parsed = parseSegmentFileName(name);
    const isReplaced =
      parsed !== null && parsed.baseOffset > decided.baseOffset && parsed.baseOffset < decided.endOffset;
    if (isReplaced) await disk.removeFile(path.join(directory, name));
  }
  await disk.syncDirectory(directory);
  for (const base of marks.sealedBases()) {
    if (base > decided.baseOffset && base < decided.endOffset) marks.removeSealed(base);
  }
  marks.setSealed(decided);
  marks.setReplacement(null);
  await marks.flush();
};

/** For whoever looks and changes nothing: the segments of a folder as the next start makes them. */
export const withReplacement = (
  marks: MarksView,
  files: { readonly directory: string; readonly names: ReadonlySet<string> },
  segments: readonly Segment[],
): Segment[] => {
  const decided = marks.replacement();
  if (decided === null) return [...segments];
  const { baseOffset, endOffset } = decided;
  const kept = segments.filter(segment => segment.baseOffset <= baseOffset || segment.baseOffset >= endOffset);
  const first = kept.find(segment => segment.baseOffset === baseOffset) ?? new Segment(files.directory, baseOffset);
  const fresh = newSegment(files.directory, baseOffset);
  const isThere = (file: string): boolean => files.names.has(path.basename(file));
  first.takeNamesOf({
    logPath: isThere(fresh.logPath) ? fresh.logPath : first.logPath,
    offsetIndexPath: isThere(fresh.offsetIndexPath) ? fresh.offsetIndexPath : first.offsetIndexPath,
    timeIndexPath: isThere(fresh.timeIndexPath) ? fresh.timeIndexPath : first.timeIndexPath,
  });
  return kept.includes(first) ? kept : [...kept, first];
};
