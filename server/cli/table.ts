// Results as a person reads them: columns, aligned, with Kafka's names above.

import { withoutControls } from './failure.ts';

/** Numbers stand at the right, everything else at the left. */
export type Cell = string | number;

export const renderTable = (titles: readonly string[], rows: readonly (readonly Cell[])[]): string => {
  const texts = rows.map(row => row.map(cell => withoutControls(String(cell))));
  const widths = titles.map((title, column) => Math.max(title.length, ...texts.map(row => row[column]?.length ?? 0)));
  const isNumeric = titles.map((_, column) => rows.length > 0 && rows.every(row => typeof row[column] === 'number'));
  const line = (cells: readonly string[]): string =>
    `${cells
      .map((cell, column) =>
        isNumeric[column] === true ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!),
      )
      .join('  ')
      .trimEnd()}\n`;
  return line(titles) + texts.map(line).join('');
};
