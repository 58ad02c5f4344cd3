import type { Options } from 'yargs';
import { transferFlags } from './flags.js';

/** Flags of the commands that publish images to a registry. */
export const publishFlags = {
  'on-existing-tag': {
    choices: ['overwrite', 'skip', 'error', 'merge'] as const,
    default: 'overwrite' as const,
    describe: 'what to do if a tag differs; merge keeps platforms that only the target has',
  },
  index: {
    choices: ['auto', 'filtered', 'original'] as const,
    default: 'auto' as const,
    describe: 'index to tag if platforms are missing; auto: filtered, plus original by digest',
  },
  ...transferFlags,
  atomic: {
    type: 'boolean',
    default: false,
    describe: 'update tags only after every image is fully pushed',
  },
} as const satisfies Record<string, Options>;

export const toFlag = {
  to: {
    type: 'string',
    demandOption: true,
    requiresArg: true,
    describe: 'registry to publish to, with optional path: HOST[:PORT][/PREFIX]',
  },
} as const satisfies Record<string, Options>;
