import { availableParallelism } from 'node:os';
import { writerSink } from './bundle-sink.js';
import { BundleWriter, type PendingBlob } from './bundle/writer.js';
import { DownloadPool } from './download-pool.js';
import { AirliftError, fromPlainError, isAirliftError, toPlainError, type PlainError } from './errors.js';
import { digestOf } from './oci/digest.js';
import { formatPlatform, type Platform } from './oci/platform.js';
import { formatReference } from './oci/reference.js';
import { Planner, type PlanRequest } from './plan.js';
import type { OnEvent } from './progress.js';
import { Registry, type RegistryHooks, type RegistryOptions } from './registry/registry.js';
import { forEachOf } from './slots.js';

/** Manifests looked up at a time: enough to hide a slow network, few enough for a registry's limits. */
const planConcurrency = 8;

export interface ExportOptions {
  readonly images: readonly PlanRequest[];
  /** Path of the bundle. */
  readonly output: string;
  /** Platforms to carry; undefined carries all. */
  readonly platforms?: readonly Platform[] | undefined;
  readonly skipMissingPlatforms?: boolean | undefined;
  /** Carry signatures and other referrers. */
  readonly referrers?: boolean | undefined;
  readonly foreignLayers?: 'keep' | 'include' | undefined;
  /** The time written into the bundle (SOURCE_DATE_EPOCH for a reproducible one). */
  readonly created: Date;
  readonly registry: RegistryOptions;
  readonly hooks?: RegistryHooks | undefined;
  /** Transfers at a time; 8 unless told. */
  readonly concurrency?: number | undefined;
  /** Carry what can be carried when some images fail. */
  readonly keepGoing?: boolean | undefined;
  /** Replace a bundle that is already there. */
  readonly force?: boolean | undefined;
  readonly onEvent?: OnEvent | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface FailedImage {
  readonly image: string;
  readonly error: PlainError;
}

export interface ExportSummary {
  readonly path: string;
  /** Bytes of the finished bundle. */
  readonly size: number;
  readonly images: number;
  readonly platforms: readonly string[];
  readonly blobs: number;
  /** Bytes of blobs fetched in this run. */
  readonly fetchedBytes: number;
  /** Bytes that an interrupted run had left. */
  readonly resumedBytes: number;
  readonly failed: readonly FailedImage[];
}

function formatRequest({ reference, platforms, pinned }: PlanRequest): string {
  return [formatReference(reference), pinned ?? '', ...(platforms ?? []).map(formatPlatform).sort()].join(
    ' ',
  );
}

/** What was asked for, in a form that is the same for the same command, whatever the order of its images. */
function fingerprintOf(options: ExportOptions): string {
  const asked = {
    images: options.images.map(formatRequest).sort(),
    platforms: options.platforms?.map(formatPlatform).sort() ?? 'all',
    skipMissingPlatforms: options.skipMissingPlatforms ?? false,
    referrers: options.referrers ?? true,
    foreignLayers: options.foreignLayers ?? 'include',
  };
  const platforms = Array.isArray(asked.platforms) ? asked.platforms.join(', ') : 'all platforms';
  const digest = digestOf(Buffer.from(JSON.stringify(asked)));
  return `${options.images.length} images for ${platforms} (${digest.slice(0, 19)}…)`;
}

/** Resolves every image and writes the plan into the bundle's journal. */
async function planImages(writer: BundleWriter, options: ExportOptions): Promise<FailedImage[]> {
  const { images, onEvent, signal } = options;
  const registry = new Registry(options.registry, options.hooks);
  const planner = new Planner(registry, writerSink(writer), {
    platforms: options.platforms,
    skipMissingPlatforms: options.skipMissingPlatforms,
    referrers: options.referrers ?? true,
    foreignLayers: options.foreignLayers ?? 'include',
    warn: (message) => onEvent?.({ event: 'warning', message }),
    signal,
  });
  const failed: FailedImage[] = [];
  let position = 0;
  try {
    await forEachOf(images, planConcurrency, async (request) => {
      const name = formatReference(request.reference);
      try {
        signal?.throwIfAborted();
        for (const image of await planner.plan(request)) writer.addImage(image);
        onEvent?.({ event: 'resolved', image: name, position: ++position, images: images.length });
      } catch (error) {
        if (isAirliftError(error, 'interrupted') || signal?.aborted === true) throw error;
        failed.push({ image: name, error: toPlainError(error) });
        // Every image is looked up even so: all that is wrong with a list is told at once.
        const { message, hint } = toPlainError(error);
        onEvent?.({ event: 'image-failed', image: name, message, hint });
      }
    });
  } finally {
    await registry.close();
  }
  return failed;
}

/** One error for the images that failed: their own where it is one, a list where there are more. */
function failureOf(failed: readonly FailedImage[], images: number): AirliftError {
  const [first] = failed;
  if (first !== undefined && failed.length === 1) return fromPlainError(first.error);
  return new AirliftError(
    first?.error.code ?? 'input',
    `export: ${failed.length} of ${images} images failed, each is named above`,
    {
      hint: '--keep-going exports the others',
    },
  );
}

async function download(writer: BundleWriter, options: ExportOptions): Promise<number> {
  const { onEvent, signal } = options;
  const concurrency = options.concurrency ?? 8;
  const pool = new DownloadPool({
    path: writer.partialPath,
    registry: options.registry,
    retries: options.registry.retries ?? 5,
    isTraced: options.hooks?.trace !== undefined,
    workers: Math.min(2, availableParallelism(), concurrency),
    concurrency,
    hooks: options.hooks ?? {},
  });
  const abort = (): void => pool.abort();
  signal?.addEventListener('abort', abort);
  let fetched = 0;
  try {
    await forEachOf(writer.pending(), concurrency, async (blob: PendingBlob) => {
      signal?.throwIfAborted();
      const { descriptor, repository, position, have } = blob;
      const { digest, size } = descriptor;
      onEvent?.({ event: 'blob', digest, size, bytes: have });
      await pool.download({ repository, descriptor, have }, position, (bytes) => {
        writer.progress(digest, bytes);
        onEvent?.({ event: 'blob', digest, size, bytes });
      });
      writer.complete(digest);
      fetched += size - have;
      onEvent?.({ event: 'blob-done', digest, size, how: 'downloaded' });
    });
  } finally {
    signal?.removeEventListener('abort', abort);
    await pool.close();
  }
  return fetched;
}

/**
 * Exports images from registries into a bundle. Interrupted, it leaves what it has beside the output, and the same call goes
 * on from there.
 * @throws AirliftError what resolving, transferring and writing throw; nothing is left under the output's name then
 */
export async function exportImages(options: ExportOptions): Promise<ExportSummary> {
  const writer = await BundleWriter.open(options.output, {
    created: options.created,
    fingerprint: fingerprintOf(options),
    replace: options.force,
  });
  let failed: FailedImage[] = [];
  try {
    if (writer.state === 'planning') {
      failed = await planImages(writer, options);
      if (failed.length > 0 && (options.keepGoing !== true || failed.length === options.images.length)) {
        await writer.discard();
        throw failureOf(failed, options.images.length);
      }
    }
    const layout = await writer.layOut();
    options.onEvent?.({
      event: 'planned',
      images: layout.images,
      blobs: layout.blobs,
      bytes: layout.pendingBytes,
    });
    const fetchedBytes = await download(writer, options);
    const platforms = writer.platforms();
    await writer.finish();
    return {
      path: options.output,
      size: layout.size,
      images: layout.images,
      platforms,
      blobs: layout.blobs,
      fetchedBytes,
      resumedBytes: layout.pendingBytes - fetchedBytes,
      failed,
    };
  } finally {
    await writer.close();
  }
}
