// A small JSON body, as its operation's schema describes it, and an answer that is one document.

import { problem, type Result } from '@sluice/protocol/errors';
import { structureFault } from '../json-text.ts';
import { mediaType, parseBody, readWholeBody } from './body.ts';
import type { Operation } from './contract.ts';
import type { Exchange } from './exchange.ts';

/** Null when the answer has been given already. */
export const readForm = async <Form>(exchange: Exchange, operation: Operation): Promise<Form | null> => {
  const isRight = mayBeForm(exchange);
  return isRight ? (readBody(exchange, operation, null) as Promise<Form | null>) : null;
};

/** The same where nothing at all stands for `{}`, whatever it calls itself. */
export const readOptionalForm = async <Form>(exchange: Exchange, operation: Operation): Promise<Form | null> => {
  const { headers } = exchange.request;
  const hasNone = headers['content-type'] === undefined && headers['transfer-encoding'] === undefined;
  if (!hasNone || Number(headers['content-length'] ?? 0) > 0) {
    if (!mayBeForm(exchange)) return null;
  }
  return readBody(exchange, operation, {}) as Promise<Form | null>;
};

const mayBeForm = (exchange: Exchange): boolean => {
  const type = mediaType(exchange);
  if (type.ok && type.value === 'application/json') return true;
  exchange.problem(type.ok ? problem('UNSUPPORTED_MEDIA_TYPE', 'this body must be application/json') : type.problem);
  return false;
};

const readBody = async (exchange: Exchange, operation: Operation, whenEmpty: object | null): Promise<unknown> => {
  const body = await readWholeBody(exchange);
  if (body.kind === 'gone') return null;
  if (body.kind === 'refused') {
    exchange.problem(body.problem);
    return null;
  }
  if (whenEmpty !== null && body.bytes.length === 0) return whenEmpty;
  const parsed = parseBody(body.bytes);
  if (!parsed.ok) {
    exchange.problem(parsed.problem);
    return null;
  }
  const fault = structureFault(parsed.value);
  const refusal =
    fault === null ? operation.body(parsed.value) : problem('INVALID_REQUEST', `the body ${fault}`, { field: '' });
  if (refusal === null) return parsed.value;
  exchange.problem(refusal);
  return null;
};

/** The answer to most of them: a document, or why not. */
export const answer = <T>(exchange: Exchange, result: Result<T>, render: (value: T) => unknown): void => {
  if (result.ok) exchange.json(200, render(result.value));
  else exchange.problem(result.problem);
};
