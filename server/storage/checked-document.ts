// Small JSON files that say by themselves whether they are as they were written: a member `checksum`, the CRC-32C of the
// document without it, as compact JSON. White space may differ; anything else that changed is told.
//
// A document without the member is one of an earlier release and is taken as it is; since every other member is known to
// its reader, a checksum whose name was damaged is not taken for none.

import { crc32c } from '@sluice/protocol/record';

export type JsonObject = Readonly<Record<string, unknown>>;

const checksumOf = (document: JsonObject): string =>
  crc32c(Buffer.from(JSON.stringify(document)))
    .toString(16)
    .padStart(8, '0');

export const formatChecked = (document: JsonObject, indent: number): string =>
  `${JSON.stringify({ ...document, checksum: checksumOf(document) }, null, indent)}\n`;

export type ParsedDocument =
  | { readonly ok: true; readonly document: JsonObject }
  /** What is wrong, to go behind the name of the file. */
  | { readonly ok: false; readonly why: string };

export const parseChecked = (text: string, members: readonly string[]): ParsedDocument => {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return { ok: false, why: 'is not readable JSON' };
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))
    return { ok: false, why: 'is no JSON object' };
  const { checksum, ...document } = parsed as Record<string, unknown>;
  const stranger = Object.keys(document).find(member => !members.includes(member));
  if (stranger !== undefined)
    return { ok: false, why: `has a member ${JSON.stringify(stranger)} that this broker does not know` };
  if (checksum !== undefined && checksum !== checksumOf(document)) {
    return { ok: false, why: 'is not as it was written: its checksum does not match' };
  }
  return { ok: true, document };
};
