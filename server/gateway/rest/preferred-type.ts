// Which rendering a client wants: the Accept header (RFC 9110, 12.5.1) against what an operation can give.

import type { Exchange } from './exchange.ts';

interface Range {
  readonly type: string;
  readonly quality: number;
}

/** The offered type that the client likes best, the earlier where it likes two the same; null when it takes none. */
export const preferredType = <T extends string>(exchange: Exchange, offered: readonly [T, ...T[]]): T | null => {
  const { accept } = exchange.request.headers;
  if (accept === undefined || accept === '*/*' || accept === offered[0]) return offered[0];
  const ranges = accept.split(',').map(parseRange);
  let best: T | null = null;
  let bestQuality = 0;
  for (const type of offered) {
    const quality = qualityOf(type, ranges);
    if (quality > bestQuality) {
      best = type;
      bestQuality = quality;
    }
  }
  return best;
};

const parseRange = (text: string): Range => {
  const [type, ...parameters] = text.split(';');
  let quality = 1;
  for (const parameter of parameters) {
    const match = /^\s*q\s*=\s*([0-9.]+)\s*$/i.exec(parameter);
    if (match !== null) quality = Math.min(1, Number(match[1]) || 0);
  }
  return { type: type!.trim().toLowerCase(), quality };
};

/** The most specific range that covers the type decides. */
const qualityOf = (type: string, ranges: readonly Range[]): number => {
  const family = `${type.slice(0, type.indexOf('/'))}/*`;
  for (const candidate of [type, family, '*/*']) {
    const range = ranges.find(one => one.type === candidate);
    if (range !== undefined) return range.quality;
  }
  return 0;
};
