// Recorded histories with known verdicts: our judge of linearizability must agree with every one of them before its word counts.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { areLinearizable, isLinearizable, type Operation } from '../history/linearizability.ts';
import {
  register,
  type RegisterInput,
  type RegisterOutput,
  text,
  type TextInput,
  type TextOutput,
} from '../history/objects.ts';

const FOLDER = fileURLToPath(new URL('../../../shared/outside/porcupine', import.meta.url));
const isThere = existsSync(FOLDER);
if (!isThere) console.warn('SKIPPED: the recorded histories are not there (../shared/outside/porcupine)');

/** Calls that wait for their answers, by process, in the order of the lines. */
class Pairing<Input, Output> {
  readonly #open = new Map<string, { readonly input: Input; readonly calledAt: number }>();
  readonly operations: Operation<Input, Output>[] = [];
  #line = 0;

  call(process: string, input: Input): void {
    if (this.#open.has(process)) throw new Error(`process ${process} calls twice`);
    this.#open.set(process, { input, calledAt: this.#line++ });
  }

  answer(process: string, outputOf: (input: Input) => Output | 'never-happened' | undefined): void {
    const call = this.#open.get(process);
    if (call === undefined) throw new Error(`an answer to nothing for process ${process}`);
    this.#open.delete(process);
    const output = outputOf(call.input);
    if (output !== 'never-happened') this.operations.push({ ...call, output, answeredAt: this.#line++ });
  }

  /** Whoever never got an answer. */
  finish(): Operation<Input, Output>[] {
    for (const call of this.#open.values()) {
      this.operations.push({ ...call, output: undefined, answeredAt: Number.POSITIVE_INFINITY });
    }
    this.#open.clear();
    return this.operations;
  }
}

const numberOf = (word: string): number => {
  if (!/^\d+$/.test(word)) throw new Error(`not a number: ${word}`);
  return Number(word);
};

const registerInput = (verb: string, argument: string): RegisterInput => {
  if (verb === 'read') return { kind: 'read' };
  if (verb === 'write') return { kind: 'write', value: numberOf(argument) };
  const [expected = '', value = ''] = argument.slice(1, -1).split(' ');
  return { kind: 'compare-and-set', expected: numberOf(expected), value: numberOf(value) };
};

const parseRegisterHistory = (content: string): Operation<RegisterInput, RegisterOutput>[] => {
  const pairing = new Pairing<RegisterInput, RegisterOutput>();
  for (const line of content.split('\n')) {
    const match = /jepsen\.util - (\d+)\s+:(invoke|ok|fail|info)\s+:(read|write|cas)\s+(.+)$/.exec(line);
    if (match === null) continue;
    const [, process = '', type = '', verb = '', argument = ''] = match;
    if (type === 'invoke') {
      pairing.call(process, registerInput(verb, argument));
      continue;
    }
    pairing.answer(process, ({ kind }) => {
      // Without an answer: what reads only never happened, what writes may still.
      if (argument === ':timed-out') return kind === 'read' ? 'never-happened' : undefined;
      if (kind === 'compare-and-set') return { done: type === 'ok' };
      if (kind === 'write') return 'written';
      return { read: argument === 'nil' ? null : numberOf(argument) };
    });
  }
  return pairing.finish();
};

const parseTextHistories = (content: string): Operation<TextInput, TextOutput>[][] => {
  const byKey = new Map<string, Pairing<TextInput, TextOutput>>();
  for (const line of content.split('\n')) {
    const match = /^\{:process (\d+), :type :(invoke|ok), :f :(get|put|append), :key "(.*)", :value (.*)\}$/.exec(line);
    if (match === null) continue;
    const [, process = '', type = '', verb = '', key = '', quoted = ''] = match;
    let pairing = byKey.get(key);
    if (pairing === undefined) byKey.set(key, (pairing = new Pairing()));
    const value = quoted === 'nil' ? '' : quoted.slice(1, -1);
    if (type === 'invoke')
      pairing.call(process, verb === 'get' ? { kind: 'get' } : { kind: verb as 'put', text: value });
    else pairing.answer(process, ({ kind }) => (kind === 'get' ? value : 'written'));
  }
  return Array.from(byKey.values(), pairing => pairing.finish());
};

describe.skipIf(!isThere)('recorded histories', () => {
  test('of a register are judged as they were: 102 of 102', () => {
    const verdicts = readFileSync(path.join(FOLDER, 'verdicts.txt'), 'utf8').trim().split('\n');
    const wrong: string[] = [];
    for (const line of verdicts) {
      const [file = '', verdict = ''] = line.split(' ');
      const operations = parseRegisterHistory(readFileSync(path.join(FOLDER, 'test_data/jepsen', file), 'utf8'));
      if (operations.length < 5) wrong.push(`${file} was not read`);
      if (String(isLinearizable(register, operations)) !== verdict) wrong.push(`${file} is ${verdict}`);
    }
    expect(wrong).toEqual([]);
    expect(verdicts).toHaveLength(102);
  });

  test('of growing texts are judged as their names say', () => {
    const folder = path.join(FOLDER, 'test_data/kv');
    const files = readdirSync(folder);
    expect(files).toHaveLength(6);
    for (const file of files) {
      const histories = parseTextHistories(readFileSync(path.join(folder, file), 'utf8'));
      expect(histories.length, file).toBeGreaterThan(1);
      expect(areLinearizable(text, histories), file).toBe(file.endsWith('-ok.txt'));
    }
  });
});
