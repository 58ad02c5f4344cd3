import { basename } from 'node:path';
import { BundleFile } from './bundle/format/file.js';
import { looksLikeBundle } from './bundle/format/head.js';
import { ioError } from './bundle/format/io-error.js';
import { absenceOf, findVolumes, signedPath } from './bundle/format/volumes/find.js';
import { openChecked } from './bundle/verify/check-front.js';
import { signedContent } from './bundle/verify/check-signatures.js';
import { AirliftError } from './errors.js';
import { isTaken } from './io/directories.js';
import { replaceFile } from './io/replace-file.js';
import { findDetached, signaturePath } from './signing/detached.js';
import { formatMinisig } from './signing/minisign.js';
import { untrustedPrefix } from './signing/minisign-text.js';
import { readPublicKeys } from './signing/public-key.js';
import type { SecretKey } from './signing/secret-key.js';
import { signEcdsa, trustedComment, type SigningFacts } from './signing/sign-content.js';
import { signWithProgram } from './signing/sign-program.js';
import {
  checkSignatures,
  hashContent,
  requireValid,
  type SignatureReport,
  type SignedContent,
} from './signing/signatures.js';

export interface SignOptions extends SigningFacts {
  /** Path of a bundle, whose `SHA256SUMS` is signed, or of another file, which is signed as it is. */
  readonly path: string;
  /** The key, or a command line that reads the content from standard input and prints its signature. */
  readonly signer: SecretKey | { readonly command: string };
  /** Who signs, for a second signature: `site.tar.NAME.minisig`. */
  readonly name?: string | undefined;
  /** Path of the signature. Default: beside the signed file. */
  readonly output?: string | undefined;
  /** Paths of public keys: the new signature must be valid by one of them. */
  readonly checkWith?: readonly string[] | undefined;
  /** Replace an existing signature. */
  readonly force?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A new signature; plain data. */
export interface SignSummary {
  readonly path: string;
  /** What the signature covers: `SHA256SUMS` of a bundle, or a file. */
  readonly subject: 'bundle' | 'file';
  /** `sha256:…` of the signed content. */
  readonly digest: string;
  /** The file with the signature. */
  readonly signature: string;
  /** The id of the key; undefined if a program signed. */
  readonly keyId?: string | undefined;
}

/** Content that is signed, and whether it is that of a bundle. */
interface Subject {
  readonly subject: 'bundle' | 'file';
  readonly content: SignedContent;
}

/** Opens what a signature of a path covers. A bundle is checked first as an import checks it: head and manifests. */
async function withSubject<T>(
  path: string,
  signal: AbortSignal | undefined,
  use: (subject: Subject) => Promise<T>,
): Promise<T> {
  const file = await BundleFile.open(path, 'r');
  try {
    if (!(await looksLikeBundle(file))) {
      const { size } = await file.stat();
      const content = (): AsyncIterable<Uint8Array> => file.stream(0, size) as AsyncIterable<Buffer>;
      return await use({ subject: 'file', content });
    }
  } finally {
    await file.close();
  }
  const reader = await openChecked(path, { signal });
  try {
    return await use({ subject: 'bundle', content: signedContent(reader.file, reader.head) });
  } finally {
    await reader.close();
  }
}

async function refuseExisting(path: string): Promise<void> {
  if (await isTaken(path))
    throw new AirliftError('exists', `write signature ${path}: already exists`, {
      hint: "give a second signature a name with `name: 'officer'`, or add `force` to replace it",
    });
}

/** Makes the signature, and tells the extension of its file. */
async function signatureOf(
  { subject, content }: Subject,
  { path, signer, created, tool, signal }: SignOptions,
  hashed: Awaited<ReturnType<typeof hashContent>>,
): Promise<{ bytes: Buffer; extension: 'minisig' | 'sig' }> {
  if ('command' in signer) {
    const bytes = await signWithProgram(signer.command, content, signal);
    const isMinisig = bytes.subarray(0, untrustedPrefix.length).toString('latin1') === untrustedPrefix;
    return { bytes, extension: isMinisig ? 'minisig' : 'sig' };
  }
  if (signer.format === 'ecdsa-p256') return { bytes: await signEcdsa(signer, content), extension: 'sig' };
  const about = subject === 'bundle' ? subject : { file: basename(path) };
  const comment = trustedComment(about, hashed.sha256, { created, tool });
  return { bytes: formatMinisig(signer, hashed.blake2b, comment), extension: 'minisig' };
}

/**
 * Signs a bundle or another file, and writes the signature to a file of its own; the signed file stays as it is.
 * @throws AirliftError `exists`; `damaged` for a damaged bundle; `untrusted` if `checkWith` does not accept the signature; `usage`,
 *   `input`, `interrupted`, `io`
 */
export async function signFile(options: SignOptions): Promise<SignSummary> {
  const { path, signer, name, output, checkWith, force = false, signal } = options;
  const keys = await readPublicKeys(checkWith ?? []);
  // Before the program asks for the PIN of a card.
  const isMinisig = !('command' in signer) && signer.format === 'minisign';
  const beside = await signedPath(path);
  const expected = output ?? signaturePath(beside, isMinisig ? 'minisig' : 'sig', name);
  if (!force) await refuseExisting(expected);
  return await withSubject(path, signal, async (subject) => {
    const hashed = await hashContent(subject.content);
    const { bytes, extension } = await signatureOf(subject, options, hashed);
    const signature = output ?? signaturePath(beside, extension, name);
    if (keys.length > 0) {
      const reports = await checkSignatures(subject.content, [{ place: signature, bytes }], keys);
      requireValid(path, reports, checkWith ?? []);
    }
    if (!force) await refuseExisting(signature);
    try {
      await replaceFile(signature, `${signature}.new`, bytes);
    } catch (cause) {
      throw ioError(`write signature ${signature}`, cause);
    }
    const keyId = 'command' in signer ? undefined : signer.id;
    return { path, subject: subject.subject, digest: hashed.sha256, signature, keyId };
  });
}

/** The result of checking the signatures of a file that is no bundle; plain data. */
export interface FileVerification {
  readonly file: string;
  /** `sha256:…` of its content. */
  readonly digest: string;
  /** True if one of the keys has signed it. */
  readonly ok: boolean;
  readonly signedBy: readonly SignatureReport[];
}

/** Reports whether a path is a bundle, which `verify` checks, and not a file that is only signed. */
export async function isBundleFile(path: string, volumeDirs: readonly string[] = []): Promise<boolean> {
  const found = await findVolumes(path, volumeDirs);
  // Verifying names the volumes that are missing.
  if (found?.volumes.some((volume) => absenceOf(volume, found.directories) !== undefined) === true)
    return true;
  const file = await BundleFile.open({ path, volumeDirs }, 'r');
  return await looksLikeBundle(file).finally(() => file.close());
}

/**
 * Checks the signatures beside a file that is no bundle, such as a list of volumes or of digests.
 * @param keyPaths of public keys, or of directories of them
 * @throws AirliftError `input`, `usage`, `io`
 */
export async function verifyFile(path: string, keyPaths: readonly string[]): Promise<FileVerification> {
  const keys = await readPublicKeys(keyPaths);
  return await withSubject(path, undefined, async ({ content }) => {
    const signedBy = await checkSignatures(content, await findDetached(path), keys);
    const { sha256: digest } = await hashContent(content);
    return { file: path, digest, ok: signedBy.some(({ state }) => state === 'valid'), signedBy };
  });
}
