// What one HTTP/2 session may do to the broker, beside what its streams carry.
//
// Node and nghttp2 bound most of it when they are told to (SessionLimits): resets, invalid and empty frames, streams beyond
// the limit, entries of settings and headers, CONTINUATION frames, acknowledgements that pile up. Left to us: a peer that
// never says a word of HTTP/2, floods of pings and settings that cost an answer each, and streams whose reader stands still.

import type { ServerHttp2Session, ServerHttp2Stream, ServerSessionOptions } from 'node:http2';
import { constants } from 'node:http2';
import {
  GRPC_CONTROL_FRAMES_PER_SECOND_MAX,
  GRPC_HEADER_PAIRS_MAX,
  GRPC_IDLE_CONTROL_FRAMES_PER_SECOND_MAX,
  GRPC_INVALID_FRAMES_MAX,
  GRPC_REJECTED_STREAMS_MAX,
  GRPC_RESETS_BURST_MAX,
  GRPC_RESETS_PER_SECOND_MAX,
  GRPC_SETTINGS_MAX,
  GRPC_SILENCE_MS_MAX,
  HEADER_TIMEOUT_MS,
} from '../../base/limits.ts';
import type { ConnectionMetrics } from '../../base/metrics.ts';
import type { Clock } from '../../io/clock.ts';

/** What is Node's to enforce. */
export const sessionLimits: ServerSessionOptions = {
  maxSettings: GRPC_SETTINGS_MAX,
  maxHeaderListPairs: GRPC_HEADER_PAIRS_MAX,
  maxSessionInvalidFrames: GRPC_INVALID_FRAMES_MAX,
  maxSessionRejectedStreams: GRPC_REJECTED_STREAMS_MAX,
  streamResetBurst: GRPC_RESETS_BURST_MAX,
  streamResetRate: GRPC_RESETS_PER_SECOND_MAX,
};

const SECOND_MS = 1_000;

export const guardSession = (session: ServerHttp2Session, clock: Clock, metrics: ConnectionMetrics): void => {
  const cut = (code: number): void => {
    if (session.destroyed) return;
    metrics.cut();
    session.destroy(undefined, code);
  };
  // The settings that every peer begins with.
  const preface = clock.schedule(HEADER_TIMEOUT_MS, () => cut(constants.NGHTTP2_SETTINGS_TIMEOUT));
  let secondMs = clock.monotonicMs();
  let frames = 0;
  let openStreams = 0;
  const count = (): void => {
    frames++;
    const framesMax = openStreams > 0 ? GRPC_CONTROL_FRAMES_PER_SECOND_MAX : GRPC_IDLE_CONTROL_FRAMES_PER_SECOND_MAX;
    if (frames < GRPC_IDLE_CONTROL_FRAMES_PER_SECOND_MAX) return;
    const now = clock.monotonicMs();
    if (now - secondMs >= SECOND_MS) {
      secondMs = now;
      frames = 1;
    } else if (frames > framesMax) {
      cut(constants.NGHTTP2_ENHANCE_YOUR_CALM);
    }
  };
  session.on('stream', (stream: ServerHttp2Stream) => {
    openStreams++;
    stream.once('close', () => openStreams--);
  });
  session.on('ping', count);
  session.on('remoteSettings', () => {
    preface.cancel();
    count();
  });
  // Errors of the protocol end a session by themselves: resets beyond the rate, invalid frames.
  session.on('error', () => metrics.cut());
  session.once('close', () => preface.cancel());
};

/** A stream that is silent because nothing happens is fine; one that has not taken what there is for it is not. */
export const guardStream = (stream: ServerHttp2Stream): void => {
  stream.setTimeout(GRPC_SILENCE_MS_MAX, () => {
    if (stream.writableLength > 0) stream.close(constants.NGHTTP2_CANCEL);
  });
};
