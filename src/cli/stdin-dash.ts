/**
 * Placeholder for `-` inside the parser: yargs drops `-` from positionals and rejects it as the value of an array flag.
 */
export const dash = '\u0000-';

/** Replaces `-` by the placeholder. */
export function hideDashes(args: readonly string[]): string[] {
  return args.map((arg) => (arg === '-' ? dash : arg));
}

/** Replaces the placeholder by `-`. */
export function showDashes(values: readonly string[]): string[] {
  return values.map((value) => (value === dash ? '-' : value));
}
