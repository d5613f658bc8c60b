// Kafka's own classes as a judge: reads segments that we wrote, writes segments for us to read.
//
// prepareKafka builds the small Maven project of test/outside/kafka (into .work/kafka-judge, once) or says why it cannot.
// `inspect` sends all files through one JVM. DumpLogSegments exits 0 whatever it finds, so its lines are judged here;
// and a file that it did not really read (no verdict, another number of batches) is a finding too.

import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { outcomeOf } from './tool.ts';

const PROJECT = new URL('kafka/', import.meta.url).pathname;
const BUILD = new URL('../../.work/kafka-judge/', import.meta.url).pathname;
const RESOLVE_MS_MAX = 240_000;

/** What Kafka read in one batch of a log. `sha256` covers every record of it; see digestOfRecords. */
export interface BatchDigest {
  readonly baseOffset: number;
  readonly lastOffset: number;
  readonly recordCount: number;
  readonly sha256: string;
}

export interface FileReport {
  /** What Kafka holds against the file, in its words; empty for a sound file. */
  readonly findings: string[];
  /** Of a log: what Kafka decoded. */
  readonly batches: BatchDigest[];
  /** Batches of a log, entries of an index, as DumpLogSegments printed them, a line each. */
  readonly entries: string[];
}

export type PreparedKafka = { ok: true; kafka: KafkaJudge } | { ok: false; reason: string };

export async function prepareKafka(): Promise<PreparedKafka> {
  for (const [tool, argument] of [
    ['java', '-version'],
    ['mvn', '-v'],
  ] as const) {
    const outcome = await outcomeOf(tool, [argument], { timeoutMs: 30_000 });
    if (outcome.status !== 0) return { ok: false, reason: `${tool} is not installed` };
  }
  const build = await outcomeOf('mvn', ['-q', '-B', 'compile'], { cwd: PROJECT, timeoutMs: RESOLVE_MS_MAX });
  if (build.status !== 0) {
    return { ok: false, reason: `Maven could not build test/outside/kafka: ${build.output.slice(0, 400)}` };
  }
  const libraries = (await readFile(`${BUILD}classpath.txt`, 'utf8')).trim();
  return { ok: true, kafka: new KafkaJudge(`${BUILD}classes:${libraries}`) };
}

export class KafkaJudge {
  private readonly classpath: string;

  constructor(classpath: string) {
    this.classpath = classpath;
  }

  /** Has Kafka write segments of every shape below `directory`, their descriptions beside them. */
  async write(directory: string, seed: number): Promise<void> {
    const outcome = await outcomeOf('java', this.arguments('write', directory, `${seed}`), { timeoutMs: 60_000 });
    if (outcome.status !== 0) throw new Error(`Kafka could not write segments: ${outcome.output}`);
  }

  /** One report a file, whatever is in it. The files are .log, .index and .timeindex. */
  async inspect(files: readonly string[]): Promise<Map<string, FileReport>> {
    const mark = `=== ${randomUUID()}`;
    const reports = new Map<string, FileReport>(files.map(file => [file, { findings: [], batches: [], entries: [] }]));
    const java = spawn('java', this.arguments('inspect', mark), { stdio: ['pipe', 'pipe', 'inherit'] });
    const exited = new Promise<number | null>((resolve, reject) => {
      java.on('error', reject);
      java.on('close', resolve);
    });
    java.stdin.end(files.map(file => `${file}\n`).join(''));

    let step: Step | null = null;
    let ended = false;
    // Records are printed as they are, so the output is no text: one character a byte keeps the lines apart.
    java.stdout.setEncoding('latin1');
    for await (const line of createInterface({ input: java.stdout, crlfDelay: Number.POSITIVE_INFINITY })) {
      if (!line.startsWith(mark)) {
        step?.take(line);
        continue;
      }
      const [, verb = '', rest = ''] = /^ (\w+) ?(.*)$/.exec(line.slice(mark.length)) ?? [];
      if (verb === 'threw') {
        step?.threw(rest);
        continue;
      }
      step?.close();
      const report = reports.get(Buffer.from(rest, 'latin1').toString('utf8'));
      step = report === undefined ? null : new Step(verb, report);
      ended = verb === 'end';
    }
    const status = await exited;
    if (status !== 0 || !ended) throw new Error(`the JVM ended early, with status ${status}`);
    return reports;
  }

  private arguments(...words: string[]): string[] {
    return [
      '-XX:+UseSerialGC',
      '-XX:TieredStopAtLevel=1',
      '-Xmx1g',
      '-cp',
      this.classpath,
      'sluice.outside.KafkaJudge',
      ...words,
    ];
  }
}

/** Lines of DumpLogSegments that name damage; each stands at the start of a line. */
const ACCUSATIONS = [
  /^baseOffset: .* isvalid: false/,
  /^Found \d+ invalid bytes at the end of /,
  /^Mismatches in :/,
  /^Found timestamp mismatch in :/,
  /^Found out of order timestamp in :/,
  /^The following indexed offsets are not found/,
  /^Ignoring unknown file /,
];

/** One step of the inspection of one file. */
class Step {
  private readonly verb: string;
  private readonly report: FileReport;
  private passedSanity = false;
  private inGapList = false;

  constructor(verb: string, report: FileReport) {
    this.verb = verb;
    this.report = report;
  }

  take(line: string): void {
    if (this.verb === 'digest') {
      const [baseOffset, lastOffset, recordCount, sha256 = ''] = line.split(' ');
      this.report.batches.push({
        baseOffset: Number(baseOffset),
        lastOffset: Number(lastOffset),
        recordCount: Number(recordCount),
        sha256,
      });
      return;
    }
    // An empty offset index is sound, and said to be empty.
    if (/( passed sanity check|\.index is empty)\.$/.test(line)) this.passedSanity = true;
    if (this.verb === 'dump' && /^(baseOffset: |offset: \d+ position: |timestamp: -?\d+ offset: )/.test(line)) {
      this.report.entries.push(line);
    }
    if (ACCUSATIONS.some(pattern => pattern.test(line))) this.report.findings.push(line);
    // A segment that does not start at 0 begins its list with "-1 is followed by"; any other gap is a finding.
    if (line.startsWith('Non-consecutive offsets in ')) this.inGapList = true;
    else if (this.inGapList && / is followed by /.test(line)) {
      if (!/^\s*-1 is followed by /.test(line)) this.report.findings.push(`Non-consecutive offsets: ${line.trim()}`);
    } else this.inGapList = false;
  }

  threw(what: string): void {
    this.report.findings.push(`${this.verb} threw ${what}`);
  }

  close(): void {
    const { batches, entries, findings } = this.report;
    if (this.verb === 'sanity' && !this.passedSanity) findings.push('the index did not pass the sanity check');
    if (this.verb === 'digest' && batches.length !== entries.length) {
      findings.push(`${entries.length} batches dumped, ${batches.length} decoded`);
    }
  }
}
