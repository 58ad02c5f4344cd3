import type { ArgumentsCamelCase, InferredOptionTypes, Options } from 'yargs';
import type { SignerOptions } from '../index.js';
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

/** Flags that say who must have signed images; the names are those of cosign. */
export const signerFlags = {
  'cosign-key': {
    type: 'string',
    array: true,
    requiresArg: true,
    describe: 'public key of cosign, or directory of them, that must have signed each image',
  },
  'certificate-identity': {
    type: 'string',
    requiresArg: true,
    describe: 'who must have signed each image with a certificate: e-mail or URI in it',
  },
  'certificate-identity-regexp': {
    type: 'string',
    requiresArg: true,
    describe: 'the same as regular expression; ^ and $ pin both ends',
  },
  'certificate-oidc-issuer': {
    type: 'string',
    requiresArg: true,
    describe: 'who must have vouched for that identity: URL of an OpenID Connect issuer',
  },
  'certificate-oidc-issuer-regexp': {
    type: 'string',
    requiresArg: true,
    describe: 'the same as regular expression; ^ and $ pin both ends',
  },
  policy: {
    type: 'string',
    requiresArg: true,
    describe: 'file of ClusterImagePolicy that says by name who must have signed which image',
  },
  'trusted-root': {
    type: 'string',
    requiresArg: true,
    describe: 'trusted_root.json of sigstore for certificates; default: the one in the bundle',
  },
  'trusted-root-from-bundle': {
    type: 'boolean',
    default: false,
    describe: 'trust the root in the bundle even if no --key proves who put it there',
  },
} as const satisfies Record<string, Options>;

/** Returns who must have signed images. Everything is undefined if nobody is named. */
export function signerOptionsOf(
  args: ArgumentsCamelCase<InferredOptionTypes<typeof signerFlags>>,
): SignerOptions {
  const keyless = {
    identity: args.certificateIdentity,
    identityRegexp: args.certificateIdentityRegexp,
    issuer: args.certificateOidcIssuer,
    issuerRegexp: args.certificateOidcIssuerRegexp,
  };
  const isKeyless = Object.values(keyless).some((value) => value !== undefined);
  return {
    cosignKeys: args.cosignKey,
    policy: args.policy,
    keyless: isKeyless ? keyless : undefined,
    trustedRoot: args.trustedRoot,
    trustedRootFromBundle: args.trustedRootFromBundle || undefined,
  };
}
