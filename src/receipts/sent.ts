import { stat } from 'node:fs/promises';
import type { DeltaBase } from '../bundle/format/delta.js';
import type { Catalog } from '../bundle/format/catalog.js';
import { ImageParts } from '../bundle/format/image-parts.js';
import { BundleReader } from '../bundle/reader.js';
import { AirliftError, isAirliftError, isMissingPath, messageOf } from '../errors.js';
import { digestOf } from '../oci/digest.js';
import { formatReference, formatRepository } from '../oci/reference.js';
import { closeBases, openBase, type ReceiptBase } from './open-base.js';
import { formatTime } from '../oci/time.js';
import { contentOfPlatform, ReceiptText, writeReceipt, type ReceiptEntry } from './receipt.js';

/** A record of what was sent, and what its first lines state. */
export interface SentOptions {
  /** The file; the first export creates it. */
  readonly path: string;
  /** Version of airlift. */
  readonly version: string;
  /** Default: now. */
  readonly time?: Date | undefined;
}

/**
 * Opens a record of what was sent; undefined if there is none yet.
 * @throws AirliftError `input` if the file is something else, which recording would overwrite; as `openBase`
 */
export async function openSent(path: string): Promise<ReceiptBase | undefined> {
  try {
    await stat(path);
  } catch (cause) {
    if (isMissingPath(cause)) return undefined;
    throw new AirliftError('io', `open ${path}: ${messageOf(cause)}`, { cause, hint: 'check the path' });
  }
  const base = await openBase(path);
  if (base.kind === 'receipt' && base.base.kind === 'sent') return base;
  await closeBases([base]);
  throw new AirliftError('input', `open ${path}: got a ${base.kind}, want a record of what was sent`, {
    hint: 'give receipts and bundles with `base`, and name another file with `sent`',
  });
}

/** Yields the lines of a bundle: its images, manifests below their indexes, and layers that a site has after the import. */
function* entriesOf(catalog: Catalog): Generator<ReceiptEntry> {
  const parts = new ImageParts(catalog);
  for (const { reference, root } of catalog.images()) {
    const repository = formatRepository(reference);
    for (const { digest, kind, isHeld, platform } of parts.of(formatReference(reference))) {
      if (kind === 'config' || !isHeld) continue;
      const content = kind === 'manifest' ? contentOfPlatform(platform) : kind;
      const tag = digest === root.digest ? reference.tag : undefined;
      // Indexes below an index name nothing that lines of their own do not.
      if (kind !== 'index' || digest === root.digest) yield { repository, tag, digest, content };
    }
  }
}

/**
 * Adds a finished bundle to the record of what was sent, completely or not at all.
 * @param beforeWrite called with the digest that the record gets
 * @throws AirliftError `io`, `unsupported` if the record becomes too large; the bundle stays
 */
export async function recordSent(
  bundle: string,
  { path, version, time = new Date() }: SentOptions,
  beforeWrite: (record: DeltaBase) => void,
): Promise<void> {
  const reader = await BundleReader.open(bundle);
  try {
    const text = new ReceiptText({ kind: 'sent', time: formatTime(time), airlift: version });
    // As the record is now: another export may have added lines meanwhile.
    const record = await openSent(path);
    if (record !== undefined) for await (const entry of record.receipt.entries()) text.add(entry);
    for (const entry of entriesOf(reader.catalog)) text.add(entry);
    const written = text.toString();
    beforeWrite({ kind: 'sent', time: formatTime(time), digest: digestOf(Buffer.from(written)) });
    await writeReceipt(path, written);
  } catch (error) {
    if (!isAirliftError(error)) throw error;
    throw new AirliftError(error.code, `${error.message}; the bundle ${bundle} is complete`, {
      cause: error,
      hint: error.hint ?? 'run the same command again to add it to the record',
    });
  } finally {
    await reader.close();
  }
}
