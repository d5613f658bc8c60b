// A record as JSON, in the form in which the HTTP door reads records back, one a line:
//
//   {topic, partition, offset, timestamp, key | key_base64, value | value_text | value_base64, headers}
//
// A stored JSON value is spliced in as it stands (line ends between its tokens become blanks, so that one record stays one
// line), other UTF-8 is `value_text`, the rest base64. A tombstone is `value: null`; the stored text `null` is therefore
// text. A property test holds this and the HTTP door's rendering together.

import { isUtf8 } from 'node:buffer';
import type { Message } from '@sluice/client';
import type { OutputBuffer } from './output-buffer.ts';

export const writeRecordJson = (message: Message, output: OutputBuffer): void => {
  output.text(
    `{"topic":${JSON.stringify(message.topic)},"partition":${message.partition},"offset":${message.offset}` +
      `,"timestamp":${message.timestamp}`,
  );
  const key = message.keyBytes;
  output.text(key === null ? ',"key":null' : `,${textMember('key', key)}`);
  output.text(`,${valueMember(message.valueBytes)},"headers":[${message.headers.map(headerObject).join(',')}]}\n`);
};

const valueMember = (value: Uint8Array | null): string => {
  if (value === null) return '"value":null';
  const text = utf8Text(value);
  if (text === null) return base64Member('value', value);
  if (!isJson(text) || text.trim() === 'null') return `"value_text":${JSON.stringify(text)}`;
  return `"value":${text.replaceAll(/[\r\n]/g, ' ')}`;
};

const headerObject = ({ key, value }: { readonly key: string; readonly value: Uint8Array | null }): string =>
  `{"key":${JSON.stringify(key)},${value === null ? '"value":null' : textMember('value', value)}}`;

/** `name` as a string where the bytes are UTF-8, else `name_base64`. */
const textMember = (name: string, field: Uint8Array): string => {
  const text = utf8Text(field);
  return text === null ? base64Member(name, field) : `"${name}":${JSON.stringify(text)}`;
};

const base64Member = (name: string, field: Uint8Array): string =>
  `"${name}_base64":"${asBuffer(field).toString('base64')}"`;

const utf8Text = (field: Uint8Array): string | null => (isUtf8(field) ? asBuffer(field).toString('utf8') : null);

const asBuffer = (field: Uint8Array): Buffer => Buffer.from(field.buffer, field.byteOffset, field.byteLength);

const isJson = (text: string): boolean => {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
};
