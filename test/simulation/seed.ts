// One seed: which kind of cluster it is, and what became of it.

export const kinds = ['groups', 'brokers'] as const;
export type Kind = (typeof kinds)[number];

export interface SeedOrder {
  readonly seed: number;
  readonly kind: Kind;
  /** Null: as it is drawn. */
  readonly nodes: number | null;
  readonly troubles: readonly string[] | null;
}

export type Outcome =
  | { readonly kind: 'held'; readonly report: Readonly<Record<string, unknown>> }
  | {
      readonly kind: 'failed';
      readonly what: string;
      readonly plan: unknown;
      readonly lastLines: readonly string[];
    };

/** Brokers cost more, and have more to do. */
export const kindOf = (seed: number): Kind => (seed % 4 === 3 ? 'brokers' : 'groups');
