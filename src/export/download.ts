/** The second half of an export: downloads the blobs of a laid-out bundle. */
import { availableParallelism } from 'node:os';
import type { BundleWriter, LostBlob, PendingBlob } from '../bundle/write/writer.js';
import { forEachOf } from '../concurrency.js';
import { fromAnyRepository } from '../transfer/other-repositories.js';
import { checkInterrupted, toPlainError, type AirliftError } from '../errors.js';
import { formatRepository, parseReference } from '../oci/reference.js';
import { isLoss, isOutage, Outages } from '../plan/outages.js';
import type { OnEvent } from '../progress.js';
import type { Registry, RegistryHooks, RegistryOptions } from '../registry/registry.js';
import { DownloadPool } from './download-pool.js';

export interface DownloadOptions {
  /** The registries that the images were planned with: their connections and tokens serve the first downloads. */
  readonly source: Registry;
  /** Options and hooks of `source`, for a worker thread. */
  readonly registry: RegistryOptions;
  readonly hooks: RegistryHooks;
  readonly concurrency: number;
  /** Download the other blobs if some fail. */
  readonly keepGoing: boolean;
  readonly onEvent?: OnEvent | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The result of downloading the pending blobs. */
export interface Downloaded {
  /** Bytes received over the network. */
  readonly fetched: number;
  /** Bytes of an interrupted run that proved right. */
  readonly resumed: number;
  readonly lost: readonly LostBlob[];
}

/**
 * Downloads every pending blob.
 * @throws AirliftError as `transferBlob` does, at the first blob that fails; with `keepGoing` only at the end, and only for a failure that
 *   may pass; `no-space`, `io`, `interrupted`
 */
export async function downloadBlobs(writer: BundleWriter, options: DownloadOptions): Promise<Downloaded> {
  const { source, registry, hooks, onEvent, signal } = options;
  const concurrency = writer.isInOrder ? 1 : options.concurrency;
  const pool = new DownloadPool({
    place: writer.partial,
    source,
    registry,
    retries: registry.retries ?? 5,
    threads: Math.max(1, Math.min(2, availableParallelism(), concurrency)),
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
  const download = async (blob: PendingBlob): Promise<void> => {
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
      await download(blob);
      outages.succeeded(registry);
    } catch (error) {
      if (isOutage(error)) outages.failed(registry, error);
      throw error;
    }
  };
  try {
    await forEachOf(writer.pending(), concurrency, async (blob) => {
      const { descriptor, repository } = blob;
      try {
        await fromAnyRepository(
          repository,
          () => writer.imagesWith(descriptor.digest).map(parseReference),
          (other) => attempt({ ...blob, repository: other }),
        );
      } catch (error) {
        if (options.keepGoing && isLoss(error)) {
          lost.push({ repository, descriptor, error: toPlainError(error) });
        } else if (options.keepGoing && isOutage(error)) {
          outage ??= error;
        } else {
          // The other downloads stop and report how far they got.
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
