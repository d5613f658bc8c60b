// The known name that was probably meant by a misspelt one: least edits (insert, remove, replace), and few of them.

const EDITS_MAX = 3;

/** Null when nothing is near. The first of equally near names wins. */
export const nearestName = (name: string, known: Iterable<string>): string | null => {
  let best: string | null = null;
  // A short name is near everything: never change more than half of it.
  let least = Math.min(EDITS_MAX, Math.floor(name.length / 2)) + 1;
  for (const candidate of known) {
    const edits = editDistance(name.toLowerCase(), candidate.toLowerCase());
    if (edits >= least) continue;
    least = edits;
    best = candidate;
  }
  return best;
};

const editDistance = (one: string, other: string): number => {
  let above = Array.from({ length: other.length + 1 }, (_, index) => index);
  for (let row = 1; row <= one.length; row++) {
    const current = [row];
    for (let column = 1; column <= other.length; column++) {
      const replaced = above[column - 1]! + (one[row - 1] === other[column - 1] ? 0 : 1);
      current.push(Math.min(replaced, above[column]! + 1, current[column - 1]! + 1));
    }
    above = current;
  }
  return above[other.length]!;
};
