import type { Options } from 'yargs';
import { registryFlags } from './access-flags.js';
import { transferFlags } from './flags.js';
import { nameFlags } from './name-flags.js';
import { publishFlags } from './publish-flags.js';

/** Flags of `verify --against`. */
export const againstFlags = {
  against: {
    type: 'string',
    requiresArg: true,
    describe: 'registry to compare with the bundle, with optional path: HOST[:PORT][/PREFIX]',
  },
  'keep-registry': nameFlags['keep-registry'],
  rename: nameFlags.rename,
  'rename-map': nameFlags['rename-map'],
  index: publishFlags.index,
  concurrency: transferFlags.concurrency,
  ...registryFlags,
} as const satisfies Record<string, Options>;
