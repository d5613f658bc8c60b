// How a simulated link behaves, in one direction, and the draws that follow from it.

import type { SeededRandom } from './random.ts';

export interface LinkSettings {
  readonly delayMsMin: number;
  readonly delayMsMax: number;
  readonly bytesPerMs: number;
  /** At each frame: the session breaks instead, and all that is under way on it is lost. */
  readonly breakChance: number;
  /** At each call: the listener has no memory for it, and does not begin it. */
  readonly refuseCallChance: number;
  /** At each call: it is carried out, and there is no memory for its answer. */
  readonly dropAnswerChance: number;
  /**
   * Worse than the contract of the link allows, for what has to survive it all the same: one frame is lost, comes twice, or
   * comes late, and the session stays.
   */
  readonly loseChance: number;
  readonly repeatChance: number;
  readonly reorderChance: number;
}

export const calm: LinkSettings = {
  delayMsMin: 0.1,
  delayMsMax: 1,
  bytesPerMs: 1_000_000,
  breakChance: 0,
  refuseCallChance: 0,
  dropAnswerChance: 0,
  loseChance: 0,
  repeatChance: 0,
  reorderChance: 0,
};

/** How much later than others a frame out of order, or a second copy, may come: in delays. */
const LATE_DELAYS = 20;

export const delayMs = (settings: LinkSettings, random: SeededRandom): number =>
  settings.delayMsMin + (settings.delayMsMax - settings.delayMsMin) * random.fraction();

export const lateDelayMs = (settings: LinkSettings, random: SeededRandom): number =>
  delayMs(settings, random) + settings.delayMsMax * LATE_DELAYS * random.fraction();
