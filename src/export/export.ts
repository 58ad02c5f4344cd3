import { sumsDigest } from '../bundle/format/sums-digest.js';
import { BundleWriter } from '../bundle/write/writer.js';
import { AirliftError, fromPlainError, isAirliftError } from '../errors.js';
import { downloadBlobs, type Downloaded } from './download.js';
import { planFailedImages } from './retry-failed.js';
import { lockedImages, WriterBook } from './plan-book.js';
import { writeLock } from './write-lock.js';
import { planImages, planOptionsOf, tellFailed } from './plan-images.js';
import type { FailedImage } from '../failed-images.js';
import { formatLock } from '../lists/lock.js';
import { digestOf, type Digest } from '../oci/digest.js';
import { formatPlatform, type Platform } from '../oci/platform.js';
import { formatReference } from '../oci/reference.js';
import { isOutage } from '../plan/outages.js';
import type { PlanRequest } from '../plan/planner.js';
import type { OnEvent } from '../progress.js';
import { Registry, type RegistryHooks, type RegistryOptions } from '../registry/registry.js';

export type { FailedImage } from '../failed-images.js';

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
  /** Look all images up anew where an interrupted run has pinned them; what it fetched and is still wanted is kept. */
  readonly refresh?: boolean | undefined;
  /** File that gets what was looked up: as a list of images it takes the same again. */
  readonly lock?: string | undefined;
  readonly onEvent?: OnEvent | undefined;
  readonly signal?: AbortSignal | undefined;
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
  /** The digest of the bundle's `SHA256SUMS`: whoever gets the bundle compares it with what `verify` prints. */
  readonly sums: Digest;
}

function formatRequest({ reference, platforms, pinned, referrers }: PlanRequest): string {
  const parts = [formatReference(reference), pinned ?? '', ...(platforms ?? []).map(formatPlatform).sort()];
  return (referrers === undefined ? parts : [...parts, 'with', ...[...referrers].sort()]).join(' ');
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

const goOnHint = 'run the same command again: it goes on where it was';

/** The error as it is told: what was stopped, or may pass, can be gone on with. */
function explained(error: unknown, options: ExportOptions): unknown {
  if (options.signal?.aborted === true || isAirliftError(error, 'interrupted'))
    return new AirliftError('interrupted', `export to ${options.output}: interrupted`, {
      cause: error,
      hint: goOnHint,
    });
  if (!isOutage(error) || !isAirliftError(error) || error.hint !== undefined) return error;
  return new AirliftError(error.code, error.message, {
    hint: goOnHint,
    cause: error.cause,
    status: error.status,
  });
}

/** Plans all images, or what failed of them in an interrupted run whose plan holds. */
async function plan(writer: BundleWriter, options: ExportOptions): Promise<void> {
  const registry = new Registry(options.registry, options.hooks);
  const planOptions = planOptionsOf(options);
  try {
    if (writer.state === 'planning') await planImages(new WriterBook(writer), registry, planOptions);
    else await planFailedImages(writer, registry, planOptions);
  } finally {
    await registry.close();
  }
}

async function saveLock(writer: BundleWriter, { lock }: ExportOptions): Promise<void> {
  if (lock !== undefined) await writeLock(lock, formatLock(lockedImages(writer)));
}

/** The error where every image that was asked for has lost a blob. */
function lossOf(lost: Downloaded['lost'], images: number): AirliftError {
  const [first] = lost;
  if (first !== undefined && images === 1) return fromPlainError(first.error);
  return new AirliftError(
    first?.error.code ?? 'not-found',
    'export: nothing left to export: every image has a blob that failed to download',
    { lines: [...new Set(lost.map(({ error }) => `failed: ${error.message}`))] },
  );
}

/** Lays the bundle out and fetches all blobs. Images whose blobs can't be had leave it where that was asked for. */
async function fill(writer: BundleWriter, options: ExportOptions): Promise<Omit<Downloaded, 'lost'>> {
  const { onEvent } = options;
  let fetched = 0;
  let resumed = 0;
  for (;;) {
    const { images, signatures, pendingBlobs, pendingBytes, writtenBytes } = await writer.layOut();
    onEvent?.({
      event: 'planned',
      images,
      signatures,
      blobs: pendingBlobs,
      bytes: pendingBytes,
      resumedBytes: writtenBytes,
    });
    const downloaded = await downloadBlobs(writer, {
      registry: options.registry,
      hooks: options.hooks ?? {},
      concurrency: options.concurrency ?? 8,
      keepGoing: options.keepGoing ?? false,
      onEvent,
      signal: options.signal,
    });
    fetched += downloaded.fetched;
    resumed += downloaded.resumed;
    if (downloaded.lost.length === 0) return { fetched, resumed };
    const dropped = new Set(writer.dropImages(downloaded.lost));
    if (dropped.size === 0) throw lossOf(downloaded.lost, options.images.length);
    await saveLock(writer, options);
    for (const failure of writer.failures()) if (dropped.has(failure.image)) tellFailed(failure, onEvent);
  }
}

/**
 * Exports images from registries into a bundle. Interrupted, it leaves what it has beside the output, and the same call goes
 * on from there, with the same plan.
 * @throws AirliftError what resolving, transferring and writing throw; nothing is left under the output's name then
 */
export async function exportImages(options: ExportOptions): Promise<ExportSummary> {
  let writer: BundleWriter | undefined;
  try {
    writer = await BundleWriter.open(options.output, {
      created: options.created,
      fingerprint: fingerprintOf(options),
      replace: options.force,
      refresh: options.refresh ?? false,
      signal: options.signal,
    });
    await plan(writer, options);
    await saveLock(writer, options);
    const { fetched, resumed } = await fill(writer, options);
    const { size = 0, images = 0, blobs = 0 } = writer.summary ?? {};
    const summary = {
      path: options.output,
      size,
      images,
      platforms: writer.platforms(),
      blobs,
      fetchedBytes: fetched,
      resumedBytes: resumed,
      failed: writer.failures().map(({ image, error }) => ({ image, error })),
    };
    await writer.finish();
    return { ...summary, sums: await sumsDigest(options.output) };
  } catch (error) {
    throw explained(error, options);
  } finally {
    await writer?.close();
  }
}
