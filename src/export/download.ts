/** The second half of an export: the blobs of a laid-out bundle are fetched. */
import { availableParallelism } from 'node:os';
import type { BundleWriter, LostBlob, PendingBlob } from '../bundle/write/writer.js';
import { DownloadPool } from './download-pool.js';
import { checkInterrupted, isAirliftError, toPlainError, type AirliftError } from '../errors.js';
import { formatRepository, parseReference, type Repository } from '../oci/reference.js';
import { isOutage, Outages } from '../plan/outages.js';
import type { OnEvent } from '../progress.js';
import type { RegistryHooks, RegistryOptions } from '../registry/registry.js';
import { forEachOf } from '../concurrency.js';

export interface DownloadOptions {
  readonly registry: RegistryOptions;
  readonly hooks: RegistryHooks;
  readonly concurrency: number;
  /** Fetch what can be fetched where some blobs can't. */
  readonly keepGoing: boolean;
  readonly onEvent?: OnEvent | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What became of the blobs that were to be fetched. */
export interface Downloaded {
  /** Bytes that came over the network. */
  readonly fetched: number;
  /** Bytes that an interrupted run had left and that were right. */
  readonly resumed: number;
  readonly lost: readonly LostBlob[];
}

/**
 * Fetches every blob that is pending.
 * @throws AirliftError what `transferBlob` throws at the first blob that fails; with `keepGoing` only in the end, and only where
 *   a failure may pass; `no-space`, `io`, `interrupted`
 */
export async function downloadBlobs(writer: BundleWriter, options: DownloadOptions): Promise<Downloaded> {
  const { registry, hooks, concurrency, onEvent, signal } = options;
  const pool = new DownloadPool({
    path: writer.partialPath,
    registry,
    retries: registry.retries ?? 5,
    isTraced: hooks.trace !== undefined,
    workers: Math.max(1, Math.min(2, availableParallelism(), concurrency)),
    concurrency,
    hooks,
  });
  const abort = (): void => pool.abort();
  signal?.addEventListener('abort', abort);
  const lost: LostBlob[] = [];
  const outages = new Outages();
  let outage: AirliftError | undefined;
  let fetched = 0;
  let resumed = 0;
  const fetchFrom = async (blob: PendingBlob): Promise<void> => {
    checkInterrupted(signal, 'download');
    const { position, ...task } = blob;
    const { digest, size } = blob.descriptor;
    const repository = formatRepository(blob.repository);
    onEvent?.({ event: 'blob', digest, size, bytes: blob.have, repository });
    const received = await pool.download(task, position, (bytes, checkpoint) => {
      writer.progress(digest, bytes, checkpoint);
      onEvent?.({ event: 'blob', digest, size, bytes, repository });
    });
    writer.complete(digest);
    fetched += received;
    resumed += Math.max(0, size - received);
    onEvent?.({ event: 'blob-done', digest, size, how: 'downloaded' });
  };
  const attempt = async (blob: PendingBlob): Promise<void> => {
    const { registry } = blob.repository;
    outages.check(registry);
    try {
      await fetchFrom(blob);
      outages.succeeded(registry);
    } catch (error) {
      if (isAirliftError(error) && isOutage(error)) outages.failed(registry, error);
      throw error;
    }
  };
  try {
    await forEachOf(writer.pending(), concurrency, async (blob) => {
      const { descriptor, repository } = blob;
      try {
        await fetchAnywhere(writer, blob, attempt);
      } catch (error) {
        if (options.keepGoing && isLoss(error)) {
          lost.push({ repository, descriptor, error: toPlainError(error) });
        } else if (options.keepGoing && isAirliftError(error) && isOutage(error)) {
          outage ??= error;
        } else {
          // The others end where they are, and note it.
          pool.abort();
          throw error;
        }
      }
    });
  } finally {
    signal?.removeEventListener('abort', abort);
    await pool.close();
  }
  if (outage !== undefined) throw outage;
  return { fetched, resumed, lost };
}

/**
 * Fetches a blob from its repository, else from the repositories of the other images that share it.
 * @throws AirliftError what the first repository answered, where none gives it
 */
async function fetchAnywhere(
  writer: BundleWriter,
  blob: PendingBlob,
  attempt: (blob: PendingBlob) => Promise<void>,
): Promise<void> {
  try {
    await attempt(blob);
  } catch (error) {
    if (!isLoss(error) && !isOutage(error)) throw error;
    const others = new Map(
      writer.imagesOf(blob.descriptor.digest).map((image) => {
        const { registry, repository } = parseReference(image);
        return [formatRepository({ registry, repository }), { registry, repository }];
      }),
    );
    others.delete(formatRepository(blob.repository));
    const { registry } = blob.repository;
    // A registry that is down is down for all of its repositories.
    const isAsked = (other: Repository): boolean => isLoss(error) || other.registry !== registry;
    for (const repository of [...others.values()].filter(isAsked).slice(0, mostRepositories)) {
      try {
        await attempt({ ...blob, repository });
        return;
      } catch (other) {
        if (!isLoss(other) && !isOutage(other)) throw other;
      }
    }
    throw error;
  }
}

/** How many other repositories are asked for a blob: enough for a few that lost it, too few to wait for hundreds. */
const mostRepositories = 4;

/** Statuses of a registry, or of what stands before it, that is down for a while. */
const down: ReadonlySet<number> = new Set([502, 503, 504]);

/** Whether a blob can't be had from its registry, however often it is asked for. */
function isLoss(error: unknown): error is AirliftError {
  if (isAirliftError(error, 'registry')) return !down.has(error.status ?? 0);
  return isAirliftError(error, 'not-found', 'unauthorized', 'denied', 'digest-mismatch', 'size-mismatch');
}
