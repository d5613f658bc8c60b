// A length of time as a person writes it: 30s, 15m, 2h, 7d.

const UNIT_MS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** Null when it is none. */
export const durationMs = (text: string): number | null => {
  const match = /^(\d{1,9})([smhd])$/.exec(text);
  const unit = UNIT_MS[match?.[2] ?? ''];
  return unit === undefined ? null : Number(match?.[1]) * unit;
};
