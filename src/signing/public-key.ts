import { createHash, createPublicKey, type KeyObject } from 'node:crypto';
import { opendir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { AirliftError, messageOf } from '../errors.js';
import { readSmallFile } from '../io/small-file.js';
import { base64Of, formatKeyId, linesOf, maxSignatureFile, untrustedPrefix } from './minisign-text.js';

/** Formats of keys and signatures: minisign's Ed25519, and ECDSA with curve P-256 over SHA-256. */
export type SignatureFormat = 'minisign' | 'ecdsa-p256';

/** A key that signatures are checked with. */
export interface PublicKey {
  readonly format: SignatureFormat;
  /** minisign: the id in hexadecimal, as minisign prints it; ECDSA: `sha256:…` of the key in DER. */
  readonly id: string;
  readonly key: KeyObject;
  /** The file that holds it. */
  readonly file: string;
}

/** The most keys in a directory. */
const maxKeys = 1000;

/** Names of key files in a directory; others are not read. */
const keyFile = /\.(pub|pem)$/;

/** Creates an Ed25519 key from its 32 bytes. */
function ed25519PublicKey(bytes: Uint8Array): KeyObject {
  const x = Buffer.from(bytes).toString('base64url');
  return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
}

/** Returns the id of an ECDSA key: the digest of its DER form, as `openssl pkey -pubin -outform DER | sha256sum` prints it. */
export function ecdsaKeyId(key: KeyObject): string {
  return `sha256:${createHash('sha256')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest('hex')}`;
}

/** Reports whether a key is one of ECDSA with curve P-256. */
export function isP256({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): boolean {
  return asymmetricKeyType === 'ec' && asymmetricKeyDetails?.namedCurve === 'prime256v1';
}

function parsePem(text: string, file: string): PublicKey {
  let key: KeyObject;
  try {
    key = createPublicKey(text);
  } catch (cause) {
    throw new AirliftError('input', `read key ${file}: not a public key in PEM: ${messageOf(cause)}`, {
      cause,
    });
  }
  if (!isP256(key))
    throw new AirliftError(
      'unsupported',
      `read key ${file}: unsupported type; got ${key.asymmetricKeyDetails?.namedCurve ?? key.asymmetricKeyType}, want minisign or ECDSA with curve P-256`,
    );
  return { format: 'ecdsa-p256', id: ecdsaKeyId(key), key, file };
}

/**
 * Parses a public key: minisign's file, or an ECDSA key in PEM.
 * @throws AirliftError `input`, `unsupported`; `usage` for a secret key
 */
export function parsePublicKey(bytes: Uint8Array, file: string): PublicKey {
  const text = Buffer.from(bytes.subarray(0, maxSignatureFile + 1)).toString('utf8');
  // Node.js would derive the public key from a secret one.
  if (text.includes('PRIVATE KEY-----')) throw secretKeyError(file);
  if (text.includes('-----BEGIN')) return parsePem(text, file);
  const name = `key ${file}`;
  const [first = '', second = ''] = linesOf(bytes, 2, name);
  if (!first.startsWith(untrustedPrefix))
    throw new AirliftError('input', `read ${name}: not a public key of minisign or in PEM`);
  if (second.length > 100) throw secretKeyError(file);
  const raw = base64Of(second, 42, name);
  if (raw.toString('latin1', 0, 2) !== 'Ed')
    throw new AirliftError('unsupported', `read ${name}: unknown algorithm of minisign`);
  return {
    format: 'minisign',
    id: formatKeyId(raw.subarray(2, 10)),
    key: ed25519PublicKey(raw.subarray(10)),
    file,
  };
}

function secretKeyError(file: string): AirliftError {
  return new AirliftError('usage', `read key ${file}: this is a secret key; want the public key`, {
    hint: `name the public key, such as ${file.replace(/\.key$/, '')}.pub`,
  });
}

async function keyFilesIn(directory: string): Promise<string[]> {
  const files: string[] = [];
  for await (const entry of await opendir(directory)) {
    if (!keyFile.test(entry.name) || entry.isDirectory()) continue;
    files.push(join(directory, entry.name));
    if (files.length > maxKeys)
      throw new AirliftError('input', `read keys in ${directory}: more than ${maxKeys} keys`);
  }
  if (files.length === 0)
    throw new AirliftError('input', `read keys in ${directory}: no key; want files *.pub or *.pem`, {
      hint: 'put the public keys of the exporters into the directory, or name one key',
    });
  return files.sort();
}

/**
 * Reads public keys: a file each, or every `*.pub` and `*.pem` in a directory.
 * @throws AirliftError `input` for a malformed key or a directory without keys, `usage` for a secret key, `unsupported`, `io`
 */
export async function readPublicKeys(paths: readonly string[]): Promise<PublicKey[]> {
  const keys: PublicKey[] = [];
  for (const path of paths) {
    const isDirectory = await stat(path).then(
      (found) => found.isDirectory(),
      () => false,
    );
    const files = isDirectory ? await keyFilesIn(path) : [path];
    for (const file of files)
      keys.push(parsePublicKey(await readSmallFile(file, `key ${file}`, maxSignatureFile), file));
  }
  return keys;
}
