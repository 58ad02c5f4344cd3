import { findDetached } from '../../signing/detached.js';
import { maxSignatureFile } from '../../signing/minisign-text.js';
import { readPublicKeys, type PublicKey } from '../../signing/public-key.js';
import {
  checkSignatures,
  describeSignature,
  requireValid,
  type FoundSignature,
  type SignedContent,
  type SignatureReport,
} from '../../signing/signatures.js';
import type { BundleFile } from '../format/file.js';
import { entryNames } from '../format/format.js';
import type { Head } from '../format/head.js';
import type { Findings } from './findings.js';

/** Keys of which one must have signed a bundle. */
export interface RequiredSignature {
  readonly keys: readonly PublicKey[];
  /** The keys and directories as the user named them. */
  readonly paths: readonly string[];
}

/**
 * Reads the keys of a required signature.
 * @param given path of a key, or of a directory of keys, or several
 * @returns undefined if none is given
 * @throws AirliftError as `readPublicKeys`
 */
export async function requiredSignature(
  given: string | readonly string[] | undefined,
): Promise<RequiredSignature | undefined> {
  if (given === undefined) return undefined;
  const paths = typeof given === 'string' ? [given] : given;
  return { keys: await readPublicKeys(paths), paths };
}

/** Returns what signatures of a bundle cover: the content of its `SHA256SUMS`. */
export function signedContent(file: BundleFile, { entries }: Pick<Head, 'entries'>): SignedContent {
  const sums = entries.get(entryNames.sha256sums);
  return () => file.stream(sums?.contentPosition ?? 0, sums?.size ?? 0) as AsyncIterable<Buffer>;
}

/**
 * Finds the signatures of a bundle, inside it and beside it, and checks them. All of them cover the content of `SHA256SUMS`.
 * @param path of the bundle; signatures in files lie beside it
 * @throws AirliftError `input` for too many files, `io`
 */
export async function signaturesOf(
  file: BundleFile,
  head: Pick<Head, 'entries'>,
  path: string,
  keys: readonly PublicKey[],
): Promise<SignatureReport[]> {
  const found: FoundSignature[] = [];
  const inside = head.entries.get(entryNames.signature);
  if (inside !== undefined) {
    const bytes = await file.read(inside.contentPosition, Math.min(inside.size, maxSignatureFile + 1));
    found.push({ place: entryNames.signature, bytes });
  }
  found.push(...(await findDetached(path)));
  return await checkSignatures(signedContent(file, head), found, keys);
}

/** @throws AirliftError `untrusted` unless one of the keys has signed the bundle */
export async function checkRequired(
  file: BundleFile,
  head: Head,
  path: string,
  { keys, paths }: RequiredSignature,
): Promise<void> {
  requireValid(file.path, await signaturesOf(file, head, path, keys), paths);
}

/** Reports a malformed signature in the bundle, and that none of the required keys has signed it. */
export function reportSignatures(
  reports: readonly SignatureReport[],
  required: RequiredSignature | undefined,
  findings: Findings,
): void {
  const report = (place: string, detail: string): void => findings.report('signature', place, detail);
  if (required === undefined || reports.some(({ state }) => state === 'valid')) {
    for (const signature of reports)
      if (signature.place === entryNames.signature && signature.state === 'malformed')
        report(signature.place, detailOf(signature));
    return;
  }
  const want = `want a signature by ${required.paths.join(' or ')}`;
  if (reports.length === 0) report(entryNames.sha256sums, `not signed; ${want}`);
  for (const signature of reports) report(signature.place, `${detailOf(signature)}; ${want}`);
}

function detailOf(signature: SignatureReport): string {
  return describeSignature(signature).slice(signature.place.length + 2);
}
