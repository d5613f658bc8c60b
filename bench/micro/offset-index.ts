// How fast a fetch finds where to begin in a segment: `node bench/micro/offset-index.ts`. Bytes are those of the file.
//
// The largest index is that of a 1 GiB segment with an entry every 4 KiB.

import { OffsetIndex } from '../../server/storage/offset-index.ts';
import { measure } from './measuring.ts';

const CALLS = 10_000;
const INTERVAL = 4_096;
const OFFSETS_PER_ENTRY = 40;

for (const entryCount of [1_024, 16_384, 262_143]) {
  const index = new OffsetIndex();
  for (let entry = 0; entry < entryCount; entry++)
    index.append((entry + 1) * OFFSETS_PER_ENTRY, (entry + 1) * INTERVAL);
  // Spread over the index by a stride that shares no factor with its length, so that nothing is predicted.
  let target = 0;
  const next = (span: number): number => {
    target = (target + 982_451_653) % span;
    return target;
  };
  measure(`offset to entry, ${entryCount} entries`, { unit: 'calls' }, () => {
    for (let call = 0; call < CALLS; call++) {
      const wanted = next(entryCount * OFFSETS_PER_ENTRY);
      if (index.floor(wanted) !== Math.floor(wanted / OFFSETS_PER_ENTRY) - 1) throw new Error('found another entry');
    }
    return CALLS;
  });
  measure(`position to entry, ${entryCount} entries`, { unit: 'calls' }, () => {
    for (let call = 0; call < CALLS; call++) {
      const wanted = next(entryCount * INTERVAL);
      if (index.floorByPosition(wanted) !== Math.floor(wanted / INTERVAL) - 1) throw new Error('found another entry');
    }
    return CALLS;
  });
  const file = index.bytes.slice(0, index.byteLength);
  measure(`loadTrusted, ${entryCount} entries`, { unit: 'calls', bytes: file.length }, () => {
    const loaded = new OffsetIndex();
    if (!loaded.loadTrusted(file, 0x7fffffff) || loaded.count !== entryCount) throw new Error('entries were lost');
    return 1;
  });
}
