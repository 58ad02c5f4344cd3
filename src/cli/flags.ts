import type { ArgumentsCamelCase, InferredOptionTypes, Options } from 'yargs';
import { AirliftError } from '../errors.js';
import { parsePlatform, type Platform } from '../index.js';

/** Flags that several commands share. */

export const jsonFlag = {
  json: { type: 'boolean', default: false, describe: 'print only JSON on standard output' },
} as const satisfies Record<string, Options>;

export const outputFlags = {
  ...jsonFlag,
  quiet: { alias: 'q', type: 'boolean', default: false, describe: 'print no progress' },
} as const satisfies Record<string, Options>;

export const platformFlags = {
  platform: {
    type: 'string',
    array: true,
    requiresArg: true,
    defaultDescription: 'all',
    describe: 'platforms to include, such as linux/amd64,linux/arm/v7',
  },
  'skip-missing-platforms': {
    type: 'boolean',
    default: false,
    describe: 'skip platforms that an image lacks, instead of failing',
  },
} as const satisfies Record<string, Options>;

/** Flags of the commands that read images from registries: which parts of an image to include. */
export const contentFlags = {
  referrers: { type: 'boolean', default: true, describe: 'include signatures and other referrers' },
  'foreign-layers': {
    choices: ['include', 'keep'] as const,
    default: 'include' as const,
    describe: 'include non-distributable layers, or keep only their descriptors',
  },
} as const satisfies Record<string, Options>;

export const transferFlags = {
  concurrency: {
    alias: 'j',
    type: 'number',
    default: 8,
    requiresArg: true,
    describe: 'number of parallel transfers',
  },
  'keep-going': {
    alias: 'k',
    type: 'boolean',
    default: false,
    describe: 'continue with the other images when one fails (exit code 3)',
  },
} as const satisfies Record<string, Options>;

export const forceFlag = {
  force: { alias: 'f', type: 'boolean', default: false, describe: 'replace existing files' },
} as const satisfies Record<string, Options>;

/** Flag of the commands that write volumes. */
export const volumeSizeFlag = {
  'volume-size': {
    type: 'string',
    requiresArg: true,
    describe: 'size of each volume: fat32, 16G (powers of 1024) or bytes',
  },
} as const satisfies Record<string, Options>;

/** Flag of the commands that read bundles. */
export const volumeDirFlag = {
  'volume-dir': {
    type: 'string',
    array: true,
    requiresArg: true,
    describe: 'further directory that holds volumes of the bundle',
  },
} as const satisfies Record<string, Options>;

export type OutputArguments = ArgumentsCamelCase<InferredOptionTypes<typeof outputFlags>>;

/** Splits the values of a repeatable flag at commas. */
function splitList(values: readonly string[] | undefined): string[] {
  return (values ?? [])
    .flatMap((value) => value.split(','))
    .map((value) => value.trim())
    .filter((value) => value !== '');
}

/**
 * Parses a flag that lists platforms.
 * @param flag default: `--platform`
 * @returns the platforms; undefined means all
 * @throws AirliftError `usage`
 */
export function platformsOf(
  values: readonly string[] | undefined,
  flag = '--platform',
): Platform[] | undefined {
  if (values === undefined) return undefined;
  const list = splitList(values);
  // An unset shell variable must not select all platforms.
  if (list.length === 0) {
    throw new AirliftError('usage', `${flag}: the value is empty`, {
      hint: `${flag} linux/amd64,linux/arm64, or omit ${flag}${flag === '--platform' ? ' to include all' : ''}`,
    });
  }
  if (list.includes('all')) return undefined;
  return list.map(parsePlatform);
}

/** Larger counts are typing errors. */
const maxCount = 10_000;

/**
 * Checks the value of a counting flag.
 * @throws AirliftError `usage` unless it is a whole number from `min` to 10,000
 */
export function wholeNumber(name: string, value: number | undefined, min: number): number | undefined {
  if (value === undefined || (Number.isInteger(value) && value >= min && value <= maxCount)) return value;
  throw new AirliftError('usage', `--${name}: got ${value}, want a whole number from ${min} to ${maxCount}`);
}

/** Checks the value of a counting flag that must be at least 1. */
export function positive(name: string, value: number | undefined): number | undefined {
  return wholeNumber(name, value, 1);
}
