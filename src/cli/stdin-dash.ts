/**
 * yargs drops a lone `-` among positionals, and refuses it as the value of a flag that may be repeated. It goes through the
 * parser in the shape of a word that nothing else has.
 */
export const dash = '\u0000-';

/** The arguments as yargs can take them. */
export function hideDashes(args: readonly string[]): string[] {
  return args.map((arg) => (arg === '-' ? dash : arg));
}

/** Values that came through the parser, as they were typed. */
export function showDashes(values: readonly string[]): string[] {
  return values.map((value) => (value === dash ? '-' : value));
}
