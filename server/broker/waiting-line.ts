// Requests that wait for one partition's leader, in the order in which they came.
//
// The first one looks for the leader. When somebody took it, all are released and ask in their order; until the last of them has asked,
// whoever comes joins the end.

export interface Place {
  /** Of arrival, which may be long before it had to wait. */
  readonly order: number;
  /** It need not be the first to go on. */
  isReleased: boolean;
  wake: (() => void) | null;
}

export class WaitingLine {
  readonly #places: Place[] = [];

  get isEmpty(): boolean {
    return this.#places.length === 0;
  }

  join(order: number): Place {
    const place: Place = { order, isReleased: false, wake: null };
    const before = this.#places.findLastIndex(other => other.order < order);
    this.#places.splice(before + 1, 0, place);
    return place;
  }

  isBehind(place: Place): boolean {
    return !place.isReleased && this.#places[0] !== place;
  }

  /** Whoever is the first now goes on. */
  leave(place: Place): void {
    const at = this.#places.indexOf(place);
    if (at >= 0) this.#places.splice(at, 1);
    this.#places[0]?.wake?.();
  }

  release(): void {
    for (const place of this.#places) place.isReleased = true;
    this.wakeAll();
  }

  wakeAll(): void {
    for (const { wake } of this.#places) wake?.();
  }
}
