// How fast positions become cursors and cursors positions: `node bench/micro/cursor.ts`. Bytes are the cursor's characters.

import { offset, topicId } from '@sluice/protocol/ids';
import { decodeCursor, encodeCursor } from '../../server/gateway/cursor.ts';
import { measure } from './measuring.ts';

const id = topicId('01234567-89ab-4def-8123-456789abcdef');
const CALLS = 100;

for (const partitionCount of [1, 16, 256]) {
  const positions = Array.from({ length: partitionCount }, (_, partition) => ({
    partition,
    offset: offset(1_234_567_890 + partition),
  }));
  const cursor = encodeCursor({ topicId: id, positions });
  const calls = { unit: 'calls', bytes: cursor.length } as const;
  measure(`encodeCursor, partitions: ${partitionCount}`, calls, () => {
    for (let call = 0; call < CALLS; call++) {
      if (encodeCursor({ topicId: id, positions }) !== cursor) throw new Error('the cursors differ');
    }
    return CALLS;
  });
  measure(`decodeCursor, partitions: ${partitionCount}`, calls, () => {
    for (let call = 0; call < CALLS; call++) {
      if (decodeCursor(cursor)?.positions.length !== partitionCount) throw new Error('positions were lost');
    }
    return CALLS;
  });
}
