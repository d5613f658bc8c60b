// The codecs of a batch's records: names, ids, and how each compresses and inflates.
//
// Guarantees: nothing throws on bad input, refusals are values; output is bounded before it is allocated, so a few
// bytes on the wire cannot take the memory of the process. A codec is one row of ROWS.
// Gzip and zstd are Node's own; their asynchronous forms run in the libuv pool. Snappy and LZ4 are here, in JavaScript;
// their asynchronous forms let the event loop turn after each piece of work.

import { setImmediate } from 'node:timers/promises';
import zlib from 'node:zlib';
import { lz4Deflation, lz4Inflation } from './lz4.ts';
import { malformed, tooLarge, type InflateFault, type OpenedInflation, type Piecework } from './piecework.ts';
import { snappyDeflation, snappyInflation } from './snappy.ts';

export type Codec = 'none' | 'gzip' | 'snappy' | 'lz4' | 'zstd';

/** Above this many uncompressed bytes compression leaves the event loop: about a third of a millisecond of work. */
export const COMPRESS_OFF_LOOP_BYTES = 65_536;
/** Above this many compressed bytes decompression leaves the event loop. */
export const DECOMPRESS_OFF_LOOP_BYTES = 16_384;
/** What one batch may inflate to unless the caller says otherwise. */
export const DECOMPRESSED_BYTES_MAX = 64 * 1024 * 1024;

/** The first is an id that means nothing. */
export type CompressionFault = { kind: 'unsupported-codec'; detail: string } | InflateFault;

export type CompressionResult = { ok: true; bytes: Uint8Array } | { ok: false; fault: CompressionFault };

interface CodecRow {
  readonly codec: Codec;
  readonly functions: CodecFunctions;
}

interface CodecFunctions {
  compressSync(input: Uint8Array): Uint8Array;
  compress(input: Uint8Array): Promise<Uint8Array>;
  decompressSync(input: Uint8Array, bytesMax: number): CompressionResult;
  decompress(input: Uint8Array, bytesMax: number): Promise<CompressionResult>;
}

const COPY: CodecFunctions = {
  compressSync: input => input,
  compress: input => Promise.resolve(input),
  decompressSync: input => ({ ok: true, bytes: input }),
  decompress: input => Promise.resolve({ ok: true, bytes: input }),
};

const GZIP: CodecFunctions = {
  compressSync: input => zlib.gzipSync(input, { chunkSize: chunkBytes(input.length) }),
  compress: input => settle(done => zlib.gzip(input, { chunkSize: chunkBytes(input.length) }, done)),
  decompressSync: (input, bytesMax) => attempt(bytesMax, () => zlib.gunzipSync(input, outputBounds(input, bytesMax))),
  decompress: (input, bytesMax) =>
    attemptLater(bytesMax, done => zlib.gunzip(input, outputBounds(input, bytesMax), done)),
};

const ZSTD: CodecFunctions = {
  compressSync: input => zlib.zstdCompressSync(input, { chunkSize: chunkBytes(input.length) }),
  compress: input => settle(done => zlib.zstdCompress(input, { chunkSize: chunkBytes(input.length) }, done)),
  decompressSync: (input, bytesMax) =>
    attempt(bytesMax, () => zlib.zstdDecompressSync(input, outputBounds(input, bytesMax))),
  decompress: (input, bytesMax) =>
    attemptLater(bytesMax, done => zlib.zstdDecompress(input, outputBounds(input, bytesMax), done)),
};

const SNAPPY: CodecFunctions = inPieces(snappyDeflation, snappyInflation);

const LZ4: CodecFunctions = inPieces(lz4Deflation, lz4Inflation);

/** A row's index is the codec's id in the attributes. */
const ROWS: readonly CodecRow[] = [
  { codec: 'none', functions: COPY },
  { codec: 'gzip', functions: GZIP },
  { codec: 'snappy', functions: SNAPPY },
  { codec: 'lz4', functions: LZ4 },
  { codec: 'zstd', functions: ZSTD },
];

/** Null for the ids that mean nothing (5 to 7). */
export function codecOfId(id: number): Codec | null {
  return ROWS[id]?.codec ?? null;
}

export function codecId(codec: Codec): number {
  return ROWS.findIndex(row => row.codec === codec);
}

/** With 'none' the answer is the input itself, here and in the three functions below. */
export function compressSync(codec: Codec, input: Uint8Array): Uint8Array {
  return functionsOf(codec).compressSync(input);
}

export function compress(codec: Codec, input: Uint8Array): Promise<Uint8Array> {
  return functionsOf(codec).compress(input);
}

export function decompressSync(codec: Codec | null, input: Uint8Array, bytesMax: number): CompressionResult {
  return codec === null ? UNKNOWN : functionsOf(codec).decompressSync(input, bytesMax);
}

export async function decompress(codec: Codec | null, input: Uint8Array, bytesMax: number): Promise<CompressionResult> {
  return codec === null ? UNKNOWN : await functionsOf(codec).decompress(input, bytesMax);
}

const UNKNOWN: Readonly<CompressionResult> = {
  ok: false,
  fault: { kind: 'unsupported-codec', detail: 'the codec id means nothing' },
};

function functionsOf(codec: Codec): CodecFunctions {
  const row = ROWS[codecId(codec)];
  if (row === undefined) throw new RangeError(`there is no codec ${codec}`);
  return row.functions;
}

function inPieces(
  deflation: (input: Uint8Array) => Piecework,
  inflation: (input: Uint8Array, bytesMax: number) => OpenedInflation,
): CodecFunctions {
  return {
    compressSync: input => atOnce(deflation(input)).output,
    compress: async input => (await piecewise(deflation(input))).output,
    decompressSync: (input, bytesMax) => {
      const opened = inflation(input, bytesMax);
      return opened.ok ? resultOf(atOnce(opened.inflation)) : opened;
    },
    decompress: async (input, bytesMax) => {
      const opened = inflation(input, bytesMax);
      return opened.ok ? resultOf(await piecewise(opened.inflation)) : opened;
    },
  };
}

function atOnce(work: Piecework): Piecework {
  while (work.advance());
  return work;
}

async function piecewise(work: Piecework): Promise<Piecework> {
  while (work.advance()) await setImmediate();
  return work;
}

function resultOf({ fault, output }: Piecework): CompressionResult {
  return fault === null ? { ok: true, bytes: output } : malformed(fault);
}

function attempt(bytesMax: number, inflate: () => Uint8Array): CompressionResult {
  try {
    return { ok: true, bytes: inflate() };
  } catch (error) {
    return refusal(error, bytesMax);
  }
}

async function attemptLater(bytesMax: number, start: StartOfZlib): Promise<CompressionResult> {
  try {
    return { ok: true, bytes: await settle(start) };
  } catch (error) {
    return refusal(error, bytesMax);
  }
}

function refusal(error: unknown, bytesMax: number): CompressionResult {
  const { code, message } = error as { code?: unknown; message?: unknown };
  return code === 'ERR_BUFFER_TOO_LARGE' ? tooLarge(bytesMax) : malformed(String(message ?? error));
}

function outputBounds(input: Uint8Array, bytesMax: number): { maxOutputLength: number; chunkSize: number } {
  return { maxOutputLength: bytesMax, chunkSize: chunkBytes(Math.min(bytesMax, input.length * 4)) };
}

/** One output buffer for most batches, instead of many of zlib's 16 KiB ones that are then joined. */
function chunkBytes(expectedBytes: number): number {
  return Math.min(Math.max(expectedBytes + 64, 4096), 1024 * 1024);
}

type StartOfZlib = (done: (error: Error | null, bytes: Uint8Array) => void) => void;

function settle(start: StartOfZlib): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    start((error, bytes) => (error === null ? resolve(bytes) : reject(error)));
  });
}
