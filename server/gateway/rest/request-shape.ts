// Requests that two parsers may read differently are not read at all. Node's parser refuses most of them itself (two lengths,
// a length beside chunks, folded lines, control characters); this is the rest, judged before host and origin are.
//
// A proxy in front of the broker may have seen another request in the same bytes. So each of these ends its connection, and
// what stands behind it there, read as requests already, is not for us.

import type { IncomingMessage } from 'node:http';
import type { Problem } from '@sluice/protocol/errors';
import { problem } from '@sluice/protocol/errors';
import { HEADER_LINES_MAX } from '../../base/limits.ts';

/** Null when there is one way to read the request. */
export const shapeFault = (request: IncomingMessage): Problem | null => {
  const { rawHeaders, headers, httpVersion, url = '' } = request;
  if (httpVersion !== '1.1' && httpVersion !== '1.0') return refusal(`HTTP/${httpVersion} is not spoken here`);
  if (rawHeaders.length > 2 * HEADER_LINES_MAX)
    return refusal(`a request has at most ${HEADER_LINES_MAX} header lines`);
  let hosts = 0;
  for (let index = 0; index < rawHeaders.length; index += 2) {
    if (rawHeaders[index]!.length === 4 && rawHeaders[index]!.toLowerCase() === 'host') hosts++;
  }
  if (hosts > 1) return refusal('a request names its host once');
  // The absolute form is for proxies, and its host need not be the one of the Host header.
  if (!url.startsWith('/') && url !== '*') return refusal('the target of a request is a path; this is no proxy');
  const encoding = headers['transfer-encoding'];
  if (encoding === undefined) return null;
  if (encoding.toLowerCase() !== 'chunked') return refusal('the only Transfer-Encoding is chunked');
  if (httpVersion === '1.0') return refusal('HTTP/1.0 has no Transfer-Encoding');
  return null;
};

const refusal = (detail: string): Problem => problem('INVALID_REQUEST', detail);
