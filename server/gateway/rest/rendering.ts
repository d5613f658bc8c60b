// Records as text, rendered while a RecordReader visits them: members of a JSON page, JSON lines, or values alone.

import type { RecordCursor } from '@sluice/protocol/record';
import { recordPrefix, renderRecord, renderValueLine } from '../record-json.ts';
import type { RecordVisitor } from '../record-reader.ts';
import { TextBuffer } from '../text-buffer.ts';
import type { ReadPlan } from './read-plan.ts';

/**
 * Text rendered before it is sent: compressed batches may inflate sixty-fold, and max_bytes counts what is stored. A page
 * ends there.
 */
const PAGE_TEXT_BYTES_MAX = 64 * 1024 * 1024;

const LINE_END = 0x0a;
const COMMA = 0x2c;

/** Renders records as they are visited, up to a limit. */
export class Rendering implements RecordVisitor {
  readonly out = new TextBuffer();
  count = 0;
  /** Streams set less before each piece. */
  textBytesMax = PAGE_TEXT_BYTES_MAX;
  readonly #prefixes = new Map<number, string>();
  readonly #plan: ReadPlan;
  readonly #style: 'page' | 'lines' | 'text';
  readonly #limit: number;
  #markedLength = 0;
  #markedCount = 0;
  #separator = false;

  constructor(plan: ReadPlan, style: 'page' | 'lines' | 'text', limit: number) {
    this.#plan = plan;
    this.#style = style;
    this.#limit = limit;
  }

  get isFull(): boolean {
    return this.count >= this.#limit;
  }

  /** More must not be rendered before this was sent. */
  get isLarge(): boolean {
    return this.out.length >= this.textBytesMax;
  }

  visit(partition: number, cursor: RecordCursor): boolean {
    const { out } = this;
    if (this.#style === 'text') {
      if (!renderValueLine(cursor, this.#plan.form, out)) return true;
    } else {
      if (this.#style === 'page') {
        if (this.#separator) out.byte(COMMA);
        this.#separator = true;
      }
      renderRecord(cursor, this.#prefix(partition), this.#plan.form, out);
      if (this.#style === 'lines') out.byte(LINE_END);
    }
    this.count++;
    return this.count < this.#limit && out.length < this.textBytesMax;
  }

  mark(): void {
    this.#markedLength = this.out.length;
    this.#markedCount = this.count;
  }

  undo(): void {
    this.out.truncate(this.#markedLength);
    this.count = this.#markedCount;
    this.#separator = this.count > 0;
  }

  #prefix(partition: number): string {
    let prefix = this.#prefixes.get(partition);
    if (prefix === undefined) {
      prefix = recordPrefix(this.#plan.topic.name, partition);
      this.#prefixes.set(partition, prefix);
    }
    return prefix;
  }
}
