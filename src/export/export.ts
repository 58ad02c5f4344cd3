import { trustedRootName } from '../bundle/format/format.js';
import { ioError } from '../bundle/format/io-error.js';
import { sumsDigest } from '../bundle/format/sums.js';
import { listName } from '../bundle/format/volumes/list.js';
import { bytesOfVolume, checkFileSize, filesystemOf, type VolumeSize } from '../bundle/write/file-limit.js';
import type { DeltaBase } from '../bundle/format/delta.js';
import { BundleReader } from '../bundle/reader.js';
import { BundleWriter } from '../bundle/write/writer.js';
import { AirliftError, fromPlainError, isAirliftError } from '../errors.js';
import type { FailedImage } from '../failed-images.js';
import { replaceFile } from '../io/replace-file.js';
import { formatLock } from '../lists/lock.js';
import { digestOf, type Digest } from '../oci/digest.js';
import { formatPlatform, type Platform } from '../oci/platform.js';
import { formatReference } from '../oci/reference.js';
import { isOutage } from '../plan/outages.js';
import type { PlanRequest } from '../plan/planner.js';
import { writeParts, type PartsOptions, type WrittenParts } from '../parts/write-parts.js';
import type { OnEvent } from '../progress.js';
import { Registry, type RegistryHooks, type RegistryOptions } from '../registry/registry.js';
import { checkImageKey } from '../signing/image-signature.js';
import type { SecretKey } from '../signing/secret-key.js';
import { checkBundleKey, type BundleSigning } from '../signing/sign-content.js';
import { readTrustedRoot } from '../policy/trusted-root.js';
import { closeBases, type Base } from '../receipts/open-base.js';
import { recordSent } from '../receipts/sent.js';
import { applyBases, deltaPlanOf, fingerprintOfBase, openAllBases, type BasePaths } from './apply-bases.js';
import { downloadBlobs, type Downloaded, type DownloadOptions } from './download.js';
import { lockedImages } from './plan-book.js';
import { planBundle, planOptionsOf, reportFailed } from './plan-images.js';
import { planFailedImages } from './retry-failed.js';

export type { FailedImage } from '../failed-images.js';

export interface ExportOptions extends BasePaths {
  readonly images: readonly PlanRequest[];
  /** Path of the bundle. */
  readonly output: string;
  /** Platforms to include; default: all. */
  readonly platforms?: readonly Platform[] | undefined;
  readonly skipMissingPlatforms?: boolean | undefined;
  /** Include signatures and other referrers; default: true. */
  readonly referrers?: boolean | undefined;
  readonly foreignLayers?: 'keep' | 'include' | undefined;
  /** Creation time recorded in the bundle; fractions of a second are dropped. Default: now. */
  readonly created?: Date | undefined;
  /** Signs the bundle, in the bundle itself. */
  readonly sign?: BundleSigning | undefined;
  /**
   * An ECDSA key with curve P-256 that signs each image whose index is filtered, as cosign does: the signature travels under cosign's tag and
   * names the publisher's index.
   */
  readonly signImages?: SecretKey | undefined;
  /** Path of a trusted root of sigstore that the bundle carries, for checks of keyless signatures at the site. */
  readonly trustedRoot?: string | undefined;
  /** How to reach registries; default: the system's certificates, no credentials, no proxy. */
  readonly registry?: RegistryOptions | undefined;
  readonly hooks?: RegistryHooks | undefined;
  /** Concurrent downloads; default: 8. */
  readonly concurrency?: number | undefined;
  /** Export the other images if some fail. */
  readonly keepGoing?: boolean | undefined;
  /**
   * Write volumes of this many bytes, or `fat32` for the largest that fit FAT32: `output` with `.001`, `.002`, … and the list of them,
   * `.volumes`. Default: one file.
   */
  readonly volumeSize?: VolumeSize | undefined;
  /** Resolve all images again even if an interrupted run has pinned them; downloaded blobs that are still needed are kept. */
  readonly refresh?: boolean | undefined;
  /** Path of a file to write the resolved images to; as a list of images it exports the same content again. */
  readonly lock?: string | undefined;
  readonly onEvent?: OnEvent | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** An export whose trusted root has been read. */
interface PlannedExport extends ExportOptions {
  readonly rootText?: string | undefined;
}

export interface ExportSummary {
  readonly path: string;
  /** Bytes of the finished bundle. */
  readonly size: number;
  readonly images: number;
  readonly platforms: readonly string[];
  readonly blobs: number;
  /** Bytes downloaded in this run. */
  readonly fetchedBytes: number;
  /** Layers that are left out because a base has them. */
  readonly leftOut: { readonly blobs: number; readonly bytes: number };
  /** Bytes taken over from an interrupted run. */
  readonly resumedBytes: number;
  readonly failed: readonly FailedImage[];
  /** Digest of the bundle's `SHA256SUMS`. The recipient of the bundle compares it with the output of `verify`. */
  readonly sums: Digest;
}

function formatRequest({ reference, platforms, pinned, referrers }: PlanRequest): string {
  const parts = [formatReference(reference), pinned ?? '', ...(platforms ?? []).map(formatPlatform).sort()];
  return (referrers === undefined ? parts : [...parts, 'with', ...[...referrers].sort()]).join(' ');
}

/** Describes the requested content: the same command gives the same text, whatever the order of its images. */
function fingerprintOf(options: PlannedExport, bases: readonly Pick<DeltaBase, 'kind' | 'digest'>[]): string {
  const { rootText } = options;
  const requested = {
    images: options.images.map(formatRequest).sort(),
    platforms: options.platforms?.map(formatPlatform).sort() ?? 'all',
    skipMissingPlatforms: options.skipMissingPlatforms ?? false,
    referrers: options.referrers ?? true,
    foreignLayers: options.foreignLayers ?? 'include',
    ...(rootText !== undefined && { rootText }),
    ...(options.signImages !== undefined && { signImages: options.signImages.id }),
    ...(bases.length > 0 && { bases: bases.map(fingerprintOfBase).sort() }),
  };
  const platforms = Array.isArray(requested.platforms) ? requested.platforms.join(', ') : 'all platforms';
  const digest = digestOf(Buffer.from(JSON.stringify(requested)));
  const signed = options.sign === undefined ? '' : `, signed by key ${options.sign.key.id}`;
  return `${options.images.length} images for ${platforms} (${digest.slice(0, 19)}…)${signed}`;
}

const resumeHint = 'run the same command again to resume';

/** Adds the hint to run the command again to interruptions and transient errors. */
function withResumeHint(error: unknown, options: ExportOptions): unknown {
  if (options.signal?.aborted === true || isAirliftError(error, 'interrupted'))
    return new AirliftError('interrupted', `export to ${options.output}: interrupted`, {
      cause: error,
      hint: resumeHint,
    });
  if (!isOutage(error) || error.hint !== undefined) return error;
  return new AirliftError(error.code, error.message, {
    hint: resumeHint,
    cause: error.cause,
    status: error.status,
  });
}

/** Plans all images, or retries the failed images of an interrupted run whose plan holds. */
async function plan(
  writer: BundleWriter,
  registry: Registry,
  options: ExportOptions,
  bases: readonly Base[],
): Promise<void> {
  const planOptions = planOptionsOf(options);
  if (writer.state === 'planning') await planBundle(writer, registry, planOptions);
  else await planFailedImages(writer, registry, planOptions);
  const { warn = () => undefined, signal } = planOptions;
  if (writer.state === 'planning' && bases.length > 0)
    await applyBases(deltaPlanOf(writer), registry, bases, { warn, signal });
}

/**
 * Writes the lock, completely or not at all: the list of an export is often the lock that it replaces.
 * @throws AirliftError `no-space`, `io`
 */
async function writeLock(writer: BundleWriter, { lock }: ExportOptions): Promise<void> {
  if (lock === undefined) return;
  try {
    await replaceFile(lock, `${lock}.new`, formatLock(lockedImages(writer)));
  } catch (cause) {
    throw ioError(`write lock ${lock}`, cause);
  }
}

/** Returns the error of an export in which every image of the list has lost a blob. */
function lossOf(lost: Downloaded['lost'], images: number): AirliftError {
  const [first] = lost;
  if (first !== undefined && images === 1) return fromPlainError(first.error);
  return new AirliftError(
    first?.error.code ?? 'not-found',
    'export: nothing left to export: every image has a blob that failed to download',
    { lines: [...new Set(lost.map(({ error }) => `failed: ${error.message}`))] },
  );
}

function downloadOptions(source: Registry, options: ExportOptions, keepGoing: boolean): DownloadOptions {
  const { registry = {}, hooks = {}, concurrency = 8, onEvent, signal } = options;
  return { source, registry, hooks, concurrency, keepGoing, onEvent, signal };
}

/** Lays the bundle out and downloads all blobs. With `keepGoing`, images that lose a blob are removed and the rest is laid out again. */
async function fill(
  writer: BundleWriter,
  registry: Registry,
  options: ExportOptions,
): Promise<Omit<Downloaded, 'lost'>> {
  const { onEvent } = options;
  const download = downloadOptions(registry, options, options.keepGoing ?? false);
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
    const downloaded = await downloadBlobs(writer, download);
    fetched += downloaded.fetched;
    resumed += downloaded.resumed;
    if (downloaded.lost.length === 0) return { fetched, resumed };
    const dropped = new Set(writer.dropImages(downloaded.lost));
    if (dropped.size === 0) throw lossOf(downloaded.lost, options.images.length);
    await writeLock(writer, options);
    for (const failure of writer.failures()) if (dropped.has(failure.image)) reportFailed(failure, onEvent);
  }
}

/**
 * Gives the bundle its name, and adds it to the record of what was sent. If the process ends in between, the next run of the same command adds
 * it, also if the record is written already and so differs from the one that the bundle was planned with.
 */
async function finish(
  writer: BundleWriter,
  path: string,
  options: PlannedExport,
  bases: readonly Base[],
): Promise<void> {
  const { sent } = options;
  if (sent === undefined) return await writer.finish();
  const nextBases = (record: DeltaBase): DeltaBase[] => {
    const isRecord = ({ path: file }: Base): boolean => file === sent.path;
    const next = bases.map((one) => (isRecord(one) ? record : one.base));
    return bases.some(isRecord) ? next : [...next, record];
  };
  await writer.finish(() =>
    recordSent(path, sent, (record) => writer.acceptFingerprint(fingerprintOf(options, nextBases(record)))),
  );
}

/** An export whose images are planned. */
interface Planned {
  readonly writer: BundleWriter;
  readonly registry: Registry;
  readonly bases: readonly Base[];
}

/** Plans the images of an export, and passes the plan to `use`. */
async function withPlan<T>(
  options: PlannedExport,
  path: string,
  use: (planned: Planned) => Promise<T>,
): Promise<T> {
  let writer: BundleWriter | undefined;
  let registry: Registry | undefined;
  let bases: readonly Base[] = [];
  try {
    bases = await openAllBases(options);
    writer = await BundleWriter.open(path, {
      volumeSize: options.volumeSize === undefined ? undefined : bytesOfVolume(options.volumeSize),
      created: options.created ?? new Date(),
      fingerprint: fingerprintOf(
        options,
        bases.map(({ base }) => base),
      ),
      replace: options.force,
      refresh: options.refresh ?? false,
      signing: options.sign,
      about: options.rootText === undefined ? undefined : { [trustedRootName]: options.rootText },
      signal: options.signal,
    });
    registry = new Registry(options.registry, options.hooks);
    await plan(writer, registry, options, bases);
    await writeLock(writer, options);
    return await use({ writer, registry, bases });
  } catch (error) {
    throw withResumeHint(error, options);
  } finally {
    await registry?.close();
    await writer?.close();
    await closeBases(bases);
  }
}

/** Returns the images that failed, in this run or in the interrupted run that planned the bundle. */
function failedOf(writer: BundleWriter): FailedImage[] {
  return writer.failures().map(({ image, error }) => ({ image, error }));
}

/**
 * Exports images from registries into a bundle. If it is interrupted, it leaves its work beside the output, and the same call resumes
 * with the same plan.
 * @throws AirliftError as resolving, downloading and writing do; then the output's name is not taken
 */
export async function exportBundle(options: ExportOptions): Promise<ExportSummary> {
  const { output, volumeSize, sign, signImages, trustedRoot } = options;
  if (sign !== undefined) checkBundleKey(sign.key);
  if (signImages !== undefined) checkImageKey(signImages);
  const rootText = trustedRoot === undefined ? undefined : await readTrustedRoot(trustedRoot);
  const planned = { ...options, rootText };
  if (volumeSize !== undefined)
    checkFileSize(output, bytesOfVolume(volumeSize), await filesystemOf(output), true);
  return withPlan(planned, output, async ({ writer, registry, bases }) => {
    const { fetched, resumed } = await fill(writer, registry, options);
    const { size = 0, images = 0, blobs = 0 } = writer.summary ?? {};
    const summary = {
      path: volumeSize === undefined ? output : listName(output),
      size,
      images,
      platforms: writer.platforms(),
      blobs,
      fetchedBytes: fetched,
      leftOut: writer.base.totals(),
      resumedBytes: resumed,
      failed: failedOf(writer),
    };
    await finish(writer, summary.path, planned, bases);
    return { ...summary, sums: await sumsDigest(summary.path) };
  });
}

export interface ExportPartsOptions
  extends Omit<ExportOptions, 'volumeSize' | 'sent' | 'signImages'>, PartsOptions {}

export interface ExportPartsSummary extends WrittenParts {
  readonly platforms: readonly string[];
  /** Bytes downloaded in this run. */
  readonly fetchedBytes: number;
  readonly failed: readonly FailedImage[];
}

/**
 * Exports images from registries into parts: bundles of a limited size, each with some of the images. They are the parts that dividing the
 * bundle of the same export gives. The plan lies beside the parts until all are complete; after an interruption the same call resumes.
 * @throws AirliftError as `exportBundle` and `writeParts`; `usage` on filesystems without sparse files, where the plan would fill the disk
 */
export async function exportParts(options: ExportPartsOptions): Promise<ExportPartsSummary> {
  const { output, sign, partSize, wholeParts, force, onEvent, signal } = options;
  if (sign !== undefined) checkBundleKey(sign.key);
  const filesystem = await filesystemOf(output);
  if (filesystem !== undefined)
    throw new AirliftError(
      'usage',
      `export to ${output}: ${filesystem.name} has no sparse files, which parts need`,
      {
        hint: 'export to a disk, and copy the parts',
      },
    );
  if (options.trustedRoot !== undefined)
    throw new AirliftError('usage', `export to ${output}: parts do not carry a trusted root`, {
      hint: 'omit `trustedRoot`, and bring the file beside the parts',
    });
  // The plan is a bundle without its layers, which never gets its name.
  const planned = { ...options, sign: undefined };
  return withPlan(planned, `${output.replace(/\.tar$/, '')}.parts`, async ({ writer, registry }) => {
    await writer.layOut();
    let fetchedBytes = 0;
    const reader = await BundleReader.open(writer.partialPath);
    let written: WrittenParts;
    try {
      written = await writeParts(reader, {
        partSize,
        wholeParts,
        output,
        sign,
        force,
        fill: async (part) => {
          const { fetched } = await downloadBlobs(part, downloadOptions(registry, options, false));
          fetchedBytes += fetched;
        },
        onEvent,
        signal,
      });
    } finally {
      await reader.close();
    }
    const [platforms, failed] = [writer.platforms(), failedOf(writer)];
    await writer.discard();
    return { ...written, platforms, fetchedBytes, failed };
  });
}
