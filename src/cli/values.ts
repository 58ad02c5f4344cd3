import type { Argv } from 'yargs';
import { AirliftError } from '../errors.js';
import { dash } from './stdin-dash.js';

/** The part of yargs' option table that is used here; its type declarations omit it. */
export interface KnownFlags {
  readonly key: Readonly<Record<string, unknown>>;
  readonly array: readonly string[];
  readonly string: readonly string[];
  readonly number: readonly string[];
  readonly boolean: readonly string[];
  readonly alias: Readonly<Record<string, readonly string[]>>;
}

export function knownFlags(parser: Argv): KnownFlags {
  return (parser as unknown as { getOptions(): KnownFlags }).getOptions();
}

export function kebab(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** Positionals and flags that accept `-` for standard input or output, by command. */
const streamArguments: Readonly<Record<string, readonly string[]>> = {
  import: ['inputs'],
  load: ['inputs'],
  save: ['sources', 'output'],
  verify: ['bundle'],
  inspect: ['bundle'],
  report: ['bundle', 'output'],
  export: ['images'],
  copy: ['images'],
  'list-images': ['lists'],
};

/** Returns the longest alias of a flag: `output` for `-o, --output`. */
export function longName(name: string, { alias }: KnownFlags): string {
  const groups = Object.entries(alias).filter(([one, more]) => [one, ...more].map(kebab).includes(name));
  const names = groups.flatMap(([one, more]) => [one, ...more].map(kebab));
  return [name, ...names].reduce((best, one) => (one.length > best.length ? one : best));
}

function refuse(name: string, problem: string, hint?: string): never {
  throw new AirliftError('usage', `--${name}: ${problem}`, { hint });
}

function checkValue(command: string, name: string, value: unknown, flags: KnownFlags): void {
  const types = [flags.string, flags.number].map((names) => names.map(kebab).includes(name));
  const [isString, isNumber] = types;
  for (const one of Array.isArray(value) ? (value as unknown[]) : [value]) {
    // `--no-NAME` gives any flag the value false; only boolean flags accept that.
    if (typeof one === 'boolean' && (isString === true || isNumber === true))
      refuse(name, `needs a value; --no-${name} gives none`);
    if (isString === true && one === '') refuse(name, 'the value is empty');
    if (isNumber === true && Number.isNaN(one)) refuse(name, 'not a number');
    if (one === dash && streamArguments[command]?.includes(name) !== true)
      throw new AirliftError('usage', `${command}: ${name} does not accept - (standard input or output)`, {
        hint: `name a file; airlift ${command} --help shows which arguments accept -`,
      });
  }
}

/**
 * Adds checks for flag values. If a single-value flag is repeated, the last value counts, as in docker and skopeo. Empty and
 * malformed values are usage errors.
 */
export function checkedValues(parser: Argv): Argv {
  return parser.middleware((args: Record<string, unknown>) => {
    const flags = knownFlags(parser);
    const lists = new Set(flags.array.map(kebab));
    const command = String((args['_'] as unknown[])[0] ?? '');
    for (const [key, value] of Object.entries(args)) {
      if (key === '_' || key === '--' || key === '$0') continue;
      const name = longName(kebab(key), flags);
      const last: unknown = Array.isArray(value) && !lists.has(name) ? value.at(-1) : value;
      args[key] = last;
      checkValue(command, name, last, flags);
    }
  }, true);
}
