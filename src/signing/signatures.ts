import { createHash, createVerify, type Verify } from 'node:crypto';
import { AirliftError, isAirliftError } from '../errors.js';
import { printable } from '../oci/printable.js';
import { checkMinisig, parseMinisig, type Minisig } from './minisign.js';
import { untrustedPrefix } from './minisign-text.js';
import type { PublicKey, SignatureFormat } from './public-key.js';

/** Content that signatures cover; each call streams it anew. */
export type SignedContent = () => AsyncIterable<Uint8Array>;

/** A signature as it was found. */
export interface FoundSignature {
  /** The entry of the bundle or the file that holds it. */
  readonly place: string;
  readonly bytes: Uint8Array;
}

/**
 * Result of checking one signature:
 *
 * - `valid`: one of the given keys made it, over this content · `unchecked`: no key was given
 * - `other-key`: no given key made it · `other-content`: a given key made it, over other content
 * - `forged`: it names a given key, which did not make it · `malformed`: it is not a signature that airlift reads
 */
export type SignatureState = 'valid' | 'unchecked' | 'other-key' | 'other-content' | 'forged' | 'malformed';

/** A signature of a bundle or file; plain data. */
export interface SignatureReport {
  /** The entry of the bundle or the file that holds it. */
  readonly place: string;
  readonly format: SignatureFormat | 'unknown';
  readonly state: SignatureState;
  /** The id of the key; minisign names it in the signature, for ECDSA it is known only if the signature is valid. */
  readonly keyId?: string | undefined;
  /** minisign's trusted comment. Untrusted text unless the state is `valid` or `other-content`. */
  readonly comment?: string | undefined;
  /** The file of the key that made it. */
  readonly keyFile?: string | undefined;
  /** What is wrong with a malformed signature. */
  readonly detail?: string | undefined;
}

/** A signature of which only the format is known. */
type Parsed =
  | { readonly place: string; readonly minisig: Minisig }
  | { readonly place: string; readonly der: Buffer }
  | { readonly place: string; readonly detail: string; readonly isUnknown: boolean };

/** Reports whether bytes are one DER sequence, as ECDSA signatures are (RFC 3279, section 2.2.3). */
function isDerSignature(bytes: Uint8Array): boolean {
  return bytes.length >= 8 && bytes.length <= 72 && bytes[0] === 0x30 && bytes[1] === bytes.length - 2;
}

/** Returns the DER form of an ECDSA signature, which cosign writes in base64 and openssl as it is. */
function derOf(bytes: Uint8Array): Buffer | undefined {
  if (isDerSignature(bytes)) return Buffer.from(bytes);
  const text = Buffer.from(bytes).toString('latin1').trim();
  const decoded = Buffer.from(text, 'base64');
  return decoded.toString('base64') === text && isDerSignature(decoded) ? decoded : undefined;
}

function parse({ place, bytes }: FoundSignature): Parsed {
  const text = Buffer.from(bytes.subarray(0, untrustedPrefix.length)).toString('latin1');
  const der = derOf(bytes);
  if (der !== undefined) return { place, der };
  const isUnknown = text !== untrustedPrefix && !place.endsWith('.minisig');
  try {
    return { place, minisig: parseMinisig(bytes, place) };
  } catch (error) {
    if (!isAirliftError(error)) throw error;
    return { place, detail: error.message.slice(`read ${place}: `.length), isUnknown };
  }
}

/** Digests of signed content, and its state for the check of each ECDSA signature. */
interface Hashed {
  /** `sha256:…` */
  readonly sha256: string;
  readonly blake2b: Buffer;
}

/** Streams the content once, through both hashes and all `verifiers`. */
export async function hashContent(
  content: SignedContent,
  verifiers: readonly Verify[] = [],
): Promise<Hashed> {
  const [sha256, blake2b] = [createHash('sha256'), createHash('blake2b512')];
  for await (const chunk of content()) {
    sha256.update(chunk);
    blake2b.update(chunk);
    for (const verifier of verifiers) verifier.update(chunk);
  }
  return { sha256: `sha256:${sha256.digest('hex')}`, blake2b: blake2b.digest() };
}

/** Computes the same digests of content in memory or generated in pieces. */
export function hashPieces(pieces: Iterable<Uint8Array>): Hashed {
  const [sha256, blake2b] = [createHash('sha256'), createHash('blake2b512')];
  for (const piece of pieces) {
    sha256.update(piece);
    blake2b.update(piece);
  }
  return { sha256: `sha256:${sha256.digest('hex')}`, blake2b: blake2b.digest() };
}

/**
 * Checks signatures of content. Never throws because of what a signature holds: the reports say what is wrong.
 * @param keys none: signatures are read, but not checked
 */
export async function checkSignatures(
  content: SignedContent,
  found: readonly FoundSignature[],
  keys: readonly PublicKey[],
): Promise<SignatureReport[]> {
  const parsed = found.map(parse);
  const ecdsaKeys = keys.filter(({ format }) => format === 'ecdsa-p256');
  const attempts = parsed.flatMap((signature) =>
    'der' in signature ? ecdsaKeys.map((key) => ({ signature, key, verifier: createVerify('sha256') })) : [],
  );
  const needsHash = attempts.length > 0 || (keys.length > 0 && parsed.some((one) => 'minisig' in one));
  const hashed = needsHash
    ? await hashContent(
        content,
        attempts.map(({ verifier }) => verifier),
      )
    : undefined;
  return parsed.map((signature): SignatureReport => {
    const { place } = signature;
    if ('detail' in signature) {
      const { detail, isUnknown } = signature;
      return { place, format: isUnknown ? 'unknown' : 'minisign', state: 'malformed', detail };
    }
    if ('minisig' in signature) return minisignReport(signature, keys, hashed?.blake2b);
    const maker = attempts.find(
      (attempt) => attempt.signature === signature && attempt.verifier.verify(attempt.key.key, signature.der),
    );
    if (maker === undefined)
      return { place, format: 'ecdsa-p256', state: keys.length === 0 ? 'unchecked' : 'other-key' };
    const { id: keyId, file: keyFile } = maker.key;
    return { place, format: 'ecdsa-p256', state: 'valid', keyId, keyFile };
  });
}

function minisignReport(
  { place, minisig }: { readonly place: string; readonly minisig: Minisig },
  keys: readonly PublicKey[],
  hash: Buffer | undefined,
): SignatureReport {
  const { keyId, comment } = minisig;
  const report = { place, format: 'minisign', keyId, comment } as const;
  if (hash === undefined) return { ...report, state: 'unchecked' };
  let state: SignatureState = 'other-key';
  for (const key of keys) {
    if (key.format !== 'minisign' || key.id !== keyId) continue;
    const result = checkMinisig(minisig, key, hash);
    if (result !== 'forged') return { ...report, state: result, keyFile: key.file };
    state = 'forged';
  }
  return { ...report, state };
}

/** Describes a signature in one line, for people. */
export function describeSignature({
  place,
  format,
  state,
  keyId,
  comment,
  keyFile,
  detail,
}: SignatureReport): string {
  const by = keyId === undefined ? '' : ` by key ${keyId}`;
  const stated = comment === undefined ? '' : `: ${printable(comment)}`;
  const end = {
    valid: `valid signature${by}${keyFile === undefined ? '' : ` (${keyFile})`}${stated}`,
    unchecked: `signature${by}, not checked${stated}`,
    'other-key': `signature${by}, which is none of the given keys`,
    'other-content': `valid signature${by}, but over other content${stated}`,
    forged: `signature that names key ${keyId ?? ''}, which did not make it`,
    malformed:
      format === 'unknown'
        ? 'not a signature of minisign or ECDSA; check it with the program that made it'
        : `malformed signature: ${detail ?? ''}`,
  }[state];
  return `${place}: ${end}`;
}

/**
 * Requires that one of the signatures is valid.
 * @param name the signed bundle or file
 * @param keyPaths the keys as the user named them
 * @throws AirliftError `untrusted`, with what is wrong with each signature
 */
export function requireValid(
  name: string,
  reports: readonly SignatureReport[],
  keyPaths: readonly string[],
): void {
  if (reports.some(({ state }) => state === 'valid')) return;
  const want = `want a signature by ${keyPaths.length === 1 ? 'a key of ' : 'one of '}${keyPaths.join(', ')}`;
  if (reports.length === 0)
    throw new AirliftError('untrusted', `check the signature of ${name}: not signed; ${want}`, {
      hint: `a signature in a file must lie beside it, as ${name}.minisig or ${name}.sig; its maker can sign it with airlift sign`,
    });
  const [first = '', ...lines] = reports.map(describeSignature);
  throw new AirliftError('untrusted', `check the signature of ${name}: ${first}; ${want}`, {
    lines,
    hint: reports.some(({ state }) => state === 'other-content')
      ? `the signature belongs to another version: copy the bundle and its signature again; minisign -S must sign airlift/SHA256SUMS, not the whole bundle`
      : 'use nothing of it before you know who made it',
  });
}
