import { realpath } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { DeltaBase } from './bundle/format/delta.js';
import { findVolumes, volumeNumberOf } from './bundle/format/volumes/find.js';
import { listName } from './bundle/format/volumes/list.js';
import type { VolumeSize } from './bundle/write/file-limit.js';
import type { BundleWriter } from './bundle/write/writer.js';
import { AirliftError, firstLines, maxProblemsShown } from './errors.js';
import { BundleSet, type BundleSetOptions } from './merge/bundle-set.js';
import type { Inputs } from './merge/open-inputs.js';
import { writeBundle, type WriteBundleOptions, type WrittenBundle } from './merge/write-bundle.js';
import { digestOf, type Digest } from './oci/digest.js';
import type { BundleSigning } from './signing/sign-content.js';

export interface MergeBundlesOptions extends BundleSetOptions, WriteBundleOptions {
  /** Paths of bundles: full ones, and deltas with the bundles that have what they leave out. */
  readonly bundles: readonly string[];
  /** Write a delta if layers are missing in all bundles; default: fail, and name them. */
  readonly delta?: boolean | undefined;
  /**
   * Write volumes of this many bytes, or `fat32` for the largest that fit FAT32: `output` with `.001`, `.002`, … and the list of them,
   * `.volumes`. Default: one file.
   */
  readonly volumeSize?: VolumeSize | undefined;
  /** Signs the bundle, in the bundle itself. */
  readonly sign?: BundleSigning | undefined;
}

export interface MergeBundlesSummary extends WrittenBundle {
  /** Number of bundles that were merged. */
  readonly bundles: number;
}

/**
 * Rejects an output that would replace one of the inputs.
 * @throws AirliftError `usage`
 */
async function refuseInputs({ output, bundles, volumeDirs, volumeSize }: MergeBundlesOptions): Promise<void> {
  const folder = await realpath(dirname(output)).catch(() => undefined);
  if (folder === undefined) return;
  const name = join(folder, basename(output));
  for (const bundle of bundles) {
    const volumes = await findVolumes(bundle, volumeDirs);
    const files =
      volumes === undefined ? [bundle] : [volumes.listPath, ...volumes.volumes.map(({ path }) => path)];
    for (const file of files) {
      const path = file === undefined ? undefined : await realpath(file).catch(() => undefined);
      if (path === undefined) continue;
      const isVolume = volumeNumberOf(path)?.bundle === name || path === listName(name);
      if (volumeSize === undefined ? path !== name : !isVolume) continue;
      throw new AirliftError('usage', `merge to ${output}: it is one of the bundles to merge`, {
        hint: 'write to another file with `output`, and remove the bundles when it is verified',
      });
    }
  }
}

/** Describes what a delta was made against, and so which bundles have the layers that it leaves out. */
function textOfBase({ kind, registry, time, digest }: DeltaBase): string {
  if (kind === 'bundle') return `the bundle of ${time} with SHA256SUMS digest ${digest}`;
  if (kind === 'sent') return `the bundles that were sent before ${time}`;
  return `bundles that were imported into ${registry ?? 'the site'} before ${time}`;
}

/** Lists what the deltas of a set were made against, without the bundles of the set. */
function* basesOf(
  { readers }: BundleSet,
  sums: readonly Digest[],
): Iterable<{ delta: string; base: DeltaBase }> {
  for (const { catalog, path } of readers)
    for (const base of catalog.bases()) if (!sums.includes(base.digest)) yield { delta: path, base };
}

/** Records the layers that the merged bundle leaves out, as a delta does. */
function leaveOut(set: BundleSet, sums: readonly Digest[], writer: BundleWriter): void {
  writer.changeBase((plan) => {
    for (const { digest, delta } of set.expected()) plan.leaveOut(digest, delta.catalog.placesOf(digest));
    for (const { base } of basesOf(set, sums)) plan.add(base);
  });
}

/** @throws AirliftError `not-found` if the plan has layers that no bundle has */
function refuseMissing(set: BundleSet, sums: readonly Digest[], writer: BundleWriter): void {
  const lines: string[] = [];
  let blobs = 0;
  const deltas = new Set<string>();
  for (const { digest, size, delta } of set.expected()) {
    if (!writer.base.isLayer(digest)) continue;
    blobs++;
    deltas.add(delta.path);
    const [image = 'an image'] = delta.catalog.imagesWith(digest, 1);
    if (lines.length < maxProblemsShown)
      lines.push(`missing: ${digest} (${size} bytes) of ${image}, which ${delta.path} leaves out`);
  }
  if (blobs === 0) return;
  const bases = [...basesOf(set, sums)].filter(({ delta }) => deltas.has(delta));
  const texts = bases.map(({ delta, base }) => `${delta} was made against ${textOfBase(base)}`);
  throw new AirliftError(
    'not-found',
    `merge ${set.paths}: ${blobs} ${blobs === 1 ? 'layer' : 'layers'} that deltas leave out are in none of the bundles`,
    {
      lines: [...firstLines(lines, maxProblemsShown, blobs), ...firstLines(texts, maxProblemsShown)],
      hint: 'name these bundles, too; or add `delta` to write a delta that leaves out what is missing',
    },
  );
}

/** Identifies the content: the bundles by their sums, in their order if it matters. */
function fingerprintOf(images: number, sums: readonly Digest[], options: MergeBundlesOptions): string {
  const { onExistingTag = 'error', delta = false } = options;
  const bundles = onExistingTag === 'error' ? [...new Set(sums)].sort() : sums;
  const digest = digestOf(Buffer.from(JSON.stringify([bundles, onExistingTag, delta])));
  return `${images} images of ${bundles.length} bundles (${digest.slice(0, 19)}…)`;
}

function inputsOf(set: BundleSet, count: number): Inputs {
  return {
    source: set,
    images: { [Symbol.iterator]: () => set.images()[Symbol.iterator]() },
    count,
    hasForeign: (digest) => set.has(digest),
    explain: (error) => set.explain(error),
    close: () => set.close(),
  };
}

/**
 * Merges bundles into one full bundle: every image of each, every blob once. A delta needs the bundles that have what it leaves out.
 * After an interruption the partial bundle stays beside the output, and the same call resumes it.
 * @throws AirliftError `conflict` if two bundles use one name for different images; `not-found` if layers are missing, with the deltas
 *   that leave them out and what these were made against; what opening the bundles and writing throw; the output does not exist then
 */
export async function mergeBundles(options: MergeBundlesOptions): Promise<MergeBundlesSummary> {
  await refuseInputs(options);
  const set = await BundleSet.open(options.bundles, options);
  try {
    const count = set.checkNames();
    if (count === 0) throw new AirliftError('input', `merge ${set.paths}: no image found`);
    const sums = await set.sums();
    const written = await writeBundle(
      inputsOf(set, count),
      {
        fingerprint: fingerprintOf(count, sums, options),
        volumeSize: options.volumeSize,
        sign: options.sign,
        onPlan: (writer) =>
          options.delta === true ? leaveOut(set, sums, writer) : refuseMissing(set, sums, writer),
      },
      options,
    );
    return { ...written, bundles: set.readers.length };
  } finally {
    await set.close();
  }
}
