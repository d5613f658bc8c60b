// The test data of etcd-io/raft: commands, `----`, and what came out, in the form of Go's datadriven package. It is no part
// of this repository and is looked for beside it.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const FOLDER = new URL('../../../shared/outside/etcd-raft/', import.meta.url).pathname;

export interface EtcdCase {
  readonly file: string;
  /** Where the command stands. */
  readonly line: number;
  readonly command: string;
  /** `name=value`, `name=(a,b)` and bare words, in order; a bare word has itself as its only value. */
  readonly words: readonly EtcdWord[];
  /** Lines between the command and the rule. */
  readonly input: readonly string[];
  readonly expected: string;
}

export interface EtcdWord {
  readonly name: string;
  /** Null for a bare word. */
  readonly values: readonly string[] | null;
}

/** Why the data cannot be read; null where it can. */
export const etcdDataMissing = (): string | null =>
  existsSync(FOLDER) ? null : 'the data of etcd-io/raft is not beside the project (../shared/outside/etcd-raft)';

/** `part`: 'quorum', 'confchange', or '' for the scenarios of whole groups. */
export function casesOf(part: string): EtcdCase[] {
  const place = join(FOLDER, part, 'testdata');
  return readdirSync(place)
    .filter(name => name.endsWith('.txt'))
    .sort()
    .flatMap(name => parse(name, readFileSync(join(place, name), 'utf8')));
}

export function parse(file: string, text: string): EtcdCase[] {
  const lines = text.split('\n');
  const cases: EtcdCase[] = [];
  let at = 0;
  while (at < lines.length) {
    if (isBlank(lines[at])) {
      at++;
      continue;
    }
    const begin = at;
    const [head = '', ...input] = takeUntil(lines, begin, line => line === '----');
    at = begin + 1 + input.length + 1;
    // Output that holds empty lines stands between doubled rules; otherwise it ends with the first empty line.
    const isFenced = lines[at] === '----';
    if (isFenced) at++;
    const expected = takeUntil(lines, at, isFenced ? line => line === '----' : line => line.trim() === '');
    at += expected.length + (isFenced ? 2 : 1);
    const { command, words } = splitCommand(head);
    cases.push({
      file,
      line: begin + 1,
      command,
      words,
      input: input.map(line => line.trim()).filter(line => !isBlank(line)),
      expected: expected.join('\n'),
    });
  }
  return cases;
}

const isBlank = (line: string | undefined): boolean => line === undefined || line.trim() === '' || line.startsWith('#');

function takeUntil(lines: readonly string[], from: number, isEnd: (line: string) => boolean): string[] {
  const end = lines.findIndex((line, index) => index >= from && isEnd(line));
  return lines.slice(from, end < 0 ? lines.length : end);
}

function splitCommand(head: string): { command: string; words: EtcdWord[] } {
  const [command = '', ...rest] = head.match(/[^\s=]+=\([^)]*\)|\S+/g) ?? [];
  const words = rest.map(word => {
    const match = /^([^=]+)=(.*)$/.exec(word);
    if (match === null) return { name: word, values: null };
    const [, name = '', value = ''] = match;
    const inner = /^\((.*)\)$/.exec(value)?.[1] ?? value;
    return {
      name,
      values: inner
        .split(',')
        .map(each => each.trim())
        .filter(each => each !== ''),
    };
  });
  return { command, words };
}

export const valuesOf = (one: EtcdCase, name: string): readonly string[] | null =>
  one.words.find(word => word.name === name)?.values ?? null;
