// Records as the text of one piece of a feed: Server-Sent Events, the members of a JSON list, or lines.
//
//   events    id: CURSOR\n data: RECORD\n \n      the cursor is that after the record, so that a client resumes behind it
//   members   RECORD,RECORD,…
//   lines     RECORD\n
//   values    VALUE\n                          tombstones are left out, and not counted

import type { Offset } from '@sluice/protocol/ids';
import { offset } from '@sluice/protocol/ids';
import type { RecordCursor } from '@sluice/protocol/record';
import type { FetchPosition, TopicView } from '../broker/broker.ts';
import { CursorWriter } from './cursor.ts';
import type { ValueForm } from './record-json.ts';
import { recordPrefix, renderRecord, renderValueLine } from './record-json.ts';
import type { RecordVisitor } from './record-reader.ts';
import { TextBuffer } from './text-buffer.ts';

export type FeedStyle = 'events' | 'members' | 'lines' | 'values';

export interface FeedRenderingOptions {
  readonly topic: TopicView;
  readonly values: ValueForm;
  readonly style: FeedStyle;
  /** Where the piece begins: every partition of the read, for the cursors of events. */
  readonly positions: readonly FetchPosition[];
  /** The piece ends before these, where a partition has one. */
  readonly bounds: ReadonlyMap<number, Offset> | null;
  readonly recordsMax: number;
  /** Of keys, values and headers as stored: the record that reaches it still goes whole. */
  readonly storedBytesMax: number;
}

/** A piece ends behind the record that makes it this long: a few milliseconds of the event loop. */
const PIECE_TEXT_BYTES = 64 * 1024;

/** A member longer than this comes with its value as base64, which is never longer than 4/3 of what is stored. */
const MEMBER_TEXT_BYTES_MAX = 4 * 1024 * 1024;

const COMMA = 0x2c;
const LINE_END = 0x0a;

interface Mark {
  readonly length: number;
  readonly count: number;
  readonly storedBytes: number;
}

export class FeedRendering implements RecordVisitor {
  readonly out = new TextBuffer();
  count = 0;
  storedBytes = 0;
  readonly #options: FeedRenderingOptions;
  readonly #prefixes = new Map<number, string>();
  /** Follows the records; members carry no cursors. */
  readonly #cursors: CursorWriter | null;
  #mark: Mark = { length: 0, count: 0, storedBytes: 0 };

  constructor(options: FeedRenderingOptions) {
    const { style, topic, positions } = options;
    this.#options = options;
    this.#cursors = style === 'events' ? new CursorWriter({ topicId: topic.id, positions }) : null;
  }

  /** Nothing more fits into this piece. */
  get isFull(): boolean {
    const { recordsMax, storedBytesMax } = this.#options;
    return this.out.length >= PIECE_TEXT_BYTES || this.count >= recordsMax || this.storedBytes >= storedBytesMax;
  }

  visit(partition: number, cursor: RecordCursor): boolean {
    if (this.#render(partition, cursor)) this.count++;
    this.storedBytes += storedBytesOf(cursor);
    const bound = this.#options.bounds?.get(partition);
    return !this.isFull && (bound === undefined || cursor.offset + 1 < bound);
  }

  mark(): void {
    this.#mark = { length: this.out.length, count: this.count, storedBytes: this.storedBytes };
  }

  undo(): void {
    this.out.truncate(this.#mark.length);
    this.count = this.#mark.count;
    this.storedBytes = this.#mark.storedBytes;
  }

  /** False for a record that has nothing to show in this style. */
  #render(partition: number, cursor: RecordCursor): boolean {
    const { style, values } = this.#options;
    if (style === 'values') return renderValueLine(cursor, values, this.out);
    if (this.#cursors !== null) this.#event(partition, cursor, this.#cursors);
    else if (style === 'lines') {
      renderRecord(cursor, this.#prefix(partition), values, this.out);
      this.out.byte(LINE_END);
    } else {
      if (this.count > 0) this.out.byte(COMMA);
      this.#member(partition, cursor);
    }
    return true;
  }

  #event(partition: number, cursor: RecordCursor, cursors: CursorWriter): void {
    const { out } = this;
    cursors.move(partition, offset(cursor.offset + 1));
    out.ascii('id: ');
    cursors.writeTo(out);
    out.ascii('\ndata: ');
    renderRecord(cursor, this.#prefix(partition), this.#options.values, out);
    out.ascii('\n\n');
  }

  #member(partition: number, cursor: RecordCursor): void {
    const { out } = this;
    const { values } = this.#options;
    const before = out.length;
    const headersEnd = cursor.position;
    renderRecord(cursor, this.#prefix(partition), values, out);
    if (out.length - before <= MEMBER_TEXT_BYTES_MAX || values === 'base64') return;
    out.truncate(before);
    cursor.position = headersEnd;
    renderRecord(cursor, this.#prefix(partition), 'base64', out);
  }

  #prefix(partition: number): string {
    let prefix = this.#prefixes.get(partition);
    if (prefix === undefined) {
      prefix = recordPrefix(this.#options.topic.name, partition);
      this.#prefixes.set(partition, prefix);
    }
    return prefix;
  }
}

/** Key, value and headers of the record that the cursor stands on; headers with the lengths between them. */
const storedBytesOf = (cursor: RecordCursor): number =>
  cursor.keyEnd - cursor.keyStart + (cursor.valueEnd - cursor.valueStart) + (cursor.position - cursor.headersStart);
