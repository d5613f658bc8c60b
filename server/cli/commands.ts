// The table of commands: what `sluice` can do, in the order in which help shows it.

import { type SettingRow, settingRows } from '../config.ts';
import type { Command } from './command.ts';
import type { Argument, Flag } from './syntax.ts';

const outputFlag: Flag = {
  name: 'output',
  short: 'o',
  placeholder: 'FORM',
  choices: ['table', 'json', 'ndjson'],
  fallback: 'table',
  summary: 'how results are printed',
};

const value = (name: string, placeholder: string, summary: string): Flag => ({ name, placeholder, summary });
const toggle = (name: string, summary: string): Flag => ({ name, placeholder: null, summary });
const required = (name: string): Argument => ({ name, isOptional: false });

/** Settings check their own values, wherever they come from; the choices are for help and completion too. */
const settingFlag = (setting: SettingRow): Flag => {
  const { key: name, placeholder, summary, isList, choices } = setting;
  const flag: Flag =
    choices.length === 0 ? { name, placeholder, summary, isList } : { name, placeholder, summary, choices };
  return placeholder === null || isList ? flag : { ...flag, fallback: setting.fallback[0] ?? '' };
};

const startCommand: Command = {
  path: ['start'],
  summary: 'Starts a broker and serves until it is told to stop.',
  description:
    'Every setting is also an environment variable (SLUICE_DATA_DIR for --data-dir) and a key of the YAML file; a flag ' +
    'wins over a variable, a variable over the file. Topic defaults stand in the file under `topic-defaults:`.',
  arguments: [],
  flags: [
    value('config', 'FILE', 'a YAML file of settings'),
    ...settingRows.map(settingFlag),
    toggle('print-config', 'print the settings in force, each with its source, and exit'),
  ],
  examples: [
    'sluice start',
    'sluice start --data-dir /var/lib/sluice --http 127.0.0.1:0',
    'sluice start --config sluice.yaml --print-config',
  ],
  load: async () => (await import('./start.ts')).start,
};

const versionCommand: Command = {
  path: ['version'],
  summary: 'Prints the version.',
  arguments: [],
  flags: [outputFlag],
  examples: ['sluice version'],
  load: async () => (await import('./version.ts')).version,
};

export const commands: readonly Command[] = [startCommand, versionCommand];
