// A record whose value is the request's body as it is; key and headers stand in the headers of the request.

import type { Result } from '@sluice/protocol/errors';
import { accepted, refused } from '@sluice/protocol/errors';
import type { HeaderInput } from '@sluice/protocol/record';
import type { WrittenRecord } from '../record-json.ts';
import { ABSENT, base64Bytes, readHeaderForm } from '../record-json.ts';
import { parseBody } from './body.ts';
import type { Exchange } from './exchange.ts';

export const rawRecord = (bytes: Buffer, exchange: Exchange): Result<readonly WrittenRecord[]> => {
  const headers: HeaderInput[] = [];
  let key: Uint8Array | string | null = null;
  let keys = 0;
  const { rawHeaders } = exchange.request;
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) {
    const name = rawHeaders[at]!.toLowerCase();
    const text = rawHeaders[at + 1]!;
    if (!name.startsWith('sluice-')) continue;
    if (!/^[\t\x20-\x7e]*$/.test(text)) {
      return refused('INVALID_REQUEST', `the header ${name} is not ASCII; use Sluice-Key-Base64 or Sluice-Headers`, {
        field: name,
      });
    }
    if (name === 'sluice-key') {
      key = text;
      keys++;
    } else if (name === 'sluice-key-base64') {
      key = base64Bytes(text);
      keys++;
      if (key === null) return refused('INVALID_REQUEST', 'Sluice-Key-Base64 is not base64', { field: name });
    } else if (name === 'sluice-headers') {
      const list = headerListFromText(text);
      if (!list.ok) return list;
      headers.push(...list.value);
    } else if (name.startsWith('sluice-header-') && name.length > 'sluice-header-'.length) {
      headers.push({ key: name.slice('sluice-header-'.length), value: text });
    } else return refused('INVALID_REQUEST', `there is no header ${name} here`, { field: name });
  }
  if (keys > 1) return refused('INVALID_REQUEST', 'a record has one key', { field: 'sluice-key' });
  return accepted([{ kind: 'record', key, value: bytes, headers, timestamp: ABSENT, partition: ABSENT }]);
};

const headerListFromText = (text: string): Result<readonly HeaderInput[]> => {
  const field = 'sluice-headers';
  if (!/^[A-Za-z0-9_-]*={0,2}$/.test(text))
    return refused('INVALID_REQUEST', 'Sluice-Headers is not base64url', { field });
  const parsed = parseBody(Buffer.from(text, 'base64url'));
  if (!parsed.ok || !Array.isArray(parsed.value)) {
    return refused('INVALID_REQUEST', 'Sluice-Headers is not the base64url of a JSON list', { field });
  }
  const list = readHeaderForm(parsed.value);
  return 'kind' in list ? refused('INVALID_REQUEST', `Sluice-Headers: ${list.detail}`, { field }) : accepted(list);
};
