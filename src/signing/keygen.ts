import { generateKeyPair, randomBytes, type KeyObject } from 'node:crypto';
import { open, rm } from 'node:fs/promises';
import { promisify } from 'node:util';
import { AirliftError, messageOf, systemCodeOf } from '../errors.js';
import { isTaken } from '../io/directories.js';
import { formatKeyId, untrustedPrefix } from './minisign-text.js';
import { ecdsaKeyId, type SignatureFormat } from './public-key.js';
import { keyChecksum, keyStream, scryptParameters, xor } from './secret-key.js';

const generate = promisify(generateKeyPair);

/** Limits of minisign's keys (`crypto_pwhash_scryptsalsa208sha256_…_SENSITIVE`): 1 GiB of memory, some seconds of time. */
const opsLimit = 33_554_432n;
const memLimit = 1_073_741_824n;

/** Options for a new key pair. */
export interface KeygenOptions {
  /** Path of the secret key; `.key` at its end is replaced by `.pub` for the public key. */
  readonly output: string;
  /** Default: minisign. */
  readonly type?: SignatureFormat | undefined;
  /** Encrypts the secret key; undefined writes it unencrypted. */
  readonly password?: string | undefined;
}

/** A new key pair. */
export interface KeygenSummary {
  readonly secretKey: string;
  readonly publicKey: string;
  /** See `PublicKey`. */
  readonly keyId: string;
  readonly format: SignatureFormat;
}

/** Returns the path of the public key that belongs to the path of a secret key. */
function publicPath(path: string): string {
  return `${path.replace(/\.key$/, '')}.pub`;
}

/**
 * Checks that neither file of a new key pair exists.
 * @throws AirliftError `exists`
 */
export async function refuseExistingKeys(output: string): Promise<void> {
  for (const path of [output, publicPath(output)]) if (await isTaken(path)) throw existsError(path);
}

function existsError(path: string): AirliftError {
  return new AirliftError('exists', `write key ${path}: already exists; keys are never overwritten`, {
    hint: 'choose another name with -o',
  });
}

/** Writes a new file and waits until it is on the disk. */
async function writeNew(path: string, content: string | Buffer, mode: number): Promise<void> {
  try {
    const file = await open(path, 'wx', mode);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (cause) {
    if (systemCodeOf(cause) === 'EEXIST') throw existsError(path);
    throw new AirliftError('io', `write key ${path}: ${messageOf(cause)}`, { cause });
  }
}

interface NewKey {
  readonly id: string;
  readonly secret: string | Buffer;
  readonly public: string | Buffer;
}

/** Returns the 32 bytes of one part of an Ed25519 key. */
function partOf(key: KeyObject, part: 'd' | 'x'): Buffer {
  return Buffer.from(key.export({ format: 'jwk' })[part] ?? '', 'base64url');
}

async function newMinisignKey(password: string | undefined): Promise<NewKey> {
  const { privateKey, publicKey } = await generate('ed25519');
  const idBytes = randomBytes(8);
  const id = formatKeyId(idBytes);
  const publicBytes = partOf(publicKey, 'x');
  const clear = Buffer.concat([idBytes, partOf(privateKey, 'd'), publicBytes]);
  const salt = randomBytes(32);
  const limits = Buffer.alloc(16);
  limits.writeBigUInt64LE(opsLimit, 0);
  limits.writeBigUInt64LE(memLimit, 8);
  const whole = Buffer.concat([clear, keyChecksum(clear)]);
  const body =
    password === undefined
      ? [Buffer.from('Ed\0\0B2'), Buffer.alloc(48), clear, Buffer.alloc(32)]
      : [
          Buffer.from('EdScB2'),
          salt,
          limits,
          xor(whole, await keyStream(password, salt, whole.length, scryptParameters(opsLimit, memLimit, id))),
        ];
  const line = Buffer.concat(body).toString('base64');
  const kind = password === undefined ? 'minisign secret key' : 'minisign encrypted secret key';
  const publicLine = Buffer.concat([Buffer.from('Ed'), idBytes, publicBytes]).toString('base64');
  return {
    id,
    secret: `${untrustedPrefix}${kind} ${id}\n${line}\n`,
    public: `${untrustedPrefix}minisign public key ${id}\n${publicLine}\n`,
  };
}

async function newEcdsaKey(password: string | undefined): Promise<NewKey> {
  const { privateKey, publicKey } = await generate('ec', { namedCurve: 'P-256' });
  const pkcs8 = { type: 'pkcs8', format: 'pem' } as const;
  return {
    id: ecdsaKeyId(publicKey),
    secret: privateKey.export(
      password === undefined ? pkcs8 : { ...pkcs8, cipher: 'aes-256-cbc', passphrase: password },
    ),
    public: publicKey.export({ type: 'spki', format: 'pem' }),
  };
}

/**
 * Creates a key pair and writes it to two new files; only the owner can read the secret key.
 * @throws AirliftError `exists`, `io`
 */
export async function keygen({ output, type = 'minisign', password }: KeygenOptions): Promise<KeygenSummary> {
  await refuseExistingKeys(output);
  const key = await (type === 'minisign' ? newMinisignKey(password) : newEcdsaKey(password));
  const publicKey = publicPath(output);
  await writeNew(output, key.secret, 0o600);
  try {
    await writeNew(publicKey, key.public, 0o644);
  } catch (error) {
    await rm(output, { force: true });
    throw error;
  }
  return { secretKey: output, publicKey, keyId: key.id, format: type };
}
