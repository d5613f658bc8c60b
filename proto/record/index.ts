// The record batch, version 2: what `@sluice/protocol/record` offers. Each file says what it guarantees.

export * from './layout.ts';
export * from './view.ts';
export * from './stamp.ts';
export * from './crc32c.ts';
export * from './murmur2.ts';
export * from './varint.ts';
export * from './compression.ts';
export * from './control.ts';
export * from './configuration.ts';
export * from './encoder.ts';
export * from './empty.ts';
export * from './decoder.ts';
