import { createSign } from 'node:crypto';
import { AirliftError } from '../errors.js';
import { printable } from '../oci/printable.js';
import { formatMinisig } from './minisign.js';
import type { SecretKey } from './secret-key.js';
import { hashPieces, type SignedContent } from './signatures.js';

/** What a trusted comment states besides the digest of the content. */
export interface SigningFacts {
  /** Time of the signature; fractions of a second are dropped. */
  readonly created: Date;
  /** Name and version of the program that signs. */
  readonly tool: string;
}

/** How a bundle is signed while it is written. */
export interface BundleSigning {
  /** A key of minisign. */
  readonly key: SecretKey;
  /** See `SigningFacts`. */
  readonly tool: string;
}

/**
 * Composes a trusted comment. It begins as that of minisign does, and holds no path, so that the same bundle gets the same signature
 * wherever it is written.
 * @param subject `bundle`, or the name of a file
 */
export function trustedComment(
  subject: { readonly file: string } | 'bundle',
  sha256: string,
  { created, tool }: SigningFacts,
): string {
  const what = subject === 'bundle' ? `bundle:${sha256}` : `file:${printable(subject.file)} ${sha256}`;
  return `timestamp:${Math.floor(created.getTime() / 1000)} ${what} ${tool}`;
}

/** Signs the `SHA256SUMS` of a bundle, generated in pieces. The same content, key and facts give the same signature. */
export function signSums(pieces: Iterable<Uint8Array>, { key, tool }: BundleSigning, created: Date): Buffer {
  const { sha256, blake2b } = hashPieces(pieces);
  return formatMinisig(key, blake2b, trustedComment('bundle', sha256, { created, tool }));
}

/**
 * Checks that a key can sign a bundle while it is written.
 * @throws AirliftError `usage` for an ECDSA key
 */
export function checkBundleKey({ format }: SecretKey): void {
  if (format === 'minisign') return;
  throw new AirliftError(
    'usage',
    'sign the bundle while it is written: got an ECDSA key, want a key of minisign',
    {
      hint: 'sign the finished bundle with airlift sign',
    },
  );
}

/** Signs content with ECDSA over its SHA-256; the result is in DER, as openssl writes it. */
export async function signEcdsa({ key }: SecretKey, content: SignedContent): Promise<Buffer> {
  const signing = createSign('sha256');
  for await (const chunk of content()) signing.update(chunk);
  return signing.sign(key);
}
