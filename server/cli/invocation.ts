// A command line taken apart: which command, its arguments, its flags. And the parser that does it, from the table.
//
//   sluice topic create orders --partitions 3 --config retention.ms=1000 -o json
//          `-- path --' `arg-' `---- flag --' `------- list flag -----'  `short'
//
// Flags may stand anywhere after the command, as `--flag value` or `--flag=value`; `--` ends them. A flag that is
// unknown, given twice, without its value or out of its bounds is wrong usage (CommandFailure with exit code 2).

import { assert } from '../base/assert.ts';
import { nearestName } from '../base/nearest-name.ts';
import { type CommandFailure, usageFailure } from './failure.ts';
import type { CommandSyntax, Flag } from './syntax.ts';

/** Every command takes it. */
export const helpFlag: Flag = { name: 'help', short: 'h', placeholder: null, summary: 'show this text' };

export class Invocation {
  readonly command: CommandSyntax;
  readonly arguments: readonly string[];
  /** As given, by flag name; what was not given is absent. */
  readonly given: ReadonlyMap<string, readonly string[]>;

  constructor(command: CommandSyntax, args: readonly string[], given: ReadonlyMap<string, readonly string[]>) {
    this.command = command;
    this.arguments = args;
    this.given = given;
  }

  /** The argument at that place; the parser saw to it that it is there. */
  argument(index: number): string {
    const value = this.arguments[index];
    assert(value !== undefined, `argument ${index} of ${this.command.path.join(' ')} is not required by its table row`);
    return value;
  }

  isGiven(name: string): boolean {
    return this.given.has(name);
  }

  /** The value given, else the fallback of the table, else null. */
  optional(name: string): string | null {
    const flag = this.flag(name);
    return this.given.get(name)?.[0] ?? flag.fallback ?? null;
  }

  /** For flags with a fallback. */
  text(name: string): string {
    const value = this.optional(name);
    assert(value !== null, `flag --${name} has no fallback`);
    return value;
  }

  list(name: string): readonly string[] {
    return this.given.get(this.flag(name).name) ?? [];
  }

  isOn(name: string): boolean {
    return this.given.has(this.flag(name).name);
  }

  /** Bounds were checked by the parser. */
  integer(name: string): number | null {
    const value = this.optional(name);
    return value === null ? null : Number(value);
  }

  /** A usage failure that points to this command's help. */
  misused(message: string): CommandFailure {
    return usageFailure(message, this.command.path);
  }

  /** `k=v` pairs of a list flag, in order. */
  pairs(name: string): readonly (readonly [key: string, value: string])[] {
    return this.list(name).map(text => {
      const at = text.indexOf('=');
      if (at <= 0) throw this.misused(`--${name} takes NAME=VALUE, not "${text}"`);
      return [text.slice(0, at), text.slice(at + 1)];
    });
  }

  private flag(name: string): Flag {
    const flag = this.command.flags.find(candidate => candidate.name === name);
    assert(flag !== undefined, `the table gives ${this.command.path.join(' ')} no flag --${name}`);
    return flag;
  }
}

export type ParsedLine<C extends CommandSyntax> =
  | { readonly kind: 'run'; readonly command: C; readonly invocation: Invocation }
  /** Help for a command, a noun with several verbs, or everything (an empty path). */
  | { readonly kind: 'help'; readonly path: readonly string[] };

/** Throws CommandFailure with exit code 2. */
export const parseLine = <C extends CommandSyntax>(commands: readonly C[], words: readonly string[]): ParsedLine<C> => {
  const path = commandPath(commands, words);
  const rest = words.slice(path.length);
  const command = commands.find(candidate => samePath(candidate.path, path));
  if (command !== undefined) return parseCommand(command, rest);
  const next = rest[0];
  if (next === '--help' || next === '-h' || (path.length === 0 && next === 'help')) {
    return { kind: 'help', path: path.length === 0 && next === 'help' ? commandPath(commands, rest.slice(1)) : path };
  }
  throw unknownCommand(commands, path, next);
};

/** The longest run of leading words that are, or begin, a command. */
const commandPath = (commands: readonly CommandSyntax[], words: readonly string[]): readonly string[] => {
  let length = 0;
  while (length < words.length) {
    const longer = words.slice(0, length + 1);
    if (!commands.some(({ path }) => samePath(path.slice(0, longer.length), longer))) break;
    length++;
  }
  return words.slice(0, length);
};

const samePath = (one: readonly string[], other: readonly string[]): boolean =>
  one.length === other.length && one.every((word, index) => word === other[index]);

const unknownCommand = (
  commands: readonly CommandSyntax[],
  path: readonly string[],
  word: string | undefined,
): CommandFailure => {
  const following = new Set(
    commands.filter(command => samePath(command.path.slice(0, path.length), path)).map(c => c.path[path.length] ?? ''),
  );
  const where = ['sluice', ...path].join(' ');
  if (word === undefined) return usageFailure(`\`${where}\` needs one of: ${[...following].join(', ')}`, path);
  if (word.startsWith('-')) return usageFailure(`unknown flag ${word}: the command comes first`, path);
  const meant = nearestName(word, following);
  const hint = meant === null ? '' : `, did you mean "${meant}"?`;
  return usageFailure(`unknown command \`${where} ${word}\`${hint}`, path);
};

const parseCommand = <C extends CommandSyntax>(command: C, words: readonly string[]): ParsedLine<C> => {
  const flags = [...command.flags, helpFlag];
  const args: string[] = [];
  const given = new Map<string, string[]>();
  for (let index = 0; index < words.length; index++) {
    const word = words[index]!;
    if (word === '--') {
      args.push(...words.slice(index + 1));
      break;
    }
    if (!word.startsWith('-') || word === '-') {
      args.push(word);
      continue;
    }
    const { flag, attached } = findFlag(command, flags, word);
    if (flag === helpFlag) return { kind: 'help', path: command.path };
    let value = attached;
    if (flag.placeholder === null) {
      if (value !== null) throw usageFailure(`--${flag.name} takes no value`, command.path);
      value = 'true';
    } else if (value === null) {
      value = words[++index] ?? null;
      // What looks like a flag is one: a value that begins with dashes is written --flag=--value.
      if (value === null || value.startsWith('--')) {
        throw usageFailure(`--${flag.name} needs a value (${flag.placeholder})`, command.path);
      }
    }
    checkValue(command, flag, value);
    const values = given.get(flag.name);
    if (values === undefined) given.set(flag.name, [value]);
    else if (flag.isList === true) values.push(value);
    else throw usageFailure(`--${flag.name} was given twice`, command.path);
  }
  checkArguments(command, args);
  return { kind: 'run', command, invocation: new Invocation(command, args, given) };
};

const findFlag = (
  command: CommandSyntax,
  flags: readonly Flag[],
  word: string,
): { readonly flag: Flag; readonly attached: string | null } => {
  const equals = word.indexOf('=');
  const name = equals < 0 ? word : word.slice(0, equals);
  const flag = flags.find(candidate => name === `--${candidate.name}` || name === `-${candidate.short ?? '-'}`);
  if (flag !== undefined) return { flag, attached: equals < 0 ? null : word.slice(equals + 1) };
  const meant = nearestName(
    name.replace(/^-+/, ''),
    flags.map(candidate => candidate.name),
  );
  const hint = meant === null ? '' : `, did you mean --${meant}?`;
  throw usageFailure(`unknown flag ${name}${hint}`, command.path);
};

const checkValue = (command: CommandSyntax, flag: Flag, value: string): void => {
  if (flag.choices !== undefined && !flag.choices.includes(value)) {
    throw usageFailure(`--${flag.name} is one of ${flag.choices.join(', ')}, not "${value}"`, command.path);
  }
  if (flag.range === undefined) return;
  const [min, max] = flag.range;
  const number = Number(value);
  if (!/^-?\d{1,16}$/.test(value) || number < min || number > max) {
    throw usageFailure(`--${flag.name} is a whole number from ${min} to ${max}, not "${value}"`, command.path);
  }
};

const checkArguments = (command: CommandSyntax, args: readonly string[]): void => {
  for (const [index, argument] of command.arguments.entries()) {
    const value = args[index];
    if (value === undefined) {
      if (argument.isOptional) continue;
      throw usageFailure(`${argument.name} is missing`, command.path);
    }
    if (argument.choices !== undefined && !argument.choices.includes(value)) {
      throw usageFailure(`${argument.name} is one of ${argument.choices.join(', ')}, not "${value}"`, command.path);
    }
  }
  const extra = args[command.arguments.length];
  if (extra !== undefined) throw usageFailure(`unexpected argument "${extra}"`, command.path);
};
