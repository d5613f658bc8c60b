// The codecs of a batch's records: names, ids, and what each can do here.
//
// Guarantees: nothing throws on bad input, refusals are values; output is bounded before it is allocated, so a few
// bytes on the wire cannot take the memory of the process. A codec is one row of ROWS; one without functions is known
// by name and id (its batches are stored and served as they are) but can neither be built nor read here.
// Gzip and zstd are Node's own; their asynchronous forms run in the libuv pool.

import zlib from 'node:zlib';

export type Codec = 'none' | 'gzip' | 'snappy' | 'lz4' | 'zstd';

/** Above this many uncompressed bytes compression leaves the event loop: about a third of a millisecond of work. */
export const COMPRESS_OFF_LOOP_BYTES = 65_536;
/** Above this many compressed bytes decompression leaves the event loop. */
export const DECOMPRESS_OFF_LOOP_BYTES = 16_384;
/** What one batch may inflate to unless the caller says otherwise. */
export const DECOMPRESSED_BYTES_MAX = 64 * 1024 * 1024;

export type CompressionFault =
  | { kind: 'unsupported-codec'; codec: Codec | null; detail: string }
  | { kind: 'decompressed-size'; bytesMax: number; detail: string }
  | { kind: 'decompress'; detail: string };

export type CompressionResult = { ok: true; bytes: Uint8Array } | { ok: false; fault: CompressionFault };

interface CodecRow {
  readonly codec: Codec;
  readonly functions: CodecFunctions | null;
}

interface CodecFunctions {
  compressSync(input: Uint8Array): Uint8Array;
  compress(input: Uint8Array): Promise<Uint8Array>;
  /** May throw: the callers below turn that into a fault. */
  decompressSync(input: Uint8Array, bytesMax: number): Uint8Array;
  decompress(input: Uint8Array, bytesMax: number): Promise<Uint8Array>;
}

const COPY: CodecFunctions = {
  compressSync: input => input,
  compress: input => Promise.resolve(input),
  decompressSync: input => input,
  decompress: input => Promise.resolve(input),
};

const GZIP: CodecFunctions = {
  compressSync: input => zlib.gzipSync(input, { chunkSize: chunkBytes(input.length) }),
  compress: input => settle(done => zlib.gzip(input, { chunkSize: chunkBytes(input.length) }, done)),
  decompressSync: (input, bytesMax) => zlib.gunzipSync(input, outputBounds(input, bytesMax)),
  decompress: (input, bytesMax) => settle(done => zlib.gunzip(input, outputBounds(input, bytesMax), done)),
};

const ZSTD: CodecFunctions = {
  compressSync: input => zlib.zstdCompressSync(input, { chunkSize: chunkBytes(input.length) }),
  compress: input => settle(done => zlib.zstdCompress(input, { chunkSize: chunkBytes(input.length) }, done)),
  decompressSync: (input, bytesMax) => zlib.zstdDecompressSync(input, outputBounds(input, bytesMax)),
  decompress: (input, bytesMax) => settle(done => zlib.zstdDecompress(input, outputBounds(input, bytesMax), done)),
};

/** A row's index is the codec's id in the attributes. */
const ROWS: readonly CodecRow[] = [
  { codec: 'none', functions: COPY },
  { codec: 'gzip', functions: GZIP },
  { codec: 'snappy', functions: null },
  { codec: 'lz4', functions: null },
  { codec: 'zstd', functions: ZSTD },
];

/** Null for the ids that mean nothing (5 to 7). */
export function codecOfId(id: number): Codec | null {
  return ROWS[id]?.codec ?? null;
}

export function codecId(codec: Codec): number {
  return ROWS.findIndex(row => row.codec === codec);
}

/** True when batches of this codec can be built and read here, not merely stored and passed on. */
export function isCodecSupported(codec: Codec): boolean {
  return ROWS[codecId(codec)]?.functions !== null;
}

/** With 'none' the answer is the input itself, here and in the three functions below. */
export function compressSync(codec: Codec, input: Uint8Array): CompressionResult {
  const functions = functionsOf(codec);
  return functions === null ? unsupported(codec) : { ok: true, bytes: functions.compressSync(input) };
}

export async function compress(codec: Codec, input: Uint8Array): Promise<CompressionResult> {
  const functions = functionsOf(codec);
  return functions === null ? unsupported(codec) : { ok: true, bytes: await functions.compress(input) };
}

export function decompressSync(codec: Codec | null, input: Uint8Array, bytesMax: number): CompressionResult {
  const functions = functionsOf(codec);
  if (functions === null) return unsupported(codec);
  try {
    return { ok: true, bytes: functions.decompressSync(input, bytesMax) };
  } catch (error) {
    return refusal(error, bytesMax);
  }
}

export async function decompress(codec: Codec | null, input: Uint8Array, bytesMax: number): Promise<CompressionResult> {
  const functions = functionsOf(codec);
  if (functions === null) return unsupported(codec);
  try {
    return { ok: true, bytes: await functions.decompress(input, bytesMax) };
  } catch (error) {
    return refusal(error, bytesMax);
  }
}

function functionsOf(codec: Codec | null): CodecFunctions | null {
  return codec === null ? null : (ROWS[codecId(codec)]?.functions ?? null);
}

function unsupported(codec: Codec | null): CompressionResult {
  const detail =
    codec === null ? 'the codec id means nothing' : `records compressed with ${codec} cannot be opened here`;
  return { ok: false, fault: { kind: 'unsupported-codec', codec, detail } };
}

function refusal(error: unknown, bytesMax: number): CompressionResult {
  const { code, message } = error as { code?: unknown; message?: unknown };
  if (code === 'ERR_BUFFER_TOO_LARGE') {
    const detail = `the records inflate to more than ${bytesMax} bytes`;
    return { ok: false, fault: { kind: 'decompressed-size', bytesMax, detail } };
  }
  return { ok: false, fault: { kind: 'decompress', detail: String(message ?? error) } };
}

function outputBounds(input: Uint8Array, bytesMax: number): { maxOutputLength: number; chunkSize: number } {
  return { maxOutputLength: bytesMax, chunkSize: chunkBytes(Math.min(bytesMax, input.length * 4)) };
}

/** One output buffer for most batches, instead of many of zlib's 16 KiB ones that are then joined. */
function chunkBytes(expectedBytes: number): number {
  return Math.min(Math.max(expectedBytes + 64, 4096), 1024 * 1024);
}

function settle(start: (done: (error: Error | null, bytes: Uint8Array) => void) => void): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    start((error, bytes) => (error === null ? resolve(bytes) : reject(error)));
  });
}
