import type { Options } from 'yargs';

/** Flags of the commands that publish images to a registry. */
export const publishFlags = {
  'on-existing-tag': {
    choices: ['overwrite', 'skip', 'error', 'merge'] as const,
    default: 'overwrite' as const,
    describe: 'what to do where the tag points elsewhere; merge keeps platforms that only the site has',
  },
  index: {
    choices: ['auto', 'filtered', 'original'] as const,
    default: 'auto' as const,
    describe:
      'where platforms are missing: tag an index of those there are, and push the publisher’s by digest where the registry ' +
      'takes it (auto) or never (filtered); or tag the publisher’s (original)',
  },
  concurrency: { alias: 'j', type: 'number', default: 8, requiresArg: true, describe: 'transfers at a time' },
  'keep-going': {
    alias: 'k',
    type: 'boolean',
    default: false,
    describe: 'publish what can be published when some images fail',
  },
  atomic: {
    type: 'boolean',
    default: false,
    describe: 'change no tag before all of all images is there',
  },
} as const satisfies Record<string, Options>;

/** `--to` */
export const toFlag = {
  to: {
    type: 'string',
    demandOption: true,
    requiresArg: true,
    describe: 'registry to publish to, with an optional path: HOST[:PORT][/PREFIX]',
  },
} as const satisfies Record<string, Options>;
