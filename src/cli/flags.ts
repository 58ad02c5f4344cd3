import type { ArgumentsCamelCase, InferredOptionTypes, Options } from 'yargs';
import { AirliftError } from '../errors.js';
import { parsePlatformFlag, type Platform } from '../oci/platform.js';
import type { RegistryOptions } from '../registry/options.js';
import { authFilesOf } from './environment.js';

/** Flags that more than one command takes. */

export const outputFlags = {
  json: { type: 'boolean', default: false, describe: 'print JSON on standard output, and nothing else' },
  quiet: { alias: 'q', type: 'boolean', default: false, describe: 'print no progress' },
} as const satisfies Record<string, Options>;

export const registryFlags = {
  'plain-http': { type: 'boolean', describe: 'use plain HTTP with every registry, not only on loopback' },
  authfile: {
    type: 'string',
    describe: 'credentials file, instead of docker’s and podman’s',
    requiresArg: true,
  },
  retries: { type: 'number', default: 5, describe: 'tries after a failed request', requiresArg: true },
  'trace-requests': {
    type: 'boolean',
    default: false,
    describe: 'print each request, secrets redacted, on standard error',
  },
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
export type RegistryArguments = ArgumentsCamelCase<InferredOptionTypes<typeof registryFlags>>;

/** What the flags and the environment say about reaching registries. */
export function registryOptionsOf(args: RegistryArguments, env: NodeJS.ProcessEnv): RegistryOptions {
  if (!Number.isInteger(args.retries) || args.retries < 0) {
    throw new AirliftError('usage', `--retries: not a whole number; got ${args.retries}`);
  }
  return {
    plainHttp: args.plainHttp,
    authFiles: args.authfile === undefined ? authFilesOf(env) : [args.authfile],
    retries: args.retries,
  };
}

/** The values of a flag that may be repeated and may hold several, separated by commas. */
export function splitList(values: readonly string[] | undefined): string[] {
  return (values ?? [])
    .flatMap((value) => value.split(','))
    .map((value) => value.trim())
    .filter((value) => value !== '');
}

/** `--platform` as platforms; undefined where all are meant. */
export function platformsOf(values: readonly string[] | undefined): Platform[] | undefined {
  const list = splitList(values);
  if (list.length === 0 || list.includes('all')) return undefined;
  return list.map(parsePlatformFlag);
}

/** A flag that counts something: a whole number from 1. */
export function positive(name: string, value: number | undefined): number | undefined {
  if (value === undefined || (Number.isInteger(value) && value > 0)) return value;
  throw new AirliftError('usage', `--${name}: not a whole number from 1; got ${value}`);
}
