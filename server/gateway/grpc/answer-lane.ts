// Order within one partition of one produce stream.
//
// Two things could break it: a batch that is still being compressed while the next one is ready, and a refusal that is
// known at once while earlier requests still wait for the disk. So a lane submits in order and answers in order; lanes
// do not wait for each other.
//
//   entries:  [ settled | settled | waiting | settled ]      answers leave from the left while they are settled
//
// Invariant: entries are in the order of their requests; the first one is not settled.

import { assert } from '../../base/assert.ts';

interface Entry<Answer> {
  isSettled: boolean;
  answer: Answer | null;
}

export class AnswerLane<Answer> {
  readonly #entries: Entry<Answer>[] = [];
  readonly #send: (answer: Answer) => void;
  /** Set while something is not submitted yet; later requests line up behind it. */
  #submitting: Promise<void> | null = null;

  constructor(send: (answer: Answer) => void) {
    this.#send = send;
  }

  get isEmpty(): boolean {
    return this.#entries.length === 0;
  }

  /** Takes a place in the order of answers. The returned function settles it, once; null: there is nothing to send. */
  enter(): (answer: Answer | null) => void {
    const entry: Entry<Answer> = { isSettled: false, answer: null };
    this.#entries.push(entry);
    return answer => {
      assert(!entry.isSettled, 'a request is answered once');
      entry.isSettled = true;
      entry.answer = answer;
      this.#flush();
    };
  }

  /** Runs `submit` after all that came before was submitted: at once where nothing is being prepared. */
  inOrder(submit: () => Promise<void> | undefined): void {
    const preparing = this.#submitting === null ? submit() : this.#submitting.then(submit);
    if (preparing === undefined) return;
    const submitting = preparing.finally(() => {
      if (this.#submitting === submitting) this.#submitting = null;
    });
    this.#submitting = submitting;
  }

  #flush(): void {
    let count = 0;
    for (const entry of this.#entries) {
      if (!entry.isSettled) break;
      if (entry.answer !== null) this.#send(entry.answer);
      count++;
    }
    this.#entries.splice(0, count);
  }
}
