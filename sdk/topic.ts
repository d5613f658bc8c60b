// What a program knows of a topic: its name and how its keys and values are written.

import { bytes, json, type FieldCodec } from './field-codec.ts';
import { SluiceError } from './sluice-error.ts';
import { isStandardSchema, type SchemaInput, type SchemaOutput, type StandardSchema } from './standard-schema.ts';
import { topicNameFault } from '@sluice/protocol/ids';

/** In: what is sent. Out: what is read. */
export interface Topic<KeyIn, KeyOut, ValueIn, ValueOut> {
  readonly name: string;
  readonly key: FieldCodec<KeyIn, KeyOut>;
  readonly value: FieldCodec<ValueIn, ValueOut>;
}

/** Bytes in and out, strings in too: what a plain topic name means. */
export type RawTopic = Topic<Uint8Array | string, Uint8Array, Uint8Array | string, Uint8Array>;

// oxlint-disable-next-line typescript/no-explicit-any -- stands for every type, in both directions
type AnyField = FieldCodec<any, any> | StandardSchema;
type FieldIn<F> = F extends FieldCodec<infer In, infer _> ? In : F extends StandardSchema ? SchemaInput<F> : never;
type FieldOut<F> = F extends FieldCodec<infer _, infer Out> ? Out : F extends StandardSchema ? SchemaOutput<F> : never;

export interface TopicDefinition<K extends AnyField, V extends AnyField> {
  readonly name: string;
  /** A codec, or a Standard Schema for JSON. Absent: bytes. */
  readonly key?: K;
  readonly value?: V;
}

export function defineTopic<K extends AnyField = typeof bytes, V extends AnyField = typeof bytes>(
  definition: TopicDefinition<K, V>,
): Topic<FieldIn<K>, FieldOut<K>, FieldIn<V>, FieldOut<V>> {
  const fault = topicNameFault(definition.name);
  if (fault !== null) throw new SluiceError('INVALID_TOPIC_NAME', fault);
  return {
    name: definition.name,
    key: codecOf(definition.key) as FieldCodec<FieldIn<K>, FieldOut<K>>,
    value: codecOf(definition.value) as FieldCodec<FieldIn<V>, FieldOut<V>>,
  };
}

/** A plain name is a topic of bytes. */
export const asTopic = <KI, KO, VI, VO>(topic: Topic<KI, KO, VI, VO> | string): Topic<KI, KO, VI, VO> =>
  typeof topic === 'string' ? (defineTopic({ name: topic }) as unknown as Topic<KI, KO, VI, VO>) : topic;

function codecOf(field: AnyField | undefined): FieldCodec<unknown> {
  if (field === undefined) return bytes;
  return isStandardSchema(field) ? json(field) : field;
}
