import { verify } from 'node:crypto';
import { AirliftError } from '../errors.js';
import { base64Of, formatKeyId, linesOf, trustedPrefix, untrustedPrefix } from './minisign-text.js';
import type { PublicKey } from './public-key.js';
import { signEd25519, type SecretKey } from './secret-key.js';

/** A parsed signature file of minisign. */
export interface Minisig {
  readonly keyId: string;
  /** The comment that the signature covers. */
  readonly comment: string;
  readonly signature: Buffer;
  /** The signature of `signature` and `comment`. */
  readonly global: Buffer;
}

/** The most bytes of a trusted comment, as in minisign. */
const maxComment = 8192;

/**
 * Parses a signature file of minisign.
 * @throws AirliftError `input`; `unsupported` for a signature of the whole content, as minisign before 0.10 makes
 */
export function parseMinisig(bytes: Uint8Array, name: string): Minisig {
  const [untrusted = '', first = '', trusted = '', second = ''] = linesOf(bytes, 4, name);
  if (!untrusted.startsWith(untrustedPrefix) || !trusted.startsWith(trustedPrefix))
    throw new AirliftError('input', `read ${name}: not a signature of minisign`);
  const raw = base64Of(first, 74, name);
  const algorithm = raw.toString('latin1', 0, 2);
  if (algorithm === 'Ed')
    throw new AirliftError('unsupported', `read ${name}: a legacy signature of minisign`, {
      hint: 'sign again with minisign 0.10 or newer, without -l',
    });
  if (algorithm !== 'ED') throw new AirliftError('input', `read ${name}: unknown algorithm of minisign`);
  const comment = trusted.slice(trustedPrefix.length);
  if (Buffer.byteLength(comment) > maxComment)
    throw new AirliftError(
      'input',
      `read ${name}: the comment is too long; want at most ${maxComment} bytes`,
    );
  return {
    keyId: formatKeyId(raw.subarray(2, 10)),
    comment,
    signature: raw.subarray(10),
    global: base64Of(second, 64, name),
  };
}

/**
 * Signs prehashed content. The same key, content and comment give the same bytes.
 * @param hash BLAKE2b of the content, 64 bytes
 */
export function formatMinisig(key: SecretKey, hash: Uint8Array, comment: string): Buffer {
  const signature = signEd25519(key, hash);
  const global = signEd25519(key, Buffer.concat([signature, Buffer.from(comment)]));
  const first = Buffer.concat([Buffer.from('ED'), key.idBytes, signature]).toString('base64');
  const lines = [
    `${untrustedPrefix}signature by key ${key.id}`,
    first,
    `${trustedPrefix}${comment}`,
    global.toString('base64'),
  ];
  return Buffer.from(`${lines.join('\n')}\n`);
}

/**
 * Checks a signature whose key id is that of `key`.
 * @param hash BLAKE2b of the content, 64 bytes
 * @returns `other-content` if the key made the signature, but over other content; `forged` if it did not make it
 */
export function checkMinisig(
  { signature, comment, global }: Minisig,
  { key }: PublicKey,
  hash: Uint8Array,
): 'valid' | 'other-content' | 'forged' {
  if (!verify(null, Buffer.concat([signature, Buffer.from(comment)]), key, global)) return 'forged';
  return verify(null, hash, key, signature) ? 'valid' : 'other-content';
}
