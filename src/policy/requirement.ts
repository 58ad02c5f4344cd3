import type { Requirement } from '../bundle/verify/check-cosign.js';
import { AirliftError } from '../errors.js';
import type { Reference } from '../oci/reference.js';
import { KeyAuthority, type Authority } from '../signing/authority.js';
import { cosignKeysOf } from '../signing/cosign.js';
import { readPublicKeys } from '../signing/public-key.js';
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
 * Reads keys, and checks everything that does not depend on the bundle.
 * @returns undefined if no signature is required
 * @throws AirliftError `usage`, `input`, `unsupported`, `io`
 */
export async function readRequirement(options: SignerOptions): Promise<CompleteRequirement | undefined> {
  const { cosignKeys, keyless, trustedRoot } = options;
  if (keyless === undefined) {
    if (trustedRoot !== undefined)
      throw new AirliftError('usage', 'verify: `trustedRoot` applies only to certificates', {
        hint: whoHint,
      });
    if (options.trustedRootFromBundle === true)
      throw new AirliftError('usage', 'verify: `trustedRootFromBundle` applies only to certificates', {
        hint: whoHint,
      });
    if (cosignKeys === undefined) return undefined;
  }
  const byKey =
    cosignKeys === undefined ? [] : [new KeyAuthority(cosignKeysOf(await readPublicKeys(cosignKeys)))];
  if (keyless === undefined) return () => Promise.resolve(() => [byKey]);
  const wanted = {
    isSubject: await matcherOf(keyless.identity, keyless.identityRegexp, {
      missing: 'verify: missing `identity`',
      both: 'verify: `identity` cannot be combined with `identityRegexp`',
    }),
    isIssuer: await matcherOf(keyless.issuer, keyless.issuerRegexp, {
      missing: 'verify: missing `issuer`',
      both: 'verify: `issuer` cannot be combined with `issuerRegexp`',
    }),
  };
  const given = trustedRoot === undefined ? undefined : await readTrustedRoot(trustedRoot);
  return async (carried) => {
    const { KeylessAuthority } = await import('../signing/keyless.js');
    const text = given ?? trustedTextOf(carried, options);
    if (text === undefined) return undefined;
    const name = trustedRoot ?? 'in the bundle';
    const authorities: Authority[] = [...byKey, KeylessAuthority.of(Buffer.from(text), name, wanted)];
    return () => [authorities];
  };
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
