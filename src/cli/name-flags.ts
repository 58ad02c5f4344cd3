import type { Options } from 'yargs';

/** Flags of the commands that give images names at a site. */
export const nameFlags = {
  'keep-registry': {
    type: 'boolean',
    default: false,
    describe: 'keep the source registry in the path: TO/ghcr.io/acme/api',
  },
  rename: {
    type: 'string',
    array: true,
    requiresArg: true,
    describe: 'rename rule, such as docker.io/library/*=mirror/*; the first match wins',
  },
  'rename-map': {
    type: 'string',
    requiresArg: true,
    describe: 'file of rename rules, one per line, applied after --rename',
  },
  emit: {
    type: 'string',
    requiresArg: true,
    describe: 'directory for node configuration: registries.yaml, hosts.toml, …',
  },
  'dry-run': {
    type: 'boolean',
    default: false,
    describe: 'print the image names at the site; push nothing',
  },
} as const satisfies Record<string, Options>;
