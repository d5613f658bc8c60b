// Holding back the requests of a stream.
//
// A grpc-js stream reads ahead by count (16 messages, each up to the largest size), and pausing it does not stop that.
// The gate sits below the stream, where a message is asked for, so that a held call keeps nothing but what the
// receive window lets in. A handler finds the gate of its call by the call's metadata object, which both share.
//
// What writes itself (`Encoded`) passes by grpc-js on the way out: it would join the pieces and copy them once more behind
// a prefix, which for stored batches is most of what sending them costs.

import type { ServerInterceptor, ServerInterceptingCallInterface } from '@grpc/grpc-js';
import { Metadata, ServerInterceptingCall } from '@grpc/grpc-js';
import type { Message } from '@bufbuild/protobuf';
import { constants } from 'node:http2';
import { assert } from '../../base/assert.ts';
import { streamBelow } from '../../base/grpc-windows.ts';
import { writeMessage } from './message-pieces.ts';
import { type Encoded, isEncoded } from './service-definition.ts';

type Listener = Parameters<ServerInterceptingCallInterface['start']>[0];

export interface ReadGate {
  /** No further request is read; one that was asked for already may still come. */
  hold(): void;
  release(): void;
  /** Ends the call at once, with what its client has not taken. */
  cut(): void;
}

/**
 * Takes no message once a status is on its way. grpc-js ends calls by itself (a message that cannot be read, a deadline) and
 * does not tell the handler before the status is out; a message written meanwhile goes to a stream that has been ended,
 * which then never sends the status, and the call stays open for ever on both sides.
 */
class EndingCall extends ServerInterceptingCall {
  protected readonly below: ServerInterceptingCallInterface;

  constructor(call: ServerInterceptingCallInterface) {
    super(call);
    this.below = call;
  }

  override sendMessage(message: unknown, callback: () => void): void {
    if (streamBelow(this.below).writableEnded) callback();
    else super.sendMessage(message, callback);
  }
}

class GatedCall extends EndingCall implements ReadGate {
  readonly #gates: WeakMap<Metadata, ReadGate>;
  #isHeld = false;
  #isWanted = false;
  #hasHeaders = false;

  constructor(call: ServerInterceptingCallInterface, gates: WeakMap<Metadata, ReadGate>) {
    super(call);
    this.#gates = gates;
  }

  override start(listener: Listener): void {
    super.start({
      onReceiveMetadata: metadata => {
        this.#gates.set(metadata, this);
        listener.onReceiveMetadata(metadata);
      },
      onReceiveMessage: message => listener.onReceiveMessage(message),
      onReceiveHalfClose: () => listener.onReceiveHalfClose(),
      onCancel: () => listener.onCancel(),
    });
  }

  override startRead(): void {
    if (this.#isHeld) this.#isWanted = true;
    else super.startRead();
  }

  override sendMetadata(metadata: Metadata): void {
    this.#hasHeaders = true;
    super.sendMetadata(metadata);
  }

  override sendMessage(message: Message | Encoded, sent: () => void): void {
    const stream = streamBelow(this.below);
    // Before the first message grpc-js calls this for itself.
    if (!this.#hasHeaders && !stream.writableEnded) this.sendMetadata(new Metadata());
    if (isEncoded(message) && !stream.writableEnded) writeMessage(stream, message.pieces(), sent);
    else super.sendMessage(message, sent);
  }

  hold(): void {
    this.#isHeld = true;
  }

  release(): void {
    this.#isHeld = false;
    if (!this.#isWanted) return;
    this.#isWanted = false;
    super.startRead();
  }

  cut(): void {
    streamBelow(this.below).close(constants.NGHTTP2_ENHANCE_YOUR_CALM);
  }
}

export class ReadGates {
  readonly #gates = new WeakMap<Metadata, ReadGate>();

  readonly interceptor: ServerInterceptor = (method, call) =>
    method.requestStream ? new GatedCall(call, this.#gates) : new EndingCall(call);

  of(metadata: Metadata): ReadGate {
    const gate = this.#gates.get(metadata);
    assert(gate !== undefined, 'every call with a request stream has a gate');
    return gate;
  }
}
