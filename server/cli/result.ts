// How a command prints what it found: `-o table` for a person, `-o json` one document, `-o ndjson` one object a line.

import type { CommandContext } from './command.ts';
import { type Cell, renderTable } from './table.ts';

export type OutputForm = 'table' | 'json' | 'ndjson';

export const outputForm = (context: CommandContext): OutputForm => {
  const form = context.invocation.text('output');
  return form === 'json' || form === 'ndjson' ? form : 'table';
};

export interface ListResult {
  readonly titles: readonly string[];
  readonly rows: readonly (readonly Cell[])[];
  /** The same for programs. */
  readonly objects: readonly unknown[];
}

/** A list: as JSON an array. */
export const printList = async (context: CommandContext, result: ListResult): Promise<void> => {
  const { terminal } = context;
  switch (outputForm(context)) {
    case 'table':
      await terminal.print(renderTable(result.titles, result.rows));
      return;
    case 'json':
      await terminal.print(`${JSON.stringify(result.objects, null, 2)}\n`);
      return;
    case 'ndjson':
      await terminal.print(result.objects.map(object => `${JSON.stringify(object)}\n`).join(''));
  }
};

/** One thing: as JSON an object. `text` is what a person reads. */
export const printObject = async (context: CommandContext, object: unknown, text: string): Promise<void> => {
  const form = outputForm(context);
  const json = (): string => `${JSON.stringify(object, null, form === 'json' ? 2 : undefined)}\n`;
  await context.terminal.print(form === 'table' ? text : json());
};
