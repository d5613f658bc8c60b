// The parser of the command line, its help and the completion scripts: all of them out of the one table.

import { spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { commands } from '../../server/cli/commands.ts';
import { type Invocation, parseLine } from '../../server/cli/invocation.ts';
import { runCommand } from './command-run.ts';

const parse = (...words: readonly string[]): Invocation => {
  const line = parseLine(commands, words);
  if (line.kind !== 'run') throw new Error('help');
  return line.invocation;
};

describe('words to an invocation', () => {
  test('flags stand anywhere after the command, attached or apart, long or short', () => {
    const invocation = parse(
      'topic',
      'create',
      '--partitions=3',
      'orders',
      '-o',
      'json',
      '--config',
      'a=b',
      '--config=c=d',
    );
    expect(invocation.command.path).toEqual(['topic', 'create']);
    expect(invocation.argument(0)).toBe('orders');
    expect(invocation.integer('partitions')).toBe(3);
    expect(invocation.text('output')).toBe('json');
    expect(invocation.pairs('config')).toEqual([
      ['a', 'b'],
      ['c', 'd'],
    ]);
  });

  test('what is absent falls back to the table, or is null', () => {
    const invocation = parse('topic', 'create', 'orders');
    expect(invocation.integer('partitions')).toBe(1);
    expect(invocation.optional('server')).toBeNull();
    expect(invocation.isOn('if-not-exists')).toBe(false);
    expect(invocation.list('config')).toEqual([]);
  });

  test('two dashes end the flags; one dash begins a value', () => {
    expect(parse('topic', 'create', '--', '--odd').argument(0)).toBe('--odd');
    expect(parse('consume', 't', '--format', '-%v').text('format')).toBe('-%v');
    expect(parse('produce', 't', '--key-separator=--').text('key-separator')).toBe('--');
  });

  test.each<[string, string[], RegExp]>([
    ['an unknown command', ['topci'], /unknown command `sluice topci`, did you mean "topic"\?; see `sluice --help`/],
    ['an unknown verb', ['topic', 'creat', 'x'], /did you mean "create"\?; see `sluice topic --help`/],
    ['a noun alone', ['topic'], /`sluice topic` needs one of: create, list, describe, alter, delete, delete-records/],
    ['nothing', [], /`sluice` needs one of: start/],
    ['a flag before the command', ['--server', 'x', 'version'], /the command comes first/],
    ['an unknown flag', ['start', '--data-dri', 'x'], /unknown flag --data-dri, did you mean --data-dir\?/],
    ['a flag of work that is not there yet', ['start', '--tls-cert', 'x'], /unknown flag --tls-cert/],
    ['a command of work that is not there yet', ['transaction', 'list'], /unknown command `sluice transaction`/],
    ['a group to consume with', ['consume', 't', '--group', 'g'], /unknown flag --group/],
    ['a flag without its value', ['produce', 't', '--file'], /--file needs a value \(FILE\)/],
    ['a flag where a value should be', ['produce', 't', '--file', '--acks', 'all'], /--file needs a value/],
    ['a switch with a value', ['start', '--insecure=yes'], /--insecure takes no value/],
    ['a flag given twice', ['consume', 't', '--tail', '1', '--tail', '2'], /--tail was given twice/],
    ['a value that is no choice', ['produce', 't', '--acks', '2'], /--acks is one of all, 1, 0, not "2"/],
    [
      'a number out of bounds',
      ['topic', 'create', 't', '--partitions', '0'],
      /whole number from 1 to 2147483647, not "0"/,
    ],
    ['a number that is none', ['consume', 't', '--tail', '1e3'], /--tail is a whole number/],
    ['a missing argument', ['produce'], /TOPIC is missing; see `sluice produce --help`/],
    ['an argument too many', ['topic', 'create', 'a', 'b'], /unexpected argument "b"/],
    ['an argument that is no choice', ['completion', 'tcsh'], /one of bash, zsh, fish, not "tcsh"/],
  ])('%s is wrong usage', async (_, words, expected) => {
    const { exitCode, notes, text } = await runCommand(words);
    expect(notes).toMatch(expected);
    expect(notes).toMatch(/^error: [^\n]*--help`\n$/);
    expect([exitCode, text]).toEqual([2, '']);
  });

  test('a pair without a name is wrong usage', () => {
    expect(() => parse('topic', 'create', 't', '--config', '=x').pairs('config')).toThrow(/NAME=VALUE/);
  });
});

describe('help', () => {
  test('shows every command', async () => {
    const { exitCode, text } = await runCommand(['--help']);
    expect(exitCode).toBe(0);
    for (const command of commands) expect(text).toContain(command.path.join(' '));
  });

  test.each(commands.map(command => [command.path.join(' '), command] as const))(
    '%s explains every flag and has examples that the parser takes',
    async (name, command) => {
      const { exitCode, text } = await runCommand([...command.path, '--help']);
      expect(exitCode).toBe(0);
      expect(text).toContain(`Usage: sluice ${name}`);
      for (const flag of command.flags) expect(text).toContain(`--${flag.name}`);
      expect(command.examples.length).toBeGreaterThan(0);
      for (const example of command.examples) {
        expect(text).toContain(example);
        const words = /sluice ([^|)]*)/.exec(example)?.[1]?.trim() ?? '';
        const unquoted = [...words.matchAll(/'([^']*)'|(\S+)/g)].map(match => match[1] ?? match[2] ?? '');
        expect(parseLine(commands, unquoted).kind).toBe('run');
      }
    },
  );

  test('a noun lists its verbs, `help` is `--help`, and -h is as good', async () => {
    const verbs = await runCommand(['topic', '--help']);
    expect(verbs.text).toContain('topic alter NAME');
    expect(verbs.text).not.toContain('dump-log');
    expect((await runCommand(['help', 'topic'])).text).toBe(verbs.text);
    expect((await runCommand(['topic', 'create', '-h'])).text).toContain('Usage: sluice topic create NAME');
  });
});

describe('version', () => {
  test.each([['version'], ['--version']])('%s', async word => {
    const { exitCode, text } = await runCommand([word]);
    expect([exitCode, text]).toEqual([0, `sluice 0.1.0 (Node ${process.versions.node})\n`]);
  });

  test('as JSON', async () => {
    const { text } = await runCommand(['version', '-o', 'json']);
    expect(JSON.parse(text)).toEqual({ version: '0.1.0', node: process.versions.node });
  });
});

describe('completion', () => {
  const script = async (shell: string): Promise<string> => {
    const { exitCode, text } = await runCommand(['completion', shell]);
    expect(exitCode).toBe(0);
    return text;
  };

  /** What bash would offer for the last of these words. */
  const offered = (text: string, ...words: readonly string[]): string[] => {
    const program = `${text}
      COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _sluice; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const { stdout, stderr } = spawnSync('bash', ['-c', program, 'bash', ...words], { encoding: 'utf8' });
    expect(stderr).toBe('');
    return stdout.split('\n').filter(line => line !== '');
  };

  test('bash takes the script and offers what may follow', async () => {
    const text = await script('bash');
    expect(spawnSync('bash', ['-n'], { input: text, encoding: 'utf8' })).toMatchObject({ status: 0, stderr: '' });
    expect(offered(text, 'sluice', 'to')).toEqual(['topic']);
    expect(offered(text, 'sluice', 'topic', '')).toEqual(expect.arrayContaining(['create', 'alter', '--help']));
    expect(offered(text, 'sluice', 'topic', 'create', 'orders', '--part')).toEqual(['--partitions']);
    expect(offered(text, 'sluice', 'produce', 'orders', '--acks', '')).toEqual(['all', '1', '0']);
    expect(offered(text, 'sluice', 'completion', 'f')).toEqual(['fish']);
    expect(offered(text, 'sluice', 'dump-log', 'nothing-begins-so')).toEqual([]);
  });

  test.each(['bash', 'zsh', 'fish'])('%s knows every command and flag', async shell => {
    const text = await script(shell);
    for (const command of commands) {
      for (const word of command.path) expect(text).toContain(word);
      for (const flag of command.flags) expect(text).toContain(shell === 'fish' ? `-l ${flag.name}` : `--${flag.name}`);
    }
  });

  test.for(['zsh', 'fish'])('%s takes the script, where it is installed', async (shell, context) => {
    const folder = await mkdtemp(join(tmpdir(), 'completion-'));
    const path = join(folder, `sluice.${shell}`);
    await writeFile(path, await script(shell));
    const { status, stderr, error } = spawnSync(shell, ['-n', path], { encoding: 'utf8' });
    await rm(folder, { recursive: true });
    if (error !== undefined) context.skip(`${shell} is not installed`);
    expect([status, stderr]).toEqual([0, '']);
  });

  test.each(['zsh', 'fish'])('every quote in the %s script is closed', async shell => {
    // Both quote as the POSIX shell does, which can say where a quote is left open.
    const quotedOnly = (await script(shell)).replaceAll(/'(?:[^']|'\\'')*'/g, '');
    expect(quotedOnly).not.toContain("'");
  });
});
