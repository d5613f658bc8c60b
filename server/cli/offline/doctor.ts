// `sluice doctor`: is a data directory as it should be? And with --accept-loss: damaged records are given up.
//
// Only a stopped broker's directory is looked at: a running one writes its files and its store in an order that no reader
// from outside can follow, so its healthy files would look damaged. The directory is locked meanwhile, by the same lock as a
// broker's; where that is not possible because nothing may be written there, nobody can be writing either.
//
// One line a finding:   damage orders-0/00000000000000000000.log at 122, offsets 1 to 1: what it means; what to do
// Exit code 0: healthy (notes are no faults), 1: findings; with --accept-loss 0 when the rest is healthy.

import { relative, resolve } from 'node:path';
import { createLogger } from '../../base/logger.ts';
import { StartRefusal } from '../../base/start-refusal.ts';
import { type KeptTopic, readKeptTopics } from '../../broker/kept-topics.ts';
import { topicSettings } from '../../broker/topic-settings.ts';
import { DiskFault } from '../../io/disk.ts';
import { realClock } from '../../io/real/clock.ts';
import { realDirectoryLocks } from '../../io/real/directory-lock.ts';
import { realDisk } from '../../io/real/disk.ts';
import { realRandom } from '../../io/real/random.ts';
import { DataDirectory, readIdentity, storeKey } from '../../storage/data-directory.ts';
import type { Finding } from '../../storage/finding.ts';
import { CHECKPOINT_MISFIT } from '../../storage/log-check.ts';
import { type AcceptedLoss, acceptLoss } from '../../storage/loss.ts';
import { partitionDirectoryName } from '../../storage/segment-name.ts';
import type { CommandContext } from '../command.ts';
import { isConfirmed } from '../confirmation.ts';
import { CommandFailure, failure, withoutControls } from '../failure.ts';
import { Progress } from '../progress.ts';
import { checkDirectory, type DirectoryCounts } from './directory-check.ts';

export const doctor = async (context: CommandContext): Promise<number> => {
  const { invocation, terminal } = context;
  const directory = resolve(invocation.optional('data-dir') ?? terminal.environment['SLUICE_DATA_DIR'] ?? './data');
  const accepts = invocation.isOn('accept-loss');
  const topic = invocation.optional('topic');
  const partition = invocation.integer('partition');
  if (!accepts && (topic !== null || partition !== null || invocation.isOn('yes'))) {
    throw invocation.misused('--topic, --partition and --yes go with --accept-loss');
  }
  if (partition !== null && topic === null) throw invocation.misused('--partition goes with --topic');
  try {
    if (!(await realDisk.exists(directory)))
      throw failure(`there is no data directory ${directory}; name it with --data-dir`);
    const examination = await examine(context, directory);
    if (!accepts) return await report(context, directory, { ...examination, losses: null });
    const losses = await giveUp(context, directory, { topic, partition, findings: examination.findings });
    if (losses === null) {
      terminal.note('nothing was given up\n');
      return 0;
    }
    return await report(context, directory, { ...(await examine(context, directory)), losses });
  } catch (error) {
    if (error instanceof StartRefusal) throw failure(error.message, error);
    if (error instanceof DiskFault) throw failure(`cannot use ${error.path} (${error.kind})`, error);
    throw error;
  }
};

interface Examination {
  readonly findings: readonly Finding[];
  readonly counts: DirectoryCounts;
}

const examine = async ({ terminal }: CommandContext, directory: string): Promise<Examination> => {
  const lock = await realDirectoryLocks.acquire(directory).catch((fault: unknown) => {
    if (fault instanceof DiskFault && fault.kind === 'not-writable') return 'unneeded' as const;
    throw fault;
  });
  if (lock === null) throw failure(`a broker holds the data directory ${directory}; stop it first`);
  const progress = new Progress(terminal);
  const findings: Finding[] = [];
  try {
    let partitions = 0;
    const counts = await checkDirectory({
      disk: realDisk,
      directory,
      found: finding => findings.push(finding),
      isOver: () => {
        progress.tick(() => `${++partitions} partitions examined`);
        return terminal.interrupted.aborted;
      },
    });
    return { findings, counts };
  } finally {
    progress.end();
    if (lock !== 'unneeded') await lock.release();
  }
};

interface Report extends Examination {
  /** Null where nothing was to be given up. */
  readonly losses: readonly AcceptedLoss[] | null;
}

const report = async (
  context: CommandContext,
  directory: string,
  { findings, counts, losses }: Report,
): Promise<number> => {
  const { invocation, terminal } = context;
  const faults = findings.filter(finding => finding.grade !== 'note');
  if (invocation.text('output') === 'json') {
    const document = {
      data_dir: directory,
      healthy: faults.length === 0,
      ...(losses === null ? {} : { accepted_losses: losses.map(loss => lossObject(directory, loss)) }),
      findings: findings.map(finding => findingObject(directory, finding)),
      checked: counts,
    };
    await terminal.print(`${JSON.stringify(document, null, 2)}\n`);
  } else {
    for (const loss of losses ?? []) await terminal.print(lossLine(directory, loss));
    for (const finding of findings) await terminal.print(findingLine(directory, finding));
    const notes = findings.length - faults.length;
    const verdict = faults.length === 0 ? 'healthy' : counted(faults.length, 'finding');
    await terminal.print(`${summary(counts)}: ${verdict}${notes === 0 ? '' : `, ${counted(notes, 'note')}`}\n`);
  }
  return faults.length === 0 ? 0 : 1;
};

const counted = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`;

const summary = (counts: DirectoryCounts): string =>
  `checked ${[
    counted(counts.topics, 'topic'),
    counted(counts.partitions, 'partition'),
    counted(counts.segments, 'segment'),
    `${counts.batches} ${counts.batches === 1 ? 'batch' : 'batches'}`,
    counted(counts.records, 'record'),
    counted(counts.bytes, 'byte'),
  ].join(', ')}`;

const span = ({ from, to }: { readonly from: number; readonly to: number }): string =>
  from < to ? `offsets ${from} to ${to - 1}` : `before offset ${from}`;

const findingLine = (directory: string, finding: Finding): string => {
  const { grade, file, position, offsets, meaning, advice } = finding;
  const at = position === null ? '' : ` at ${position}`;
  const which = offsets === null ? '' : `, ${span(offsets)}`;
  return `${withoutControls(`${grade} ${relative(directory, file)}${at}${which}: ${meaning}; ${advice}`)}\n`;
};

const findingObject = (directory: string, finding: Finding): object => ({
  grade: finding.grade,
  file: relative(directory, finding.file),
  position: finding.position,
  first_offset: finding.offsets?.from ?? null,
  last_offset: finding.offsets === null ? null : finding.offsets.to - 1,
  meaning: finding.meaning,
  advice: finding.advice,
});

const lossLine = (directory: string, loss: AcceptedLoss): string => {
  const kept = loss.evidence === null ? 'there were no bytes to keep' : `kept in ${relative(directory, loss.evidence)}`;
  const where = relative(directory, loss.file);
  return `${withoutControls(`lost ${where}, ${span(loss)}, ${counted(loss.bytes, 'byte')}: ${loss.reason}; ${kept}`)}\n`;
};

const lossObject = (directory: string, loss: AcceptedLoss): object => ({
  file: relative(directory, loss.file),
  first_offset: loss.from,
  last_offset: loss.to - 1,
  bytes: loss.bytes,
  reason: loss.reason,
  evidence: loss.evidence === null ? null : relative(directory, loss.evidence),
});

interface Choice {
  readonly topic: string | null;
  readonly partition: number | null;
  readonly findings: readonly Finding[];
}

/** Turns what is damaged into gaps; null where the question was answered with no. */
const giveUp = async (
  context: CommandContext,
  directory: string,
  choice: Choice,
): Promise<readonly AcceptedLoss[] | null> => {
  const identity = await readIdentity(realDisk, directory);
  if (identity === null) throw failure(`${directory} has no meta.json; restore it from a copy first`);
  const chosen = await chosenPartitions(directory, choice);
  const contradicted = choice.findings.find(({ meaning }) => meaning === CHECKPOINT_MISFIT);
  if (contradicted !== undefined) {
    // Good batches would look damaged, and would be given up.
    throw failure(`${contradicted.file} cannot be relied on; ${contradicted.advice}, then run the doctor again`);
  }
  const damage = choice.findings.filter(({ grade, offsets }) => grade === 'damage' && offsets !== null);
  for (const finding of damage) context.terminal.note(findingLine(directory, finding));
  const where = choice.topic === null ? directory : `${choice.topic} in ${directory}`;
  const question = `Give up what is damaged of ${where}? The records cannot be got back.`;
  if (!(await isConfirmed(context, question))) return null;
  const logger = createLogger('warn');
  const opened = await DataDirectory.open({
    disk: realDisk,
    clock: realClock,
    random: realRandom,
    locks: realDirectoryLocks,
    path: directory,
    nodeId: identity.nodeId,
    logger,
    onSync() {},
    // The flush that failed rejects as well, and ends the command.
    storeFailed() {},
  });
  const losses: AcceptedLoss[] = [];
  try {
    for (const { topic, partition } of chosen) {
      const name = { topic: topic.name, topicId: topic.id, partition };
      const request = {
        context: opened.context,
        directory: resolve(directory, partitionDirectoryName(topic.name, partition)),
        key: storeKey(name),
        open: () => opened.openLog(name, topicSettings(topic.config, {}).log, { durable() {}, dropped() {} }),
      };
      for (const loss of await acceptLoss(request)) {
        logger.warn({ topic: topic.name, partition, ...loss }, 'damaged records were given up: the range is a gap now');
        losses.push(loss);
      }
    }
  } finally {
    await opened.close();
  }
  return losses;
};

const chosenPartitions = async (
  directory: string,
  choice: Choice,
): Promise<readonly { readonly topic: KeptTopic; readonly partition: number }[]> => {
  const { topics } = await readKeptTopics(realDisk, directory, createLogger('silent'));
  if (choice.topic !== null && !topics.has(choice.topic)) {
    throw new CommandFailure({
      exitCode: 1,
      code: 'TOPIC_NOT_FOUND',
      message: `there is no topic "${choice.topic}" in ${directory}`,
    });
  }
  // Without its records the metadata would forget topics: they are given up only by that name.
  const all = [...topics.values()].filter(topic =>
    choice.topic === null ? !topic.isMetadata : topic.name === choice.topic,
  );
  const partitions = all.flatMap(topic => topic.partitions.map(partition => ({ topic, partition })));
  const { partition: wanted } = choice;
  const chosen = wanted === null ? partitions : partitions.filter(({ partition }) => partition === wanted);
  if (chosen.length > 0 || wanted === null) return chosen;
  throw new CommandFailure({
    exitCode: 1,
    code: 'PARTITION_NOT_FOUND',
    message: `topic "${choice.topic}" has no partition ${wanted}`,
  });
};
