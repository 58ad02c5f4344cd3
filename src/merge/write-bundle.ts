import type { Digest } from '../oci/digest.js';
import { BundleFile } from '../bundle/format/file.js';
import { sumsDigest } from '../bundle/format/sums.js';
import { listName } from '../bundle/format/volumes/list.js';
import { bytesOfVolume, checkFileSize, filesystemOf, type VolumeSize } from '../bundle/write/file-limit.js';
import { BundleWriter } from '../bundle/write/writer.js';
import { forEachOf } from '../concurrency.js';
import { AirliftError, checkInterrupted } from '../errors.js';
import { isForeignLayer } from '../oci/media-types.js';
import { formatRepository } from '../oci/reference.js';
import { type PlanSink, Planner } from '../plan/planner.js';
import type { OnEvent } from '../progress.js';
import { checkBundleKey, type BundleSigning } from '../signing/sign-content.js';
import { transferBlob } from '../transfer/transfer.js';
import type { Inputs } from './open-inputs.js';

/** How a bundle is written from bundles and archives. */
export interface WriteBundleOptions {
  /** The path of the bundle. */
  readonly output: string;
  /** Creation time recorded in the bundle; fractions of a second are dropped. Default: now. */
  readonly created?: Date | undefined;
  /** Replace an existing bundle. */
  readonly force?: boolean | undefined;
  readonly onEvent?: OnEvent | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What the caller knows about the content. */
export interface WrittenContent {
  /** Describes the content: the same inputs give the same text. */
  readonly fingerprint: string;
  readonly volumeSize?: VolumeSize | undefined;
  readonly sign?: BundleSigning | undefined;
  /** Rows of the catalog's `about`, which `fingerprint` covers. */
  readonly about?: Readonly<Record<string, string>> | undefined;
  /** Called with the complete plan; what it throws discards the plan. */
  readonly onPlan?: ((writer: BundleWriter) => void) | undefined;
  /** The most bytes of the bundle. */
  readonly maxSize?: number | undefined;
  /** Writes the pending blobs; default: copies them from the inputs. */
  readonly fill?: ((writer: BundleWriter) => Promise<void>) | undefined;
}

/** A bundle that was written from bundles and archives. */
export interface WrittenBundle {
  /** Path of the bundle; of volumes, that of their list. */
  readonly path: string;
  /** The size of the finished bundle in bytes. */
  readonly size: number;
  readonly images: number;
  readonly platforms: readonly string[];
  readonly blobs: number;
  /** Layers that are left out, if the bundle is a delta. */
  readonly leftOut: { readonly blobs: number; readonly bytes: number };
  /** The digest of the bundle's `SHA256SUMS`. */
  readonly sums: Digest;
}

/** Blobs copied at a time: enough to keep a disk busy. */
const copyConcurrency = 2;

async function plan(
  inputs: Inputs,
  writer: BundleWriter,
  content: WrittenContent,
  signal: AbortSignal | undefined,
): Promise<void> {
  const sink: PlanSink = {
    has: (digest) => writer.has(digest),
    addBlob: (node) => {
      const { digest, mediaType } = node.descriptor;
      if (isForeignLayer(mediaType) && !inputs.hasForeign(digest)) writer.leaveOut(node);
      else writer.addBlob(node);
    },
    addManifest: (node) => writer.addManifest(node),
  };
  const planner = new Planner(inputs.source, sink, { referrers: true, signal });
  for (const image of inputs.images) {
    checkInterrupted(signal, 'write bundle');
    await planner.planImage(image);
    writer.addImage(image, { companionOf: image.companionOf });
  }
  try {
    content.onPlan?.(writer);
  } catch (error) {
    await writer.discardPlan();
    throw error;
  }
}

async function copyBlobs(
  { source }: Inputs,
  writer: BundleWriter,
  { onEvent, signal }: WriteBundleOptions,
): Promise<void> {
  const file = await BundleFile.open(writer.partial, 'r+');
  try {
    await forEachOf(
      writer.pending(),
      writer.isInOrder ? 1 : copyConcurrency,
      async ({ position, ...task }) => {
        const { digest, size } = task.descriptor;
        const repository = formatRepository(task.repository);
        const place = {
          write: (chunks: readonly Uint8Array[], offset: number) =>
            file.writevSync(chunks, position + offset),
          read: (length: number) => file.stream(position, length),
        };
        const onProgress = (bytes: number, soFar: () => Uint8Array): void => {
          writer.progress(digest, bytes, soFar());
          onEvent?.({ event: 'blob', digest, size, bytes, repository });
        };
        onEvent?.({ event: 'blob', digest, size, bytes: task.have, repository });
        await transferBlob(source, place, task, { retries: 0, signal, onProgress });
        writer.complete(digest);
        onEvent?.({ event: 'blob-done', digest, size, how: 'copied' });
      },
    );
  } finally {
    await file.close();
  }
}

/**
 * Writes all images of opened inputs to a bundle. After an interruption the partial bundle stays beside the output, and the same call
 * resumes it.
 * @throws AirliftError what reading the inputs and writing throw, and what `onPlan` throws; the output does not exist then
 */
export async function writeBundle(
  inputs: Inputs,
  content: WrittenContent,
  options: WriteBundleOptions,
): Promise<WrittenBundle> {
  const { output, created = new Date(), force: replace, onEvent, signal } = options;
  const { sign } = content;
  if (sign !== undefined) checkBundleKey(sign.key);
  const volumeSize = content.volumeSize === undefined ? undefined : bytesOfVolume(content.volumeSize);
  if (volumeSize !== undefined) checkFileSize(output, volumeSize, await filesystemOf(output), true);
  const fingerprint = `${content.fingerprint}${sign === undefined ? '' : `, signed by key ${sign.key.id}`}`;
  try {
    const writer = await BundleWriter.open(output, {
      created,
      fingerprint,
      volumeSize,
      replace,
      signing: sign,
      about: content.about,
      signal,
    });
    try {
      if (writer.state === 'planning') await plan(inputs, writer, content, signal);
      const { images, signatures, blobs, pendingBytes: bytes, writtenBytes, size } = await writer.layOut();
      onEvent?.({ event: 'planned', images, signatures, blobs, bytes, resumedBytes: writtenBytes });
      if (size > (content.maxSize ?? size))
        throw new AirliftError(
          'no-space',
          `write ${output}: larger than ${content.maxSize} bytes; got ${size} bytes`,
        );
      await (content.fill?.(writer) ?? copyBlobs(inputs, writer, options));
      const [platforms, leftOut] = [writer.platforms(), writer.base.totals()];
      await writer.finish();
      const path = volumeSize === undefined ? output : listName(output);
      return { path, size, images, platforms, blobs, leftOut, sums: await sumsDigest(path) };
    } finally {
      await writer.close();
    }
  } catch (error) {
    throw (await inputs.explain?.(error)) ?? error;
  }
}
