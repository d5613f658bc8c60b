// Help texts, rendered from the command table.

import { helpFlag } from './invocation.ts';
import type { Argument, CommandSyntax, Flag } from './syntax.ts';

const WIDTH = 100;

/** For an empty path everything, for a noun its verbs, for a command its flags and examples. */
export const helpText = (commands: readonly CommandSyntax[], path: readonly string[]): string => {
  const below = commands.filter(command => path.every((word, index) => command.path[index] === word));
  const exact = below.find(command => command.path.length === path.length);
  return exact === undefined ? overview(below, path) : commandHelp(exact);
};

const overview = (commands: readonly CommandSyntax[], path: readonly string[]): string => {
  const name = ['sluice', ...path].join(' ');
  const rows = commands.map(command => [usage(command), command.summary] as const);
  const example = commands[0]?.examples[0] ?? 'sluice version';
  return [
    `Usage: ${name} COMMAND [flags]\n`,
    columns(rows),
    `Example:\n  ${example}\n`,
    `\`${name} COMMAND --help\` explains a command and shows examples.\n`,
  ].join('\n');
};

const commandHelp = (command: CommandSyntax): string => {
  const parts = [`Usage: ${['sluice', usage(command)].join(' ')} [flags]\n`, `${wrap(command.summary)}\n`];
  if (command.description !== undefined) parts.push(`${wrap(command.description)}\n`);
  parts.push(`Flags:\n${columns([...command.flags, helpFlag].map(flag => [flagUsage(flag), flagSummary(flag)]))}`);
  parts.push(`Examples:\n${command.examples.map(example => `  ${example}\n`).join('')}`);
  return parts.join('\n');
};

const usage = (command: CommandSyntax): string => [...command.path, ...command.arguments.map(argumentUsage)].join(' ');

const argumentUsage = (argument: Argument): string => {
  const name = argument.choices === undefined ? argument.name : argument.choices.join('|');
  return argument.isOptional ? `[${name}]` : name;
};

const flagUsage = (flag: Flag): string => {
  const value = flag.placeholder === null ? '' : ` ${flag.choices?.join('|') ?? flag.placeholder}`;
  return `${flag.short === undefined ? '' : `-${flag.short}, `}--${flag.name}${value}`;
};

const flagSummary = (flag: Flag): string => {
  const notes = [
    ...(flag.isList === true ? ['repeatable'] : []),
    ...(flag.fallback === undefined || flag.fallback === '' ? [] : [`default ${flag.fallback}`]),
  ];
  return notes.length === 0 ? flag.summary : `${flag.summary} (${notes.join(', ')})`;
};

/** Two columns; a left side that is too wide for the column gets a line of its own. */
const columns = (rows: readonly (readonly [left: string, right: string])[]): string => {
  const width = Math.min(Math.max(...rows.map(([left]) => left.length)), 42);
  const lines = rows.map(([left, right]) =>
    left.length > width ? `  ${left}\n${' '.repeat(width + 4)}${right}\n` : `  ${left.padEnd(width)}  ${right}\n`,
  );
  return lines.join('');
};

const wrap = (text: string): string => {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + word.length + 1 > WIDTH) {
      lines.push(line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return [...lines, line].join('\n');
};
