// How a key or a value becomes bytes and back: `text`, `bytes`, `json`.
//
// A schema describes what is on the wire: sending takes the schema's input type, checks it and stores it as it was given;
// reading checks again and gives the schema's output type. So a schema that transforms (text to date) transforms once,
// and one value read twice is the same value.
// A value that is refused is an INVALID_REQUEST with the schema's issues in its detail; nothing is sent.

import { SluiceError } from './sluice-error.ts';
import type { SchemaInput, SchemaOutput, StandardIssue, StandardSchema } from './standard-schema.ts';

/** Null never reaches a codec: a null key is no key, a null value a tombstone. */
export interface FieldCodec<In, Out = In> {
  encode(value: In): Uint8Array | string;
  /** `bytes` is a view of the batch that the record came in: copy what is kept. */
  decode(bytes: Uint8Array): Out;
  /** The same, of bytes that came as the text that they are: for wires of text. Absent: the text's UTF-8 is decoded. */
  decodeText?(text: string): Out;
}

/** UTF-8. Bytes that are none are refused when read. */
export const text: FieldCodec<string> = {
  encode: value => (typeof value === 'string' ? value : refuse(`text must be a string, not ${typeof value}`)),
  decode: bytes => utf8(bytes),
  decodeText: value => value,
};

/** As they are. Strings are taken too and stored as UTF-8. */
export const bytes: FieldCodec<Uint8Array | string, Uint8Array> = {
  encode: value =>
    typeof value === 'string' || value instanceof Uint8Array ? value : refuse('bytes must be a Uint8Array or a string'),
  decode: value => value,
};

/** JSON text. With a schema, checked both ways; without, `T` is the caller's word. */
export function json<T>(): FieldCodec<T>;
export function json<S extends StandardSchema>(schema: S): FieldCodec<SchemaInput<S>, SchemaOutput<S>>;
export function json(schema?: StandardSchema): FieldCodec<unknown> {
  if (schema === undefined) {
    return { encode: stringify, decode: bytes => parse(utf8(bytes)), decodeText: parse };
  }
  return {
    encode: value => {
      check(schema, value);
      return stringify(value);
    },
    decode: bytes => check(schema, parse(utf8(bytes))),
    decodeText: value => check(schema, parse(value)),
  };
}

function stringify(value: unknown): string {
  let written: string | undefined;
  try {
    written = JSON.stringify(value);
  } catch (cause) {
    throw new SluiceError('INVALID_REQUEST', 'the value cannot be written as JSON', { cause });
  }
  // JSON.stringify answers undefined for functions, symbols and undefined itself.
  return written ?? refuse(`${typeof value} cannot be written as JSON`);
}

function parse(source: string): unknown {
  try {
    return JSON.parse(source) as unknown;
  } catch (cause) {
    throw new SluiceError('INVALID_REQUEST', 'the stored bytes are not JSON', { cause });
  }
}

function check(schema: StandardSchema, value: unknown): unknown {
  const result = schema['~standard'].validate(value);
  if (result instanceof Promise) {
    // It may reject later, and nobody would look.
    result.catch(() => {});
    return refuse('the schema validates asynchronously; only synchronous schemas can describe a topic');
  }
  return result.issues === undefined ? result.value : refuse(describeIssues(result.issues));
}

function describeIssues(issues: readonly StandardIssue[]): string {
  return issues
    .map(issue => {
      const path = (issue.path ?? []).map(part => String(typeof part === 'object' ? part.key : part)).join('.');
      return path === '' ? issue.message : `${path}: ${issue.message}`;
    })
    .join('; ');
}

// A byte order mark is part of the text that somebody stored.
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function utf8(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch (cause) {
    throw new SluiceError('INVALID_REQUEST', 'the stored bytes are not UTF-8', { cause });
  }
}

function refuse(detail: string): never {
  throw new SluiceError('INVALID_REQUEST', detail);
}
