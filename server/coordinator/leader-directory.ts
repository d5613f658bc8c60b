// Who leads the metadata group, as far as this node heard: of two hints the one of the higher term is right. A voter knows by its
// own group; everybody else by what it is answered.

import type { NodeId } from '@sluice/protocol/ids';
import type { LeaderHint } from './pull-message.ts';

export class LeaderDirectory {
  #heard: LeaderHint = { leader: null, term: 0 };
  #own: (() => LeaderHint) | null = null;
  #tellNews: () => void = () => {};
  /** Settles when it may have changed who leads. */
  #news: Promise<void> = this.#nextNews();

  /** This node votes. */
  askFirst(own: () => LeaderHint): void {
    this.#own = own;
  }

  get hint(): LeaderHint {
    const own = this.#own?.() ?? null;
    return own !== null && own.leader !== null && own.term >= this.#heard.term ? own : this.#heard;
  }

  heard(hint: LeaderHint): void {
    if (hint.leader === null || hint.term < this.#heard.term) return;
    const isNews = hint.term > this.#heard.term || hint.leader !== this.#heard.leader;
    this.#heard = hint;
    if (isNews) this.changed();
  }

  get news(): Promise<void> {
    return this.#news;
  }

  /** The own group knows more, or the state that it leads can be used. */
  changed(): void {
    const tell = this.#tellNews;
    this.#news = this.#nextNews();
    tell();
  }

  #nextNews(): Promise<void> {
    return new Promise(resolve => {
      this.#tellNews = resolve;
    });
  }

  /** It does not answer, or says that it does not lead: somebody else is asked next. */
  doubt(node: NodeId): void {
    if (this.#heard.leader === node) this.#heard = { leader: null, term: this.#heard.term };
  }
}
