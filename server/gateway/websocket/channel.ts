// What a session needs of its connection. The real one is connection.ts; tests have one in memory.

import type { FeedPiece } from '../record-feed.ts';

export interface Channel {
  /** Everything that was sent is with the kernel. */
  readonly isDrained: boolean;
  /** Resolves when it is drained, or closed. */
  drained(): Promise<void>;
  /** `onFlushed` is called when the text is with the kernel, and when it never will be. */
  send(text: string, onFlushed?: () => void): void;
  sendRecords(name: string, piece: FeedPiece): void;
}
