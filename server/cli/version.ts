// `sluice version`: the product's version, and the Node that runs it.

import { VERSION } from '../config.ts';
import type { CommandContext } from './command.ts';

export const version = async ({ terminal, invocation }: CommandContext): Promise<number> => {
  const facts = { version: VERSION, node: process.versions.node };
  const isText = invocation.text('output') === 'table';
  await terminal.print(isText ? `sluice ${facts.version} (Node ${facts.node})\n` : `${JSON.stringify(facts)}\n`);
  return 0;
};
