import type { ArgumentsCamelCase, InferredOptionTypes, Options } from 'yargs';
import { AirliftError } from '../errors.js';
import { parsePlatformFlag, type Platform } from '../oci/platform.js';

/** Flags that more than one command takes. */

export const outputFlags = {
  json: { type: 'boolean', default: false, describe: 'print JSON on standard output, and nothing else' },
  quiet: { alias: 'q', type: 'boolean', default: false, describe: 'print no progress' },
} as const satisfies Record<string, Options>;

export const platformFlag = {
  platform: {
    type: 'string',
    array: true,
    requiresArg: true,
    describe: 'platforms to carry, e.g. linux/amd64,linux/arm/v7; all unless told',
  },
} as const satisfies Record<string, Options>;

export type OutputArguments = ArgumentsCamelCase<InferredOptionTypes<typeof outputFlags>>;

/** The values of a flag that may be repeated and may hold several, separated by commas. */
export function splitList(values: readonly string[] | undefined): string[] {
  return (values ?? [])
    .flatMap((value) => value.split(','))
    .map((value) => value.trim())
    .filter((value) => value !== '');
}

/** `--platform` as platforms; undefined where all are meant. */
export function platformsOf(values: readonly string[] | undefined): Platform[] | undefined {
  if (values === undefined) return undefined;
  const list = splitList(values);
  // An unset variable of a shell must not mean all platforms.
  if (list.length === 0) {
    throw new AirliftError('usage', '--platform: names no platform', {
      hint: 'write it like --platform linux/amd64,linux/arm64, or leave it out for all',
    });
  }
  if (list.includes('all')) return undefined;
  return list.map(parsePlatformFlag);
}

/** More of anything at a time, or one after the other, is a slip of the hand. */
const mostCounted = 10_000;

/** A flag that counts something: a whole number from `least`. */
export function whole(name: string, value: number | undefined, least: number): number | undefined {
  if (value === undefined || (Number.isInteger(value) && value >= least && value <= mostCounted))
    return value;
  throw new AirliftError(
    'usage',
    `--${name}: want a whole number from ${least} to ${mostCounted}; got ${value}`,
  );
}

/** A flag that counts something: a whole number from 1. */
export function positive(name: string, value: number | undefined): number | undefined {
  return whole(name, value, 1);
}
