// `sluice completion bash|zsh|fish`: a script for the shell, rendered from the command table.
//
// Each script knows what may follow the words typed so far: the next word of a command, its flags, the choices of a flag
// or of an argument, and files where a flag takes one. The scripts call nothing: a broker need not run.

import type { CommandContext } from './command.ts';
import { helpFlag } from './invocation.ts';
import type { Argument, CommandSyntax, Flag } from './syntax.ts';

export const completion = async ({ invocation, terminal, syntax }: CommandContext): Promise<number> => {
  const shell = invocation.argument(0);
  const render = shell === 'bash' ? bashScript : shell === 'zsh' ? zshScript : fishScript;
  await terminal.print(render(syntax));
  return 0;
};

interface Position {
  /** The words of a command so far; empty at the beginning. */
  readonly path: string;
  readonly words: readonly { readonly word: string; readonly summary: string }[];
  /** Null while the command is not complete. */
  readonly command: CommandSyntax | null;
}

/** Every place in a command line at which completion can stand. */
const positionsOf = (table: readonly CommandSyntax[]): readonly Position[] => {
  const paths = new Set(table.flatMap(({ path }) => path.map((_, depth) => path.slice(0, depth).join(' '))));
  const incomplete = [...paths].map(path => ({ path, words: followers(table, path), command: null }));
  const complete = table.map(command => ({ path: command.path.join(' '), words: choices(command), command }));
  return [...incomplete, ...complete];
};

const followers = (table: readonly CommandSyntax[], path: string): Position['words'] => {
  const depth = path === '' ? 0 : path.split(' ').length;
  const found = new Map<string, string>();
  for (const command of table) {
    const word = command.path[depth];
    if (word === undefined || command.path.slice(0, depth).join(' ') !== path) continue;
    const isLast = command.path.length === depth + 1;
    if (!found.has(word)) found.set(word, isLast ? command.summary : `Commands about ${word}.`);
  }
  return [...found].map(([word, summary]) => ({ word, summary }));
};

const choices = (command: CommandSyntax): Position['words'] =>
  command.arguments.flatMap(argument => argument.choices ?? []).map(word => ({ word, summary: '' }));

const flagsOf = (command: CommandSyntax): readonly Flag[] => [...command.flags, helpFlag];

const spellings = (flag: Flag): readonly string[] =>
  flag.short === undefined ? [`--${flag.name}`] : [`--${flag.name}`, `-${flag.short}`];

const takesFile = (flag: Flag): boolean => flag.placeholder === 'FILE' || flag.placeholder === 'DIR';

const hasChoices = (flag: Flag): flag is Flag & { readonly choices: readonly string[] } => flag.choices !== undefined;

const bashScript = (table: readonly CommandSyntax[]): string => {
  const positions = positionsOf(table);
  const paths = positions.filter(({ path }) => path !== '').map(({ path }) => `"${path}"`);
  const words = positions.map(({ path, words, command }) => {
    const flags = (command === null ? [helpFlag] : flagsOf(command)).flatMap(spellings);
    const all = [...words.map(({ word }) => word), ...flags].join(' ');
    return `    "${path}") COMPREPLY=($(compgen -W "${all}" -- "$word")) ;;\n`;
  });
  const values = table.flatMap(command =>
    flagsOf(command)
      .filter(hasChoices)
      .map(flag => {
        const places = spellings(flag).map(name => `"${command.path.join(' ')} ${name}"`);
        return `    ${places.join('|')}) COMPREPLY=($(compgen -W "${flag.choices.join(' ')}" -- "$word")); return ;;\n`;
      }),
  );
  const files = table.flatMap(command =>
    flagsOf(command)
      .filter(takesFile)
      .map(flag => `    "${command.path.join(' ')} --${flag.name}") COMPREPLY=($(compgen -f -- "$word")); return ;;\n`),
  );
  return `# Completion of sluice for bash: source <(sluice completion bash)
_sluice() {
  local word="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}" path="" part
  COMPREPLY=()
  for part in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case "\${path:+$path }$part" in
      ${paths.join('|')}) path="\${path:+$path }$part" ;;
    esac
  done
  case "$path $previous" in
${values.join('')}${files.join('')}  esac
  case "$path" in
${words.join('')}  esac
}
complete -o default -F _sluice sluice
`;
};

/** `path` is the shell's own there. */
const zshScript = (table: readonly CommandSyntax[]): string => {
  const cases = positionsOf(table).map(({ path, words, command }) => {
    const specs = [
      ...(command === null ? [helpFlag] : flagsOf(command)).flatMap(zshFlag),
      ...(command === null
        ? [`'*:command:(${words.map(({ word }) => word).join(' ')})'`]
        : command.arguments.map(zshArgument)),
    ];
    return `    ${quoted(path)}) _arguments -s ${specs.join(' ')} ;;\n`;
  });
  const paths = positionsOf(table).map(({ path }) => path);
  return `#compdef sluice
# Completion of sluice for zsh: put it as _sluice into a folder of $fpath, or: source <(sluice completion zsh)
_sluice() {
  local place="" part
  local -i taken=1
  for part in "\${(@)words[2,CURRENT-1]}"; do
    case "\${place:+$place }$part" in
      ${paths
        .filter(path => path !== '')
        .map(quoted)
        .join('|')}) place="\${place:+$place }$part"; (( taken++ )) ;;
    esac
  done
  words=("\${(@)words[taken,-1]}")
  (( CURRENT -= taken - 1 ))
  case "$place" in
${cases.join('')}  esac
}
compdef _sluice sluice
`;
};

/** zsh completes flags behind an argument only when it was told of the argument. */
const zshArgument = (argument: Argument, index: number): string => {
  const values =
    argument.choices === undefined ? (argument.name === 'FILE' ? '_files' : ' ') : `(${argument.choices.join(' ')})`;
  return `'${index + 1}:${argument.name}:${values}'`;
};

const zshFlag = (flag: Flag): string[] => {
  const repeated = flag.isList === true ? '*' : '';
  const summary = flag.summary.replaceAll(/[[\]:'\\]/g, String.raw`\$&`).replaceAll(String.raw`\'`, `'\\''`);
  const value = hasChoices(flag) ? `(${flag.choices.join(' ')})` : takesFile(flag) ? '_files' : ' ';
  return spellings(flag).map(name =>
    flag.placeholder === null
      ? `'${repeated}${name}[${summary}]'`
      : `'${repeated}${name}[${summary}]:${flag.placeholder.replace(':', String.raw`\:`)}:${value}'`,
  );
};

const fishScript = (table: readonly CommandSyntax[]): string => {
  const lines: string[] = [];
  for (const { path, words, command } of positionsOf(table)) {
    const place = `complete -c sluice -n ${quoted(`__sluice_at ${quoted(path)}`)}`;
    lines.push(
      ...words.map(({ word, summary }) => `${place} -f -a ${word}${summary === '' ? '' : ` -d ${quoted(summary)}`}\n`),
      ...(command === null ? [helpFlag] : flagsOf(command)).map(flag => `${place} ${fishFlag(flag)}\n`),
    );
  }
  const paths = positionsOf(table).map(({ path }) => quoted(path));
  return `# Completion of sluice for fish: sluice completion fish | source
function __sluice_at
    set -l path ''
    for part in (commandline -opc)[2..-1]
        set -l longer (string trim -- "$path $part")
        contains -- "$longer" ${paths.join(' ')}; and set path "$longer"
    end
    test "$path" = "$argv[1]"
end
${lines.join('')}`;
};

const fishFlag = (flag: Flag): string => {
  const name = `-l ${flag.name}${flag.short === undefined ? '' : ` -s ${flag.short}`} -d ${quoted(flag.summary)}`;
  if (flag.placeholder === null) return `-f ${name}`;
  if (hasChoices(flag)) return `-x ${name} -a ${quoted(flag.choices.join(' '))}`;
  return takesFile(flag) ? `-r -F ${name}` : `-x ${name}`;
};

/** In single quotes, for all three shells; fish knows the escape as well when it stands outside the quotes. */
const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;
