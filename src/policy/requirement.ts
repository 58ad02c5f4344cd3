import type { Requirement, SignerRule } from '../bundle/verify/check-cosign.js';
import { AirliftError } from '../errors.js';
import { printable } from '../oci/printable.js';
import type { Reference } from '../oci/reference.js';
import { KeyAuthority, type Authority } from '../signing/authority.js';
import { cosignKeysOf } from '../signing/cosign.js';
import type { WantedIdentity } from '../signing/keyless.js';
import { readPublicKeys } from '../signing/public-key.js';
import type { ImagePolicy } from './image-policy.js';
import { readTrustedRoot } from './trusted-root.js';

/** Whose certificate must have signed, as the flags of cosign say it: one of each pair is required. */
export interface KeylessIdentity {
  readonly identity?: string | undefined;
  /** In RE2's syntax; it matches anywhere in the identity. */
  readonly identityRegexp?: string | undefined;
  readonly issuer?: string | undefined;
  readonly issuerRegexp?: string | undefined;
}

/** Who must have signed each image. */
export interface SignerOptions {
  /** Paths of public keys of cosign, or of directories of them. */
  readonly cosignKeys?: readonly string[] | undefined;
  /** The owner of a certificate, instead of a key or besides keys. */
  readonly keyless?: KeylessIdentity | undefined;
  /** Path of the trusted root of sigstore that `keyless` relies on; default: the one in the bundle, if that can be trusted. */
  readonly trustedRoot?: string | undefined;
  /** Trust the root in the bundle even if none of the given keys has signed the bundle. */
  readonly trustedRootFromBundle?: boolean | undefined;
  /** Path of a file of ClusterImagePolicy (sigstore, policy-controller), which images must meet besides keys and `keyless`. */
  readonly policy?: string | undefined;
}

/** The trusted root that a bundle carries. */
export interface CarriedRoot {
  readonly text: string | undefined;
  /** What vouches for the bundle: a signature by a key that the user named, nothing since no key was named, or no such signature. */
  readonly proof: 'signed' | 'none' | 'refused';
}

/** Tells who must have signed an image. */
export type RequirementOf = (reference: Reference) => Requirement;

/**
 * Completes a requirement with what the bundle carries.
 * @returns undefined if it relies on a trusted root in a bundle that is refused anyway
 * @throws AirliftError `usage` if nothing vouches for the trusted root
 */
export type CompleteRequirement = (carried: CarriedRoot) => Promise<RequirementOf | undefined>;

const whoHint = 'say who must have signed with `identity` and `issuer`';

/**
 * Reads keys and policies, and checks everything that does not depend on the bundle. An image must meet all that are given: a signature by
 * one of the keys or by the owner of the certificate, and the policies.
 * @returns undefined if no signature is required
 * @throws AirliftError `usage`, `input`, `unsupported`, `io`
 */
export async function readRequirement(options: SignerOptions): Promise<CompleteRequirement | undefined> {
  const { cosignKeys, keyless, trustedRoot, policy } = options;
  const byPolicy = policy === undefined ? undefined : await readPolicyFile(policy);
  const isKeyless = keyless !== undefined || byPolicy?.isKeyless === true;
  if (!isKeyless)
    refuseTrustedRoot(options, policy === undefined ? whoHint : 'omit it: the policy names no certificate');
  const byKey =
    cosignKeys === undefined ? [] : [new KeyAuthority(cosignKeysOf(await readPublicKeys(cosignKeys)))];
  const wanted = keyless === undefined ? undefined : await identityOf(keyless);
  if (byPolicy === undefined && wanted === undefined && cosignKeys === undefined) return undefined;
  const given = trustedRoot === undefined ? undefined : await readTrustedRoot(trustedRoot);
  return async (carried) => {
    const root = isKeyless ? rootOf(given, carried, options) : undefined;
    if (isKeyless && root === undefined) return undefined;
    const byIdentity = await keylessAuthorities(root, wanted === undefined ? [] : [wanted]);
    const authorities = [...byKey, ...byIdentity];
    const forAll: readonly SignerRule[] = authorities.length === 0 ? [] : [{ authorities }];
    const ofPolicies = await byPolicy?.complete(root);
    return (reference) => {
      const rules = ofPolicies?.(reference) ?? [];
      return typeof rules === 'string' ? rules : [...forAll, ...rules];
    };
  };
}

/** The name in messages and the content of a trusted root. */
interface Root {
  readonly bytes: Buffer;
  readonly name: string;
}

/** Returns the authority for owners of certificates; none if nobody is wanted. */
async function keylessAuthorities(
  root: Root | undefined,
  identities: readonly WantedIdentity[],
): Promise<readonly Authority[]> {
  if (root === undefined || identities.length === 0) return [];
  const { KeylessAuthority } = await import('../signing/keyless.js');
  return [KeylessAuthority.of(root.bytes, root.name, identities)];
}

async function identityOf(keyless: KeylessIdentity): Promise<WantedIdentity> {
  return {
    isSubject: await matcherOf(keyless.identity, keyless.identityRegexp, {
      missing: 'verify: missing `identity`',
      both: 'verify: `identity` cannot be combined with `identityRegexp`',
    }),
    isIssuer: await matcherOf(keyless.issuer, keyless.issuerRegexp, {
      missing: 'verify: missing `issuer`',
      both: 'verify: `issuer` cannot be combined with `issuerRegexp`',
    }),
  };
}

/** The policies of a file. */
interface PolicyFile {
  /** Whether one of them accepts certificates. */
  readonly isKeyless: boolean;
  complete(root: Root | undefined): Promise<RequirementOf>;
}

/**
 * Reads policies.
 * @throws AirliftError `usage`, `input`, `unsupported`, `io`
 */
async function readPolicyFile(path: string): Promise<PolicyFile> {
  const { matches, readPolicies } = await import('./image-policy.js');
  const policies = await readPolicies(path);
  return {
    isKeyless: policies.some(({ identities }) => identities.length > 0),
    complete: async (root) => {
      const rules: [ImagePolicy, SignerRule][] = [];
      for (const policy of policies) {
        if (policy.passes) continue;
        const { name, keys, identities, message, onlyWarns } = policy;
        const byKey = keys.length === 0 ? [] : [new KeyAuthority(keys)];
        const authorities = [...byKey, ...(await keylessAuthorities(root, identities))];
        rules.push([policy, { policy: name, authorities, message, onlyWarns }]);
      }
      return (reference) => {
        if (!policies.some((policy) => matches(policy, reference)))
          return `no policy in ${printable(path)} matches it`;
        return rules.filter(([policy]) => matches(policy, reference)).map(([, rule]) => rule);
      };
    },
  };
}

/** Refuses a trusted root where no certificate is required. */
function refuseTrustedRoot(options: SignerOptions, hint: string): void {
  if (options.trustedRoot !== undefined)
    throw new AirliftError('usage', 'verify: `trustedRoot` applies only to certificates', { hint });
  if (options.trustedRootFromBundle === true)
    throw new AirliftError('usage', 'verify: `trustedRootFromBundle` applies only to certificates', { hint });
}

/** Returns a test for exactly a text, or for a regular expression. */
async function matcherOf(
  text: string | undefined,
  regexp: string | undefined,
  errors: { readonly missing: string; readonly both: string },
): Promise<(value: string) => boolean> {
  if (text !== undefined && regexp !== undefined)
    throw new AirliftError('usage', errors.both, { hint: 'omit one of them' });
  if (text !== undefined && text !== '') return (value) => value === text;
  if (regexp === undefined || regexp === '')
    throw new AirliftError('usage', `${errors.missing}: a certificate of anybody proves nothing`, {
      hint: whoHint,
    });
  const { parseRegex } = await import('../lists/regex.js');
  const pattern = parseRegex(regexp);
  return (value) => pattern.test(value);
}

/**
 * Returns the trusted root that the user names, or that of the bundle.
 * @param given content of the file that `trustedRoot` names
 * @returns undefined if the bundle is refused anyway
 * @throws AirliftError `usage`
 */
function rootOf(given: string | undefined, carried: CarriedRoot, options: SignerOptions): Root | undefined {
  const text = given ?? trustedTextOf(carried, options);
  return text === undefined
    ? undefined
    : { bytes: Buffer.from(text), name: options.trustedRoot ?? 'in the bundle' };
}

/**
 * Returns the trusted root of a bundle if it can be trusted: whoever wrote the bundle chose it.
 * @returns undefined if the bundle is refused anyway
 * @throws AirliftError `usage`
 */
function trustedTextOf(
  { text, proof }: CarriedRoot,
  { trustedRootFromBundle }: SignerOptions,
): string | undefined {
  if (proof === 'refused' && trustedRootFromBundle !== true) return undefined;
  const hint = 'name one that you trust with `trustedRoot`';
  if (text === undefined)
    throw new AirliftError('usage', 'verify: no trusted root is given, and the bundle carries none', {
      hint,
    });
  if (proof === 'signed' || trustedRootFromBundle === true) return text;
  throw new AirliftError(
    'usage',
    'verify: the bundle carries a trusted root, but nothing proves who put it there',
    {
      hint: 'name the public key of the exporter with `keys`, or a trusted root with `trustedRoot`',
    },
  );
}
