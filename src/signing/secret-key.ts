import { createPrivateKey, createPublicKey, scrypt, sign, type KeyObject } from 'node:crypto';
import { AirliftError, messageOf } from '../errors.js';
import { readSmallFile } from '../io/small-file.js';
import { blake2b256 } from './blake2b.js';
import { base64Of, formatKeyId, linesOf, maxSignatureFile, untrustedPrefix } from './minisign-text.js';
import { ecdsaKeyId, isP256, type SignatureFormat } from './public-key.js';

/** A key that signs. */
export interface SecretKey {
  readonly format: SignatureFormat;
  /** The id of its public key, see `PublicKey`. */
  readonly id: string;
  readonly key: KeyObject;
  /** The id as bytes, for minisign. */
  readonly idBytes: Buffer;
}

/** A secret key that may need a password. */
export interface LockedKey {
  readonly file: string;
  readonly isEncrypted: boolean;
  /**
   * Decrypts the key.
   * @throws AirliftError `input` for a wrong password or a damaged key
   */
  unlock(password?: string): Promise<SecretKey>;
}

/** Positions in minisign's secret key, after base64. */
const at = { kdf: 2, checksum: 4, salt: 6, opsLimit: 38, memLimit: 46, secret: 54, end: 158 } as const;

/** The most memory that a key file may ask for (bytes): minisign's own keys need 1 GiB. */
const maxMemory = 2 ** 31;

/** Parameters of scrypt (RFC 7914). */
interface ScryptParameters {
  readonly N: number;
  readonly r: number;
  readonly p: number;
}

/**
 * Computes scrypt's parameters from the limits that minisign stores, as libsodium does (`crypto_pwhash_scryptsalsa208sha256`).
 * @throws AirliftError `unsupported` if they need more than 2 GiB
 */
export function scryptParameters(opsLimit: bigint, memLimit: bigint, name: string): ScryptParameters {
  const r = 8;
  const operations = opsLimit < 32768n ? 32768n : opsLimit;
  const isBoundByTime = operations < memLimit / 32n;
  const most = isBoundByTime ? operations / BigInt(r * 4) : memLimit / BigInt(r * 128);
  let log = 1;
  while (log < 63 && 1n << BigInt(log) <= most / 2n) log++;
  const p = isBoundByTime ? 1 : Number(operations / 4n / (1n << BigInt(log)) / BigInt(r));
  const N = 2 ** log;
  if (128 * N * r > maxMemory || p < 1 || p > 64)
    throw new AirliftError('unsupported', `read ${name}: its password protection needs too much memory`);
  return { N, r, p };
}

/** Derives the bytes that hide a minisign key, from its password. Needs 1 GiB of memory for keys with minisign's own limits. */
export function keyStream(
  password: string,
  salt: Uint8Array,
  length: number,
  { N, r, p }: ScryptParameters,
): Promise<Buffer> {
  return new Promise((done, fail) => {
    const maxmem = 128 * N * r + 128 * r * p + 2 ** 20;
    scrypt(password, salt, length, { N, r, p, maxmem }, (error, derived) =>
      error === null ? done(derived) : fail(error),
    );
  });
}

/** Computes the checksum of a minisign key: over its algorithm, id and secret. */
export function keyChecksum(idAndSecret: Uint8Array): Buffer {
  return blake2b256(Buffer.concat([Buffer.from('Ed'), idAndSecret]));
}

/** Combines two buffers of the same length. */
export function xor(left: Uint8Array, right: Uint8Array): Buffer {
  return Buffer.from(left.map((byte, index) => byte ^ (right[index] ?? 0)));
}

function ed25519SecretKey(seed: Uint8Array, publicBytes: Uint8Array): KeyObject {
  const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url');
  const key = { kty: 'OKP', crv: 'Ed25519', d: text(seed), x: text(publicBytes) };
  return createPrivateKey({ key, format: 'jwk' });
}

function minisignKey(clear: Buffer, name: string): SecretKey {
  const [idBytes, seed, publicBytes] = [clear.subarray(0, 8), clear.subarray(8, 40), clear.subarray(40, 72)];
  const key = ed25519SecretKey(seed, publicBytes);
  // The second half of the secret must be the public key of its first half.
  const { x } = createPublicKey(key).export({ format: 'jwk' });
  if (x !== publicBytes.toString('base64url'))
    throw new AirliftError('input', `read ${name}: the key is damaged`);
  return { format: 'minisign', id: formatKeyId(idBytes), idBytes, key };
}

function parseMinisign(bytes: Uint8Array, file: string): LockedKey {
  const name = `key ${file}`;
  const [comment = '', line = ''] = linesOf(bytes, 2, name);
  if (!comment.startsWith(untrustedPrefix))
    throw new AirliftError('input', `read ${name}: not a secret key of minisign or in PEM`);
  if (line.length < 100)
    throw new AirliftError('usage', `read ${name}: this is a public key; want the secret key`, {
      hint: `name the secret key, such as ${file.replace(/\.pub$/, '')}.key`,
    });
  const raw = base64Of(line, at.end, name);
  const text = (from: number): string => raw.toString('latin1', from, from + 2);
  const kdf = text(at.kdf);
  if (text(0) !== 'Ed' || text(at.checksum) !== 'B2' || (kdf !== 'Sc' && kdf !== '\0\0'))
    throw new AirliftError('unsupported', `read ${name}: unknown algorithms of minisign`);
  const secret = raw.subarray(at.secret);
  if (kdf === '\0\0')
    return { file, isEncrypted: false, unlock: () => Promise.resolve(minisignKey(secret, name)) };
  const parameters = scryptParameters(
    raw.readBigUInt64LE(at.opsLimit),
    raw.readBigUInt64LE(at.memLimit),
    name,
  );
  const unlock = async (password = ''): Promise<SecretKey> => {
    const stream = await keyStream(
      password,
      raw.subarray(at.salt, at.opsLimit),
      secret.length,
      parameters,
    ).catch((cause: unknown) => {
      throw new AirliftError('io', `read ${name}: ${messageOf(cause)}`, {
        cause,
        hint: 'its password protection needs 1 GiB of memory',
      });
    });
    const clear = xor(secret, stream);
    if (!keyChecksum(clear.subarray(0, 72)).equals(clear.subarray(72)))
      throw new AirliftError('input', `read ${name}: wrong password`);
    return minisignKey(clear, name);
  };
  return { file, isEncrypted: true, unlock };
}

function parsePem(text: string, file: string): LockedKey {
  if (text.includes('-----BEGIN PUBLIC KEY-----'))
    throw new AirliftError('usage', `read key ${file}: this is a public key; want the secret key`);
  if (!text.includes('PRIVATE KEY-----') || text.includes('SIGSTORE'))
    throw new AirliftError('unsupported', `read key ${file}: not a private key that node:crypto reads`, {
      hint: 'for keys of other programs, hardware and services, let their program sign, see airlift sign',
    });
  const isEncrypted = text.includes('BEGIN ENCRYPTED PRIVATE KEY') || text.includes('Proc-Type: 4,ENCRYPTED');
  const unlock = (password = ''): Promise<SecretKey> => {
    let key: KeyObject;
    try {
      key = createPrivateKey({ key: text, format: 'pem', passphrase: password });
    } catch (cause) {
      const happened = isEncrypted ? 'wrong password, or a damaged key' : 'not a private key in PEM';
      return Promise.reject(new AirliftError('input', `read key ${file}: ${happened}`, { cause }));
    }
    if (!isP256(key))
      return Promise.reject(
        new AirliftError(
          'unsupported',
          `read key ${file}: unsupported type; got ${key.asymmetricKeyDetails?.namedCurve ?? key.asymmetricKeyType}, want ECDSA with curve P-256`,
        ),
      );
    const id = ecdsaKeyId(createPublicKey(key));
    return Promise.resolve({ format: 'ecdsa-p256', id, idBytes: Buffer.alloc(0), key });
  };
  return { file, isEncrypted, unlock };
}

/**
 * Reads a secret key: minisign's file, or an ECDSA key in PEM.
 * @throws AirliftError `input`, `unsupported`, `io`; `usage` for a public key
 */
export async function readSecretKey(file: string): Promise<LockedKey> {
  const bytes = await readSmallFile(file, `key ${file}`, maxSignatureFile);
  const text = bytes.toString('utf8');
  return text.includes('-----BEGIN') ? parsePem(text, file) : parseMinisign(bytes, file);
}

/** Signs a short message with Ed25519. */
export function signEd25519({ key }: SecretKey, message: Uint8Array): Buffer {
  return sign(null, message, key);
}
