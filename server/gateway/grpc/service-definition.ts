// From the descriptors that protobuf-es generates to what grpc-js serves: path, kind and the two codecs of each method.
//
// A handler may answer with a message or with something that knows its own bytes (`Encoded`): the hot answers are
// written by hand. Calls with a stream of requests send those without joining them (ReadGate).

import type { DescMessage, DescMethod, DescService, Message } from '@bufbuild/protobuf';
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import type { MethodDefinition, ServiceDefinition } from '@grpc/grpc-js';

/** An answer that writes itself: its bytes are those of the pieces, one behind the other. */
export interface Encoded {
  pieces(): readonly Uint8Array[];
}

const readOptions = { readUnknownFields: false };

const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

export const isEncoded = (value: Message | Encoded): value is Encoded => 'pieces' in value;

/** Views of `bytes` stay views: nothing of a message is copied. */
const decoder =
  (type: DescMessage) =>
  (bytes: Buffer): Message =>
    fromBinary(type, bytes, readOptions);

const encoder =
  (type: DescMessage) =>
  (value: Message | Encoded): Buffer =>
    isEncoded(value) ? Buffer.concat(value.pieces()) : asBuffer(toBinary(type, value));

const streamsRequests = (method: DescMethod): boolean =>
  method.methodKind === 'client_streaming' || method.methodKind === 'bidi_streaming';

const streamsResponses = (method: DescMethod): boolean =>
  method.methodKind === 'server_streaming' || method.methodKind === 'bidi_streaming';

/** `typeName` serves the same methods under another service's name. */
export const serviceDefinition = (service: DescService, typeName: string = service.typeName): ServiceDefinition => {
  const definition: Record<string, MethodDefinition<Message, Message | Encoded>> = {};
  for (const method of service.methods) {
    definition[method.localName] = {
      path: `/${typeName}/${method.name}`,
      requestStream: streamsRequests(method),
      responseStream: streamsResponses(method),
      requestSerialize: message => asBuffer(toBinary(method.input, message)),
      requestDeserialize: decoder(method.input),
      responseSerialize: encoder(method.output),
      responseDeserialize: decoder(method.output),
    };
  }
  return definition;
};
