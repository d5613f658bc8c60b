// int64 fields as numbers. Offsets, counts and times of this system fit a double exactly; what does not is refused.

/** Null where the value is negative or no safe integer. */
export const naturalNumber = (value: bigint): number | null => {
  const number = Number(value);
  return Number.isSafeInteger(number) && number >= 0 ? number : null;
};
