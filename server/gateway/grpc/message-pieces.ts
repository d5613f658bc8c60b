// One message of a gRPC stream, written in the pieces that it lies in.
//
//   0 (not compressed) 1 | length 4 | piece | piece | …
//
// Relies on the pieces not changing until they are sent, and on the headers having been sent.

import type { ServerHttp2Stream } from 'node:http2';

const PREFIX_BYTES = 5;

/** `sent` is called when the connection has taken all of it; never where the stream is gone, which tells so itself. */
export const writeMessage = (stream: ServerHttp2Stream, pieces: readonly Uint8Array[], sent: () => void): void => {
  if (stream.destroyed || stream.closed) return;
  let length = 0;
  for (const piece of pieces) length += piece.length;
  const prefix = Buffer.alloc(PREFIX_BYTES);
  prefix.writeUInt32BE(length, 1);
  // Together, so that they leave in one write.
  stream.cork();
  let last: Uint8Array = prefix;
  for (const piece of pieces) {
    if (piece.length === 0) continue;
    stream.write(last);
    last = piece;
  }
  stream.write(last, error => {
    // After an error the stream is closed, and the call with it.
    if (error === null || error === undefined) sent();
  });
  stream.uncork();
};
