// A run of inputs to decoders, each sound bytes with a few changes: what must hold is that every input is answered, without an
// exception of the wrong kind, within a bound of time.
//
// Input `n` of decoder `d` is a function of the seed, `d`, `n` and the number of decoders alone, so that one input can be replayed.

import { SeededRandom } from '../simulation/random.ts';

export interface Decoder {
  readonly name: string;
  readonly sound: readonly Uint8Array[];
  /** May change the bytes. A promise is waited for. */
  readonly decode: (bytes: Uint8Array) => unknown;
}

export interface FuzzFinding {
  readonly decoder: string;
  readonly seed: string;
  readonly input: number;
  readonly bytes: string;
  readonly fault: string;
}

/** Slower inputs are decoded once more, and the quicker time counts: other processes may have had the processor. */
const SLOW_MS = 100;

const INTERESTING = [0, 1, 0x7f, 0x80, 0xff, 0x22, 0x5b, 0x7b, 0x7d, 0x0a];

/** A sound input with a few bytes changed, a part left out, doubled or moved, or bytes without any sense. */
export const mutated = (sound: Uint8Array, random: SeededRandom): Uint8Array => {
  if (random.chance(0.05)) return Uint8Array.from({ length: random.below(120) }, () => random.below(256));
  let bytes = Uint8Array.from(sound);
  for (let edits = random.between(1, 4); edits > 0 && bytes.length > 0; edits--) {
    const at = random.below(bytes.length);
    switch (random.below(5)) {
      case 0:
        bytes[at] = random.below(256);
        break;
      case 1:
        bytes[at] = random.pick(INTERESTING);
        break;
      case 2:
        bytes[at]! ^= 1 << random.below(8);
        break;
      case 3:
        bytes = bytes.slice(0, at);
        break;
      default: {
        const end = Math.min(bytes.length, at + random.below(16));
        bytes = Uint8Array.from([...bytes.subarray(0, end), ...bytes.subarray(at)]);
      }
    }
  }
  return bytes;
};

export interface FuzzOutcome {
  readonly inputs: number;
  readonly findings: readonly FuzzFinding[];
  readonly slowest: FuzzFinding | null;
  readonly slowestMs: number;
}

/** Runs `inputs` inputs over all decoders in turn, from number `from` on. */
export const fuzzDecoders = async (
  all: readonly Decoder[],
  plan: { readonly seed: string; readonly inputs: number; readonly from?: number },
): Promise<FuzzOutcome> => {
  const findings: FuzzFinding[] = [];
  let slowest: FuzzFinding | null = null;
  let slowestMs = 0;
  const from = plan.from ?? 0;
  for (let input = from; input < from + plan.inputs; input++) {
    const decoder = all[input % all.length]!;
    const random = new SeededRandom(`${plan.seed}/${decoder.name}/${input}`);
    const bytes = mutated(random.pick(decoder.sound), random);
    // A decoder may write into its bytes.
    const kept = bytes.slice();
    const finding = (fault: string): FuzzFinding => ({
      decoder: decoder.name,
      seed: plan.seed,
      input,
      bytes: Buffer.from(kept).toString('hex'),
      fault,
    });
    let tookMs = Number.POSITIVE_INFINITY;
    for (let attempt = 0; attempt < 2 && tookMs > SLOW_MS; attempt++) {
      const startedMs = performance.now();
      try {
        const decoding = decoder.decode(attempt === 0 ? bytes : kept.slice());
        if (decoding instanceof Promise) await decoding;
      } catch (error) {
        if (attempt === 0) findings.push(finding(String(error)));
      }
      tookMs = Math.min(tookMs, performance.now() - startedMs);
    }
    if (tookMs > slowestMs) {
      slowestMs = tookMs;
      slowest = finding(`${tookMs.toFixed(1)} ms`);
    }
  }
  return { inputs: plan.inputs, findings, slowest, slowestMs };
};
