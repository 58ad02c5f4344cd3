import type { Options } from 'yargs';
import { AirliftError } from '../errors.js';
import {
  formatReference,
  parsePlatform,
  parseReference,
  type IndexSource,
  type Platform,
  type Reference,
} from '../index.js';

/** Flags of the commands that put images into an index. */

export const sourceFlags = {
  platform: {
    type: 'string',
    array: true,
    requiresArg: true,
    describe: 'REF=PLATFORM: platform to record (or none), or image to pick from an index',
  },
} as const satisfies Record<string, Options>;

export const fieldFlags = {
  annotation: {
    type: 'string',
    array: true,
    requiresArg: true,
    describe: 'KEY=VALUE: annotation of the index itself',
  },
  'annotation-for': {
    type: 'string',
    array: true,
    requiresArg: true,
    describe: 'REF:KEY=VALUE: annotation of the entry of one image',
  },
  'artifact-type': { type: 'string', requiresArg: true, describe: 'artifact type of the index' },
  subject: { type: 'string', requiresArg: true, describe: 'manifest that the index refers to' },
  nest: {
    type: 'boolean',
    default: false,
    describe: 'add an index as one child, instead of adding its children',
  },
} as const satisfies Record<string, Options>;

export const formatFlag = {
  format: {
    choices: ['auto', 'oci', 'docker'] as const,
    default: 'auto' as const,
    describe: 'index format; auto: docker if all images are Docker images, else oci',
  },
} as const satisfies Record<string, Options>;

function rejectValue(flag: string, value: string, want: string): never {
  throw new AirliftError('usage', `--${flag}: got ${JSON.stringify(value)}, want ${want}`);
}

/** Parses the `KEY=VALUE` values of a repeatable flag. */
export function keyValues(flag: string, values: readonly string[] = []): Record<string, string> {
  return Object.fromEntries(
    values.map((value) => {
      const at = value.indexOf('=');
      return at < 1 ? rejectValue(flag, value, 'KEY=VALUE') : [value.slice(0, at), value.slice(at + 1)];
    }),
  );
}

/** Values of a flag per reference. Accepts only references of the command line, in any spelling. */
class PerReference<T> {
  readonly #values = new Map<string, T>();

  constructor(
    private readonly flag: string,
    references: readonly Reference[],
    private readonly initial: T,
  ) {
    for (const reference of references) this.#values.set(formatReference(reference), initial);
  }

  get(reference: Reference): T {
    return this.#values.get(formatReference(reference)) ?? this.initial;
  }

  change(value: string, name: string, change: (before: T) => T): void {
    const key = formatReference(parseReference(name));
    const before = this.#values.get(key);
    if (!this.#values.has(key))
      rejectValue(this.flag, value, `a value that starts with one of ${[...this.#values.keys()].join(', ')}`);
    this.#values.set(key, change(before ?? this.initial));
  }
}

export interface SourceArguments {
  readonly references?: readonly string[] | undefined;
  readonly platform?: readonly string[] | undefined;
  readonly annotationFor?: readonly string[] | undefined;
}

/**
 * Returns the references of a command line with the platform and annotations that flags give them.
 * @throws AirliftError `usage`
 */
export function sourcesOf(args: SourceArguments): IndexSource[] {
  const references = (args.references ?? []).map(parseReference);
  const platforms = new PerReference<Platform | 'none' | undefined>('platform', references, undefined);
  for (const value of args.platform ?? []) {
    const at = value.lastIndexOf('=');
    if (at < 1) rejectValue('platform', value, 'REF=PLATFORM');
    const platform = value.slice(at + 1);
    platforms.change(value, value.slice(0, at), () =>
      platform === 'none' ? 'none' : parsePlatform(platform),
    );
  }
  const annotations = new PerReference<Record<string, string>>('annotation-for', references, {});
  for (const value of args.annotationFor ?? []) {
    // A reference and a key contain no equals sign, and a key contains no colon; a value may contain both.
    const equals = value.indexOf('=');
    const colon = value.lastIndexOf(':', equals);
    if (equals < 0 || colon < 1 || colon + 1 === equals)
      rejectValue('annotation-for', value, 'REF:KEY=VALUE');
    annotations.change(value, value.slice(0, colon), (before) => ({
      ...before,
      [value.slice(colon + 1, equals)]: value.slice(equals + 1),
    }));
  }
  return references.map((reference) => ({
    reference,
    platform: platforms.get(reference),
    annotations: annotations.get(reference),
  }));
}
