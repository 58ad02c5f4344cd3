import { rename } from 'node:fs/promises';
import { basename } from 'node:path';
import { BundleFile } from '../bundle/format/file.js';
import { ioError } from '../bundle/format/io-error.js';
import { checkDiskSpace } from '../bundle/write/disk-space.js';
import { refuseExisting, syncDirectory } from '../bundle/write/output-name.js';
import { AirliftError, checkInterrupted, toPlainError, type PlainError } from '../errors.js';
import type { Digest } from '../oci/digest.js';
import { blobPath } from '../oci/image-layout.js';
import { formatReference, type Reference, type Repository } from '../oci/reference.js';
import { isLoss, isOutage } from '../plan/outages.js';
import type { OnEvent } from '../progress.js';
import { Registry, type RegistryHooks, type RegistryOptions } from '../registry/registry.js';
import { Request, type RequestedBlob } from '../request/request.js';
import { encodeHeader } from '../tar/header.js';
import { distinctRepositories, fetchBlob, manifestSize } from './registry-blobs.js';
import { copyBytes, repairNames, RepairFileWriter } from './repair-file.js';
import { FileSource, isWhole, openSources } from './sources.js';

export interface ExportRequestedOptions {
  /** Path of the request. */
  readonly request: string;
  /** Path of the repair file. */
  readonly output: string;
  /** Bundles to look for the content in before registries are asked. */
  readonly from?: readonly string[] | undefined;
  /** Further repositories to ask for blobs. */
  readonly repositories?: readonly Repository[] | undefined;
  readonly registry?: RegistryOptions | undefined;
  readonly hooks?: RegistryHooks | undefined;
  /** Replace an existing file. */
  readonly force?: boolean | undefined;
  readonly onEvent?: OnEvent | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A blob that no source has any more. */
export interface UnavailableBlob {
  readonly digest: Digest;
  readonly size: number | undefined;
  readonly images: readonly string[];
  readonly error: PlainError;
}

export interface ExportRequestedSummary {
  readonly path: string;
  /** Name of the damaged bundle, as the request states it. */
  readonly bundle: string;
  /** Bytes of the file. */
  readonly size: number;
  /** Blobs that the file carries, and their bytes. */
  readonly blobs: number;
  readonly blobBytes: number;
  /** Whether the request asks for the head of the bundle, and whether the file carries it. */
  readonly head: 'carried' | 'unavailable' | 'not-requested';
  /** The first blobs that could not be had. */
  readonly unavailable: readonly UnavailableBlob[];
  readonly unavailableCount: number;
}

/** The most unavailable blobs to report. */
const maxReported = 200;

/**
 * Writes the blobs that a request names to a repair file. After an interruption the same call resumes.
 * @throws AirliftError `usage` for a wrong request; `exists`; `not-found` if nothing of it can be had; transient errors of registries;
 *   `no-space`, `interrupted`, `io`
 */
export async function exportRequested(options: ExportRequestedOptions): Promise<ExportRequestedSummary> {
  const { output, signal } = options;
  const request = await Request.open(options.request);
  if (request.totals.blobs === 0 && !request.header.head)
    throw new AirliftError('input', `read request ${options.request}: it asks for nothing`);
  if (options.force !== true) await refuseExisting(output);
  await checkDiskSpace(output, request.totals.bytes);
  const sources = await openSources(options.from ?? []);
  const registry = new Registry(options.registry, options.hooks);
  const partial = `${output}.partial`;
  const file = await BundleFile.open(partial, 'create').catch(async (error: unknown) => {
    await registry.close();
    throw error;
  });
  try {
    const job = new RequestedExport(options, request, file, sources, registry);
    await job.run();
    if (job.blobs === 0 && job.head !== 'carried') throw job.nothing();
    checkInterrupted(signal, `write ${output}`);
    if (options.force !== true) await refuseExisting(output);
    await rename(partial, output).catch((cause: unknown) => {
      throw ioError(`rename ${partial} to ${output}`, cause);
    });
    await syncDirectory(output);
    return job.summary();
  } finally {
    await file.close();
    await registry.close();
    for (const source of sources) await source.close();
  }
}

class RequestedExport {
  readonly #writer: RepairFileWriter;
  /** Bytes of the file that an earlier run wrote. */
  #written = 0;
  blobs = 0;
  #blobBytes = 0;
  head: ExportRequestedSummary['head'] = 'not-requested';
  readonly #unavailable: UnavailableBlob[] = [];
  #unavailableCount = 0;

  constructor(
    private readonly options: ExportRequestedOptions,
    private readonly request: Request,
    private readonly file: BundleFile,
    private readonly sources: readonly FileSource[],
    private readonly registry: Registry,
  ) {
    this.#writer = new RepairFileWriter(file);
  }

  async run(): Promise<void> {
    const { bundle, sums, head } = this.request.header;
    this.#written = (await this.file.stat()).size;
    this.#writer.begin(bundle, sums);
    if (head) await this.#addHead();
    for await (const blob of this.request.blobs()) {
      checkInterrupted(this.options.signal, `write ${this.options.output}`);
      await this.#addBlob(blob);
    }
    await this.#writer.finish();
  }

  async #addHead(): Promise<void> {
    const source = this.sources.find(({ headPlace }) => headPlace !== undefined);
    const place = source?.headPlace;
    this.head = 'unavailable';
    if (source === undefined || place === undefined) return;
    const { contentPosition } = this.#writer.place(repairNames.head, place.size);
    const sha256 = await copyBytes(source.file, place, this.file, contentPosition);
    this.#writer.add(repairNames.head, place.size, sha256);
    this.head = 'carried';
  }

  async #addBlob(blob: RequestedBlob): Promise<void> {
    const { digest, images } = blob;
    try {
      const size = blob.size ?? (await this.#sizeOf(blob));
      await this.#writeBlob({ digest, size }, images);
      this.blobs++;
      this.#blobBytes += size;
      this.options.onEvent?.({ event: 'blob-done', digest, size, how: 'downloaded' });
    } catch (error) {
      if (isOutage(error) || !isLoss(error)) throw error;
      // The next blob takes the place of this one.
      await this.file.resize(this.#writer.position);
      this.#written = 0;
      this.#unavailableCount++;
      if (this.#unavailable.length < maxReported)
        this.#unavailable.push({
          digest,
          size: blob.size,
          images: images.map(formatReference),
          error: toPlainError(error),
        });
    }
  }

  async #writeBlob(
    wanted: { readonly digest: Digest; readonly size: number },
    images: readonly Reference[],
  ): Promise<void> {
    const { signal } = this.options;
    const { digest, size } = wanted;
    const name = blobPath(digest);
    const have = await this.#inherited(name, wanted);
    const { contentPosition } = this.#writer.place(name, size);
    if (have < size || size === 0) await this.#fill(wanted, images, contentPosition, have);
    else if (!(await isWhole(this.file, contentPosition, wanted, signal)))
      await this.#fill(wanted, images, contentPosition, 0);
    this.#writer.addBlob(digest, size);
  }

  async #fill(
    wanted: { readonly digest: Digest; readonly size: number },
    images: readonly Reference[],
    position: number,
    have: number,
  ): Promise<void> {
    const { signal } = this.options;
    for (const source of this.sources) {
      const found = await source.find(wanted, signal);
      if (found === undefined) continue;
      await copyBytes(found.file, { position: found.position, size: wanted.size }, this.file, position);
      if (await isWhole(this.file, position, wanted, signal)) return;
    }
    const [first, ...others] = this.#repositories(images);
    if (first === undefined)
      throw new AirliftError(
        'not-found',
        `find blob ${wanted.digest}: the request names no image that needs it`,
        { hint: 'name images that may have it' },
      );
    const place = { file: this.file, position, have };
    await fetchBlob(this.registry, [first, ...others], wanted, place, this.options);
  }

  /** Returns how many bytes of a blob an earlier run wrote to its place; the rest of the file differs from the first other header on. */
  async #inherited(name: string, { size }: { readonly size: number }): Promise<number> {
    const { position, contentPosition } = this.#writer.nextPlace(name, size);
    if (this.#written <= contentPosition) return 0;
    const want = encodeHeader(name, size, 0);
    if ((await this.file.read(position, want.length)).equals(want))
      return Math.min(size, this.#written - contentPosition);
    this.#written = 0;
    return 0;
  }

  async #sizeOf({ digest, images }: RequestedBlob): Promise<number> {
    const known = this.sources.map((source) => source.sizeOf(digest)).find((size) => size !== undefined);
    const size =
      known ?? (await manifestSize(this.registry, this.#repositories(images), digest, this.options.signal));
    if (size !== undefined) return size;
    throw new AirliftError(
      'not-found',
      `find blob ${digest}: its size is unknown until its manifest is repaired`,
      {
        hint: 'repair the bundle with what could be had, then verify it with `request` again',
      },
    );
  }

  #repositories(images: readonly Reference[]): Repository[] {
    return distinctRepositories([...images, ...(this.options.repositories ?? [])]);
  }

  /** Returns the error of a request of which nothing can be had. */
  nothing(): AirliftError {
    const [first] = this.#unavailable;
    const lines = this.#unavailable.slice(0, 10).map(({ error }) => error.message);
    return new AirliftError(
      first?.error.code ?? 'not-found',
      `export to ${this.options.output}: nothing of the request is available`,
      {
        lines,
        hint:
          first === undefined
            ? 'the head of a bundle is only in the bundle: name a whole copy of it with `from`'
            : first.error.hint,
      },
    );
  }

  summary(): ExportRequestedSummary {
    const { bundle } = this.request.header;
    return {
      path: this.options.output,
      bundle: basename(bundle),
      size: this.#writer.size,
      blobs: this.blobs,
      blobBytes: this.#blobBytes,
      head: this.head,
      unavailable: this.#unavailable,
      unavailableCount: this.#unavailableCount,
    };
  }
}
