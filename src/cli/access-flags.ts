import type { ArgumentsCamelCase, Argv, InferredOptionTypes, Options } from 'yargs';

/** Flags for access to registries. Apart from their evaluation, so that a command can define them without loading a registry client. */

const group = 'Registry options:';

/** Puts the command's own flags before registry flags in help, which shows groups in order of first mention. */
export function ownFlagsFirst<T>(yargs: Argv<T>): Argv<T> {
  return yargs.group([], 'Options:');
}

const credsFlag = {
  creds: {
    group,
    type: 'string',
    array: true,
    requiresArg: true,
    describe: '[HOST=]USER:PASSWORD; other users can see it, so prefer airlift login',
  },
} as const satisfies Record<string, Options>;

const trustFlags = {
  authfile: {
    group,
    type: 'string',
    requiresArg: true,
    describe: 'credentials file to use instead of those of podman and docker',
  },
  'ca-file': {
    group,
    type: 'string',
    requiresArg: true,
    describe: 'PEM file of certificate authorities to trust in addition to the system’s',
  },
  'cert-dir': {
    group,
    type: 'string',
    requiresArg: true,
    describe: 'directory of CA certificates (*.crt) and client certificates (*.cert, *.key)',
  },
  'insecure-skip-tls-verify': { group, type: 'boolean', describe: 'do not verify TLS certificates' },
  'tls-verify': {
    group,
    type: 'boolean',
    describe: 'false: do not verify certificates, and allow plain HTTP, as in skopeo',
  },
  'plain-http': {
    group,
    type: 'boolean',
    describe: 'use plain HTTP (default: only for loopback registries)',
  },
} as const satisfies Record<string, Options>;

/** Flags that `copy` repeats as --src-… and --dest-…. */
export const endpointFlags = { ...credsFlag, ...trustFlags };

const sharedFlags = {
  mirror: {
    group,
    type: 'string',
    array: true,
    requiresArg: true,
    describe: 'mirror to read from first: REGISTRY[/PATH]=[http://]HOST[:PORT][/PATH]',
  },
  'registries-conf': {
    group,
    type: 'string',
    requiresArg: true,
    describe: 'registries.conf to use instead of the files in the standard locations',
  },
  'registries-yaml': {
    group,
    type: 'string',
    requiresArg: true,
    describe: 'k3s registries.yaml with mirrors, credentials and certificates',
  },
  retries: {
    group,
    type: 'number',
    default: 5,
    requiresArg: true,
    describe: 'retries after a transient failure',
  },
  'retry-delay': {
    group,
    type: 'string',
    requiresArg: true,
    defaultDescription: '500ms',
    describe: 'delay before the first retry; doubles with each retry',
  },
  'max-retry-after': {
    group,
    type: 'string',
    requiresArg: true,
    defaultDescription: '5m',
    describe: 'longest Retry-After delay to accept from a registry',
  },
  'rate-budget': {
    group,
    type: 'string',
    requiresArg: true,
    describe: 'when the pull quota runs out, wait or stop; :N keeps N pulls in reserve',
  },
  'idle-timeout': {
    group,
    type: 'string',
    requiresArg: true,
    defaultDescription: '60s',
    describe: 'close a connection after this time without data',
  },
  'requests-per-host': {
    group,
    type: 'number',
    requiresArg: true,
    defaultDescription: '32',
    describe: 'maximum parallel requests to one host',
  },
  'trace-requests': {
    group,
    type: 'boolean',
    default: false,
    describe: 'print each request to standard error, without secrets',
  },
} as const satisfies Record<string, Options>;

/** `registryFlags` without `--creds`. */
export const accessFlags = { ...trustFlags, ...sharedFlags };
/** Flags of every command that accesses registries. */
export const registryFlags = { ...credsFlag, ...accessFlags };

/** Flags of commands that upload blobs. */
export const uploadFlags = {
  'chunk-size': {
    group,
    type: 'string',
    requiresArg: true,
    defaultDescription: 'whole blobs',
    describe: 'upload blobs in chunks of this size, for example 32M',
  },
} as const satisfies Record<string, Options>;

export type RegistryArguments = ArgumentsCamelCase<InferredOptionTypes<typeof registryFlags>> &
  Partial<ArgumentsCamelCase<InferredOptionTypes<typeof uploadFlags>>>;
