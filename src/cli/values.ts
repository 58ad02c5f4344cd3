import type { Argv } from 'yargs';
import { AirliftError } from '../errors.js';
import { dash } from './stdin-dash.js';

/** What yargs knows of flags, as far as it is looked at here; its types leave it out. */
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

/** Where `-` means standard input or standard output: positionals and flags, by command. */
const streams: Readonly<Record<string, readonly string[]>> = {
  import: ['inputs'],
  save: ['sources', 'output'],
  verify: ['bundle'],
  inspect: ['bundle'],
  export: ['images'],
  copy: ['images'],
  'list-images': ['lists'],
};

/** The name that help puts last: of `-o, --output` the second. */
export function longName(name: string, { alias }: KnownFlags): string {
  const same = Object.entries(alias).filter(([one, more]) => [one, ...more].map(kebab).includes(name));
  const names = same.flatMap(([one, more]) => [one, ...more].map(kebab));
  return [name, ...names].reduce((best, one) => (one.length > best.length ? one : best));
}

function refuse(name: string, problem: string, hint?: string): never {
  throw new AirliftError('usage', `--${name}: ${problem}`, { hint });
}

function checkValue(command: string, name: string, value: unknown, flags: KnownFlags): void {
  const types = [flags.string, flags.number].map((names) => names.map(kebab).includes(name));
  const [isString, isNumber] = types;
  for (const one of Array.isArray(value) ? (value as unknown[]) : [value]) {
    // `--no-NAME` turns a flag off that is on or off; others it would give the value false.
    if (typeof one === 'boolean' && (isString === true || isNumber === true))
      refuse(name, `needs a value, and --no-${name} has none`);
    if (isString === true && one === '') refuse(name, 'its value is empty');
    if (isNumber === true && Number.isNaN(one)) refuse(name, 'not a number');
    if (one === dash && streams[command]?.includes(name) !== true)
      throw new AirliftError('usage', `${command}: - (a stream) cannot be used for ${name}`, {
        hint: `name a file; airlift ${command} --help says where - is understood`,
      });
  }
}

/**
 * Of a flag that takes one value and was given more than once the last value counts, as with docker and skopeo; values that no
 * command could use are refused.
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
