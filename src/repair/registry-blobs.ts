import type { BundleFile } from '../bundle/format/file.js';
import { isAirliftError } from '../errors.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { maxManifestSize } from '../oci/manifest.js';
import { formatRepository, type Repository } from '../oci/reference.js';
import type { Registry, RegistryOptions } from '../registry/registry.js';
import { fromAnyRepository } from '../transfer/other-repositories.js';
import { transferBlob } from '../transfer/transfer.js';

/** A place in a file that a blob is fetched to. */
export interface FetchPlace {
  readonly file: BundleFile;
  readonly position: number;
  /** Bytes of the blob that are there already. */
  readonly have: number;
}

export interface FetchBlobOptions {
  readonly registry?: RegistryOptions | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Fetches a blob by its digest from the first repository that has it. What kind of blob it is need not be known: it is first asked for as a
 * blob, then, if it is small enough, as a manifest.
 * @returns bytes received
 * @throws AirliftError as `transferBlob` does
 */
export async function fetchBlob(
  registry: Registry,
  [first, ...others]: readonly [Repository, ...Repository[]],
  { digest, size }: { readonly digest: Digest; readonly size: number },
  { file, position, have }: FetchPlace,
  { registry: { retries = 5, retryDelay } = {}, signal }: FetchBlobOptions,
): Promise<number> {
  const fetchAs = (repository: Repository, descriptor: Descriptor): Promise<number> =>
    transferBlob(
      registry,
      {
        write: (chunks, offset) => file.writevSync(chunks, position + offset),
        read: (length) => file.stream(position, length),
      },
      { repository, descriptor, have },
      { retries, retryDelay, signal, onProgress: () => undefined },
    );
  return fromAnyRepository(
    first,
    () => others,
    async (repository) => {
      try {
        return await fetchAs(repository, { mediaType: 'application/octet-stream', digest, size });
      } catch (error) {
        if (!isAirliftError(error, 'not-found') || size > maxManifestSize) throw error;
        const manifest = await registry.resolve({ ...repository, digest }, { signal }).catch(() => undefined);
        if (manifest === undefined) throw error;
        return await fetchAs(repository, { ...manifest, size });
      }
    },
  );
}

/** Returns each repository once. */
export function distinctRepositories(repositories: readonly Repository[]): Repository[] {
  const found = new Map<string, Repository>();
  for (const { registry, repository } of repositories)
    found.set(formatRepository({ registry, repository }), { registry, repository });
  return [...found.values()];
}

/** Returns the size of a manifest that one of the repositories has; undefined if none has it. */
export async function manifestSize(
  registry: Registry,
  repositories: readonly Repository[],
  digest: Digest,
  signal?: AbortSignal,
): Promise<number | undefined> {
  for (const repository of repositories) {
    try {
      return (await registry.resolve({ ...repository, digest }, { signal })).size;
    } catch (error) {
      if (!isAirliftError(error, 'not-found')) throw error;
    }
  }
  return undefined;
}
