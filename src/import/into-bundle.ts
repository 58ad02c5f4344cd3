import { checkInterrupted } from '../errors.js';
import { BundleFile } from '../bundle/format/file.js';
import { sumsDigest } from '../bundle/format/sums.js';
import { BundleWriter } from '../bundle/write/writer.js';
import { openInputs, type HeldImage, type InputOptions, type Inputs } from '../merge/open-inputs.js';
import { subjectOfTag } from '../oci/companion-tag.js';
import { digestOf, type Digest } from '../oci/digest.js';
import { isForeignLayer } from '../oci/media-types.js';
import { formatReference, formatRepository } from '../oci/reference.js';
import { type PlanSink, Planner } from '../plan/planner.js';
import { forEachOf } from '../concurrency.js';
import { transferBlob } from '../transfer/transfer.js';

export interface BundleArchivesOptions extends InputOptions {
  /** The path of the bundle. */
  readonly output: string;
  /** Creation time recorded in the bundle; fractions of a second are dropped. Default: now. */
  readonly created?: Date | undefined;
  /** Replace an existing bundle. */
  readonly force?: boolean | undefined;
}

export interface BundleArchivesSummary {
  readonly path: string;
  /** The size of the finished bundle in bytes. */
  readonly size: number;
  readonly images: number;
  readonly platforms: readonly string[];
  readonly blobs: number;
  /** The digest of the bundle's `SHA256SUMS`. */
  readonly sums: Digest;
}

/**
 * Returns the images that `bundleArchives` would write, without writing anything.
 * @throws AirliftError what opening and merging throw
 */
export async function archiveImages(options: InputOptions): Promise<HeldImage[]> {
  const inputs = await openInputs(options);
  try {
    return [...inputs.images].map(({ reference, root }) => ({
      image: formatReference(reference),
      digest: root.digest,
    }));
  } finally {
    await inputs.close();
  }
}

/** Blobs copied at a time: enough to keep a disk busy. */
const copyConcurrency = 2;

/** Returns a fingerprint of the images, independent of the order of the archives. */
function fingerprintOf({ images }: Inputs): string {
  const lines = [...images]
    .map(({ reference, root }) => `${formatReference(reference)} ${root.digest}`)
    .sort();
  return `${lines.length} images of archives (${digestOf(Buffer.from(lines.join('\n'))).slice(0, 19)}…)`;
}

async function plan(inputs: Inputs, writer: BundleWriter, options: BundleArchivesOptions): Promise<void> {
  const sink: PlanSink = {
    has: (digest) => writer.has(digest),
    addBlob: (node) => {
      const { digest, mediaType } = node.descriptor;
      if (isForeignLayer(mediaType) && !inputs.hasForeign(digest)) writer.leaveOut(node);
      else writer.addBlob(node);
    },
    addManifest: (node) => writer.addManifest(node),
  };
  const planner = new Planner(inputs.source, sink, { referrers: true, signal: options.signal });
  for (const image of inputs.images) {
    checkInterrupted(options.signal, 'write bundle');
    await planner.planImage(image);
    writer.addImage(image, { companionOf: subjectOfTag(image.reference.tag) });
  }
}

async function copyBlobs(
  inputs: Inputs,
  writer: BundleWriter,
  options: BundleArchivesOptions,
): Promise<void> {
  const { onEvent, signal } = options;
  const file = await BundleFile.open(writer.partial, 'r+');
  try {
    await forEachOf(writer.pending(), copyConcurrency, async ({ position, ...task }) => {
      const { digest, size } = task.descriptor;
      const repository = formatRepository(task.repository);
      const place = {
        write: (chunks: readonly Uint8Array[], offset: number) => file.writevSync(chunks, position + offset),
        read: (length: number) => file.stream(position, length),
      };
      const onProgress = (bytes: number, soFar: () => Uint8Array): void => {
        writer.progress(digest, bytes, soFar());
        onEvent?.({ event: 'blob', digest, size, bytes, repository });
      };
      onEvent?.({ event: 'blob', digest, size, bytes: task.have, repository });
      await transferBlob(inputs.source, place, task, { retries: 0, signal, onProgress });
      writer.complete(digest);
      onEvent?.({ event: 'blob-done', digest, size, how: 'copied' });
    });
  } finally {
    await file.close();
  }
}

/**
 * Writes the images of archives, merged by their names, to a bundle. After an interruption the partial bundle stays beside the
 * output, and the same call resumes it.
 * @throws AirliftError what opening, merging and writing throw; the output does not exist then
 */
export async function bundleArchives(options: BundleArchivesOptions): Promise<BundleArchivesSummary> {
  const inputs = await openInputs(options);
  try {
    const { output: path, created = new Date(), force: replace, onEvent, signal } = options;
    const writer = await BundleWriter.open(path, {
      created,
      fingerprint: fingerprintOf(inputs),
      replace,
      signal,
    });
    try {
      if (writer.state === 'planning') await plan(inputs, writer, options);
      const { images, signatures, blobs, pendingBytes: bytes, writtenBytes, size } = await writer.layOut();
      onEvent?.({ event: 'planned', images, signatures, blobs, bytes, resumedBytes: writtenBytes });
      await copyBlobs(inputs, writer, options);
      const platforms = writer.platforms();
      await writer.finish();
      return { path, size, images, platforms, blobs, sums: await sumsDigest(path) };
    } finally {
      await writer.close();
    }
  } catch (error) {
    throw (await inputs.explain?.(error)) ?? error;
  } finally {
    await inputs.close();
  }
}
