// `@sluice/client/browser`: what a page imports. The same shape as `@sluice/client`, over one WebSocket and REST.

export type { ErrorCode, Facts } from '@sluice/protocol/errors';
export type * from '../admin.ts';
export { bytes, json, text, type FieldCodec } from '../field-codec.ts';
export { SluiceError, type Outcome } from '../sluice-error.ts';
export type { StandardIssue, StandardResult, StandardSchema } from '../standard-schema.ts';
export { defineTopic, type RawTopic, type Topic } from '../topic.ts';
export { Message, type Header } from './message.ts';
export type * from './producer.ts';
export type { Isolation, ReadFrom, Reader, ReaderOptions } from './reader.ts';
export type { BrowserRuntime, HttpAnswer, HttpRequest, Socket, SocketEvents } from './runtime.ts';
export { Sluice, type SluiceOptions } from './sluice.ts';
export type { Connection } from './socket-link.ts';
