// What answers each operation of openapi.yaml, by its operationId.

import type { Operation, Query } from './contract.ts';
import type { Exchange } from './exchange.ts';

export type Handler = (exchange: Exchange, query: Query, operation: Operation) => void | Promise<void>;

export interface HandlerEntry {
  /** The name under which requests are counted. */
  readonly verb: string;
  readonly handle: Handler;
}

export type HandlerTable = Readonly<Record<string, HandlerEntry>>;
