// Request bodies: read whole within a limit, or taken as they arrive.
//
// Guarantees: what is in memory is counted in the doors' common budget as it grows; a length that was announced and would not
// fit is refused before anything is read, and reserves nothing: a few clients that announce much and send nothing would
// otherwise shut out everybody. A refusal (too large, throttled) comes before the rest is read. A body that its client broke
// off is 'gone', never mistaken for a whole one.

import type { Problem, Result } from '@sluice/protocol/errors';
import { accepted, problem, refused } from '@sluice/protocol/errors';
import { BODY_BYTES_MAX, MESSAGE_MS_MAX } from '../../base/limits.ts';
import { decodeText, parseJson } from '../json-text.ts';
import type { Exchange } from './exchange.ts';

export type WholeBody =
  | { readonly kind: 'whole'; readonly bytes: Buffer }
  | { readonly kind: 'refused'; readonly problem: Problem }
  /** The client is no longer there; there is nobody to answer. */
  | { readonly kind: 'gone' };

const NO_BYTES = Buffer.alloc(0);
const GONE: WholeBody = { kind: 'gone' };

const refusedBody = (refusal: Problem): WholeBody => ({ kind: 'refused', problem: refusal });

/** The media type in lower case, without its parameters; empty when there is none. */
export const mediaType = (exchange: Exchange): Result<string> => {
  const { headers } = exchange.request;
  const encoding = headers['content-encoding'];
  if (encoding !== undefined && encoding.toLowerCase() !== 'identity') {
    return refused(
      'UNSUPPORTED_MEDIA_TYPE',
      `a Content-Encoding is not accepted here, not even ${JSON.stringify(encoding)}`,
    );
  }
  const header = headers['content-type'];
  if (header === undefined) return accepted('');
  if (header === 'application/json') return accepted(header);
  const [type, ...parameters] = header.split(';');
  for (const parameter of parameters) {
    const match = /^\s*charset\s*=\s*"?([^"\s]*)"?\s*$/i.exec(parameter);
    if (match !== null && !/^(?:utf-?8|us-ascii)$/i.test(match[1]!)) {
      return refused('UNSUPPORTED_MEDIA_TYPE', `bodies are UTF-8, not ${match[1]}`);
    }
  }
  return accepted(type!.trim().toLowerCase());
};

export const readWholeBody = (exchange: Exchange): Promise<WholeBody> => {
  const { request } = exchange;
  const announced = request.headers['content-length'];
  const expectedBytes = announced === undefined ? 0 : Number(announced);
  if (expectedBytes > BODY_BYTES_MAX) return Promise.resolve(refusedBody(tooLarge()));
  if (!exchange.mayReserve(expectedBytes)) return Promise.resolve(refusedBody(throttled()));
  exchange.continue();
  return new Promise(resolve => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    let reservedBytes = 0;
    let isSettled = false;
    const timer = exchange.context.clock.schedule(MESSAGE_MS_MAX, () => {
      settle(refusedBody(problem('INVALID_REQUEST', 'the body did not arrive in time', { limit_ms: MESSAGE_MS_MAX })));
    });
    const settle = (body: WholeBody): void => {
      if (isSettled) return;
      isSettled = true;
      timer.cancel();
      exchange.onStop = null;
      // A body that is whole is followed by nothing, and taking listeners off is slow.
      if (body.kind !== 'whole') {
        request.off('data', onData).off('end', onEnd).off('close', onClose);
        // The refusal may be read at leisure; the memory is for others at once.
        exchange.release(reservedBytes);
      }
      // The listeners live as long as the request does.
      chunks.length = 0;
      resolve(body);
    };
    const onData = (chunk: Buffer): void => {
      bytes += chunk.length;
      if (bytes > BODY_BYTES_MAX) {
        settle(refusedBody(tooLarge()));
        return;
      }
      if (!exchange.reserve(chunk.length)) {
        settle(refusedBody(throttled()));
        return;
      }
      reservedBytes += chunk.length;
      chunks.push(chunk);
    };
    const onEnd = (): void => {
      const [only] = chunks;
      exchange.metrics.received(bytes);
      settle({ kind: 'whole', bytes: chunks.length === 1 && only !== undefined ? only : joined(chunks) });
    };
    const onClose = (): void => settle(GONE);
    exchange.onStop = () => settle(refusedBody(stopping()));
    request.on('data', onData).on('end', onEnd).on('close', onClose);
  });
};

const joined = (chunks: readonly Buffer[]): Buffer => (chunks.length === 0 ? NO_BYTES : Buffer.concat(chunks));

export const tooLarge = (): Problem =>
  problem(
    'BODY_TOO_LARGE',
    `a body read whole has at most ${BODY_BYTES_MAX} bytes; application/x-ndjson and text/plain have no such limit`,
    { limit_bytes: BODY_BYTES_MAX },
  );

export const stopping = (): Problem => problem('SHUTTING_DOWN', 'this broker is stopping');

export const throttled = (): Problem => problem('THROTTLED', 'too many bodies are in memory; try again');

/** Bytes to a JSON value. */
export const parseBody = (bytes: Buffer): Result<unknown> => {
  const text = decodeText(bytes);
  if (text === null) return refused('INVALID_REQUEST', 'the body is not UTF-8');
  const parsed = parseJson(text);
  if (!parsed.ok) return refused('INVALID_REQUEST', `the body is not JSON: ${parsed.fault}`);
  return accepted(parsed.value);
};
