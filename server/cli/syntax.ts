// What a person can type: the words of a command, its arguments, its flags. Data only; commands.ts is the table.

export interface Flag {
  /** Without dashes. */
  readonly name: string;
  /** One letter, for `-o`. */
  readonly short?: string;
  /** What stands for the value in help; null for a switch, which takes no value. */
  readonly placeholder: string | null;
  readonly summary: string;
  /** May be given more than once. */
  readonly isList?: boolean;
  /** The only values that are taken. */
  readonly choices?: readonly string[];
  /** Bounds of a whole number. */
  readonly range?: readonly [min: number, max: number];
  /** Used where the flag is absent, and shown in help. */
  readonly fallback?: string;
}

export interface Argument {
  readonly name: string;
  readonly isOptional: boolean;
  readonly choices?: readonly string[];
}

export interface CommandSyntax {
  /** The words after `sluice`, as in ['topic', 'create']. */
  readonly path: readonly string[];
  readonly summary: string;
  /** Further sentences for `--help`. */
  readonly description?: string;
  readonly arguments: readonly Argument[];
  readonly flags: readonly Flag[];
  readonly examples: readonly string[];
}
