import { readdir } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { ioError } from '../bundle/format/io-error.js';
import { aboutOfPart, isPartOf, partPath, type BundlePart } from '../bundle/format/part.js';
import { HeadDigests, sumsDigest } from '../bundle/format/sums.js';
import { BundleReader } from '../bundle/reader.js';
import { orDamage } from '../bundle/verify/check-front.js';
import { hasJournal } from '../bundle/write/output-name.js';
import { bytesOfVolume, type VolumeSize } from '../bundle/write/file-limit.js';
import type { BundleWriter } from '../bundle/write/writer.js';
import { AirliftError, checkInterrupted, isAirliftError } from '../errors.js';
import { isTaken, makeDirectory } from '../io/directories.js';
import type { Inputs } from '../merge/open-inputs.js';
import { writeBundle } from '../merge/write-bundle.js';
import { digestOf, type Digest } from '../oci/digest.js';
import { formatReference } from '../oci/reference.js';
import type { OnEvent } from '../progress.js';
import { closeBases, openBases, type Base } from '../receipts/open-base.js';
import type { BundleSigning } from '../signing/sign-content.js';
import { packImages, type PackedPart } from './pack-images.js';

/** How the images of a bundle are divided into parts. */
export interface PartsOptions {
  /** The most bytes of a part, or `fat32` for the largest file that fits FAT32. */
  readonly partSize: VolumeSize;
  /** Each part carries all of its layers. Default: a layer is only in the first part that needs it, and the later ones are deltas. */
  readonly wholeParts?: boolean | undefined;
}

export interface WritePartsOptions extends PartsOptions {
  /** Path of the bundle that the parts make up; the parts are named after it. */
  readonly output: string;
  /** Replace existing files of the parts' names. */
  readonly force?: boolean | undefined;
  /** Signs each part, in the part itself. */
  readonly sign?: BundleSigning | undefined;
  /** Writes the pending blobs of a part; default: copies them from the bundle. */
  readonly fill?: ((writer: BundleWriter) => Promise<void>) | undefined;
  readonly onEvent?: OnEvent | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A part that was written. */
export interface WrittenPart extends Pick<BundlePart, 'number' | 'needs'> {
  readonly path: string;
  /** Bytes of the file. */
  readonly size: number;
  /** Number of images, signatures under tags included. */
  readonly images: number;
  /** Layers that earlier parts carry. */
  readonly leftOut: { readonly blobs: number; readonly bytes: number };
  /** Digest of its `SHA256SUMS`. */
  readonly sums: Digest;
  /** An earlier run had written it. */
  readonly isKept: boolean;
}

/** The parts of a bundle. */
export interface WrittenParts {
  /** In the order in which they have to be imported. */
  readonly parts: readonly WrittenPart[];
}

/** Identifies a set: the content of the bundle, and how it is divided. */
async function setOf(reader: BundleReader, options: WritePartsOptions): Promise<Digest> {
  const sums = await new HeadDigests(reader.file, reader.head).ofSums();
  const { wholeParts = false, sign } = options;
  const rules = [bytesOfVolume(options.partSize), wholeParts, sign?.key.id ?? ''];
  return digestOf(Buffer.from(JSON.stringify([sums, ...rules])));
}

/**
 * Divides the images of a bundle into parts: bundles of their own, none larger than the part size. After an interruption the same call
 * keeps the parts that are complete and resumes the one that is not.
 * @param reader the bundle; with `fill`, its layers need not have their content
 * @throws AirliftError `usage` if an image does not fit a part; `exists`, `damaged`, `no-space`, `io`, `interrupted`
 */
export async function writeParts(reader: BundleReader, options: WritePartsOptions): Promise<WrittenParts> {
  const { wholeParts = false, output, signal } = options;
  const partSize = bytesOfVolume(options.partSize);
  const packed = packImages(reader.catalog, { partSize, wholeParts, bundle: output, signal });
  const set = await setOf(reader, options);
  await createDirectory(output);
  const paths = packed.map((_, at) => partPath(output, at + 1, packed.length));
  await refuseOthers(output, paths, set, options);
  const parts: WrittenPart[] = [];
  for (const [at, { images, needs }] of packed.entries()) {
    checkInterrupted(signal, `divide ${reader.path}`);
    const part = { set, number: at + 1, count: packed.length, needs };
    parts.push(await writePart(reader, { part, images, paths }, options));
  }
  return { parts };
}

async function createDirectory(output: string): Promise<void> {
  try {
    await makeDirectory(dirname(output));
  } catch (error) {
    throw ioError(`create ${dirname(output)}`, error);
  }
}

/** Returns the part at a path if it belongs to a set; undefined otherwise. */
async function openPart(path: string, set: Digest): Promise<BundleReader | undefined> {
  if (!(await isTaken(path))) return undefined;
  let reader: BundleReader | undefined;
  try {
    reader = await BundleReader.open(path);
  } catch (error) {
    if (isAirliftError(error, 'input', 'damaged', 'unsupported')) return undefined;
    throw error;
  }
  if (reader.catalog.part?.set === set) return reader;
  await reader.close();
  return undefined;
}

/**
 * Rejects files that have the name of a part, before anything is written: also those of other numbers, which would be imported with this
 * set.
 * @throws AirliftError `exists`
 */
async function refuseOthers(
  output: string,
  paths: readonly string[],
  set: Digest,
  { force = false }: WritePartsOptions,
): Promise<void> {
  const names = paths.map((path) => basename(path));
  const found = await readdir(dirname(output));
  const other = found.filter((name) => isPartOf(output, name) && !names.includes(name)).sort()[0];
  if (other !== undefined)
    throw new AirliftError('exists', `write parts of ${output}: ${other} is a part of another set`, {
      hint: 'write to another directory, or move the files of the other set away',
    });
  for (const path of force ? [] : paths) {
    if (!(await isTaken(path))) continue;
    const part = await openPart(path, set);
    await part?.close();
    if (part === undefined)
      throw new AirliftError('exists', `write ${path}: already exists, with other content`, {
        hint: 'add `force` to replace it',
      });
  }
}

interface PartPlan {
  readonly part: BundlePart;
  readonly images: PackedPart['images'];
  /** Paths of all parts of the set. */
  readonly paths: readonly string[];
}

async function writePart(
  reader: BundleReader,
  { part, images, paths }: PartPlan,
  options: WritePartsOptions,
): Promise<WrittenPart> {
  const { number, count, needs, set } = part;
  const path = paths[number - 1] ?? '';
  const { force, onEvent, signal, sign, fill } = options;
  // With a journal, an earlier run was stopped after it named the file: the writer removes the journal.
  const kept = hasJournal(path) ? undefined : await openPart(path, set);
  if (kept !== undefined) return keepPart(kept, part, images.size);
  const fingerprint = `part ${number} of ${count} (${set.slice(0, 19)}…)`;
  const { created } = reader;
  const bases = await openBases(needs.map((need) => paths[need - 1] ?? ''));
  try {
    const written = await writeBundle(
      inputsOf(reader, images),
      {
        fingerprint,
        sign,
        fill,
        maxSize: bytesOfVolume(options.partSize),
        about: aboutOfPart(part),
        onPlan: (writer) => leaveOut(writer, reader, bases),
      },
      { output: path, created, force, onEvent, signal },
    );
    const { size, leftOut, sums } = written;
    return { number, needs, path, size, images: images.size, leftOut, sums, isKept: false };
  } finally {
    await closeBases(bases);
  }
}

/** Describes a part that an earlier run completed. */
async function keepPart(kept: BundleReader, part: BundlePart, images: number): Promise<WrittenPart> {
  try {
    const { path, size, catalog } = kept;
    const sums = await sumsDigest(path);
    const { number, needs } = part;
    return { number, needs, path, size, images, leftOut: catalog.baseTotals(), sums, isKept: true };
  } finally {
    await kept.close();
  }
}

function inputsOf(reader: BundleReader, names: ReadonlySet<string>): Inputs {
  return {
    source: reader,
    images: {
      *[Symbol.iterator]() {
        for (const image of reader.images()) if (names.has(formatReference(image.reference))) yield image;
      },
    },
    count: names.size,
    hasForeign: (digest) => reader.position(digest) !== undefined,
    explain: (error) => orDamage(reader, error),
    close: () => reader.close(),
  };
}

/** Leaves the layers out that earlier parts carry, or that the bundle itself leaves out as a delta. */
function leaveOut(writer: BundleWriter, { catalog }: BundleReader, earlier: readonly Base[]): void {
  writer.changeBase((plan) => {
    let isDelta = false;
    for (const { digest } of catalog.baseBlobs()) {
      if (!plan.isLayer(digest)) continue;
      plan.leaveOut(digest, catalog.placesOf(digest));
      isDelta = true;
    }
    if (isDelta) for (const base of catalog.bases()) plan.add(base);
    for (const base of earlier) {
      if (base.kind !== 'bundle') continue;
      plan.add(base.base);
      for (const { digest, kind, offset } of base.catalog.blobs())
        if (kind === 'layer' && offset !== undefined && plan.isLayer(digest))
          plan.leaveOut(digest, base.placesOf(digest));
    }
  });
}
