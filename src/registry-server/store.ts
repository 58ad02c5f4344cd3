import { read, type BigIntStats } from 'node:fs';
import { access, constants, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { AirliftError, systemCodeOf } from '../errors.js';
import { isObject, parseDescriptor, type Descriptor } from '../oci/descriptor.js';
import { algorithmOf, digestOf, isDigest, type Digest, type DigestAlgorithm } from '../oci/digest.js';
import { parseJson } from '../oci/json.js';
import { blobsOf, maxManifestSize, parseManifest, type Index, type Manifest } from '../oci/manifest.js';
import type {
  ContentState,
  ContentStore,
  OpenContent,
  Page,
  PushedManifest,
  PushStore,
  StoredBlob,
  StoredManifest,
  UploadState,
} from './store-content.js';
import { ifPresent, removeFile, smallFileSize, StoreFiles } from './store-files.js';
import { digestOfFileName, StoreLayout } from './store-layout.js';
import { listRepositories, namesIn, takePage } from './store-listing.js';
import { Uploads } from './store-uploads.js';

const readAt = promisify(read);

/** Throws unless the store, or the directory to create it in, is writable. Otherwise only the first push would fail. */
async function refuseReadOnly(directory: string): Promise<void> {
  for (let place = resolve(directory); ; place = dirname(place)) {
    try {
      await access(place, constants.W_OK | constants.X_OK);
      return;
    } catch (cause) {
      const code = systemCodeOf(cause);
      if (code === 'ENOENT' && place !== dirname(place)) continue;
      throw new AirliftError(
        'io',
        `open store ${directory}: cannot write to ${place} (${code ?? 'unknown'})`,
        {
          cause,
          hint: 'name a directory that you may write to: airlift serve --store DIR',
        },
      );
    }
  }
}

/** Refuses a directory in which another program keeps images: neither would find what the other stores, or keep it from its cleanup. */
async function refuseOthers(directory: string): Promise<void> {
  if ((await ifPresent(stat(join(directory, 'oci-layout')))) !== undefined)
    throw new AirliftError('input', `open store ${directory}: an OCI image layout, not a served registry`, {
      hint: `serve its images, read-only: airlift serve ${directory}; or name another directory: airlift serve --store DIR`,
    });
  if ((await ifPresent(stat(join(directory, 'docker', 'registry', 'v2')))) !== undefined)
    throw new AirliftError('input', `open store ${directory}: the storage of another registry`, {
      hint: 'start that registry and copy its images: airlift copy; or name another directory: airlift serve --store DIR',
    });
}

/**
 * Keeps the content of a registry in a directory (see StoreLayout for its layout). Files are created atomically, so that a kill at any
 * moment leaves no partial blob. Several processes may use one directory.
 */
export class DirectoryStore implements ContentStore {
  readonly push: PushStore;
  readonly #layout: StoreLayout;

  private constructor(
    layout: StoreLayout,
    private readonly files: StoreFiles,
    private readonly uploads: Uploads,
  ) {
    this.#layout = layout;
    this.push = new DirectoryPush(this, layout, files, uploads);
  }

  /**
   * Opens a store. The first push creates the directory.
   * @throws AirliftError `io` if the path is not a directory, or cannot be read or written; `input` if it belongs to another program
   */
  static async open(directory: string): Promise<DirectoryStore> {
    const there = await ifPresent(stat(directory));
    if (there?.isDirectory() === false)
      throw new AirliftError('io', `open store ${directory}: not a directory`);
    await refuseOthers(directory);
    await refuseReadOnly(directory);
    const layout = new StoreLayout(directory);
    const files = new StoreFiles();
    return new DirectoryStore(layout, files, new Uploads(layout, files));
  }

  /** Removes uploads that were abandoned a day ago. */
  async removeStaleUploads(): Promise<void> {
    await this.uploads.removeStale();
  }

  async repositories(page: Page): Promise<string[]> {
    return await listRepositories(this.#layout.repositories, page);
  }

  async tags(repository: string, page: Page): Promise<string[] | undefined> {
    if (!(await this.files.exists(this.#layout.manifests(repository)))) return undefined;
    return takePage(await namesIn(this.#layout.tags(repository)), page);
  }

  async resolveTag(repository: string, tag: string): Promise<Digest | undefined> {
    const digest = await this.files.readText(this.#layout.tag(repository, tag));
    return isDigest(digest) ? digest : undefined;
  }

  async manifest(repository: string, digest: Digest): Promise<StoredManifest | undefined> {
    const mediaType = await this.files.readText(this.#layout.manifest(repository, digest));
    if (mediaType === undefined || mediaType === '') return undefined;
    const bytes = await this.#readChecked(digest);
    return bytes === undefined ? undefined : { digest, mediaType, bytes };
  }

  async blob(repository: string, digest: Digest): Promise<StoredBlob | undefined> {
    if (!(await this.files.exists(this.#layout.blob(repository, digest)))) return undefined;
    return await this.content(digest);
  }

  /** Finds content by its digest in any repository. */
  async content(digest: Digest): Promise<StoredBlob | undefined> {
    const path = this.#layout.content(digest);
    const found = await this.files.read(path, smallFileSize - 1);
    if (found === undefined) return undefined;
    const { size, bytes } = found;
    if (bytes === undefined) return { size, content: () => openContent(this.files, path) };
    return isContent(bytes, digest) ? { size, content: bytes } : undefined;
  }

  async *referrers(
    repository: string,
    digest: Digest,
    after: string | undefined,
  ): AsyncGenerator<Descriptor> {
    const folder = this.#layout.referrers(repository, digest);
    // Most digests have no referrers, and looking costs less than failing to list.
    const names = (await this.files.exists(folder)) ? await namesIn(folder) : [];
    const digests = names.map(digestOfFileName).filter((name) => name !== undefined);
    for (const referrer of takePage(digests, { after, limit: Infinity })) {
      const descriptor = await this.#referrer(repository, digest, referrer);
      if (descriptor !== undefined) yield descriptor;
    }
  }

  async #referrer(repository: string, subject: Digest, digest: Digest): Promise<Descriptor | undefined> {
    const text = await this.files.readText(this.#layout.referrer(repository, subject, digest));
    if (text === undefined) return undefined;
    try {
      const value = parseJson(text, `referrer ${digest}`);
      return isObject(value) ? parseDescriptor(value, `referrer ${digest}`) : undefined;
    } catch {
      // A power loss before the file reached the disk. The next push of the referrer writes it again.
      return undefined;
    }
  }

  async #readChecked(digest: Digest): Promise<Buffer | undefined> {
    const bytes = (await this.files.read(this.#layout.content(digest), maxManifestSize))?.bytes;
    return bytes !== undefined && isContent(bytes, digest) ? bytes : undefined;
  }
}

/** Writes to the directory: content first, then the names that make it visible. */
class DirectoryPush implements PushStore {
  constructor(
    private readonly store: DirectoryStore,
    private readonly layout: StoreLayout,
    private readonly files: StoreFiles,
    private readonly uploads: Uploads,
  ) {}

  startUpload(repository: string, algorithm: DigestAlgorithm): Promise<UploadState> {
    return Promise.resolve(this.uploads.start(repository, algorithm));
  }

  async upload(repository: string, id: string): Promise<UploadState | undefined> {
    return await this.uploads.state(repository, id);
  }

  async append(repository: string, id: string, body: Readable, length?: number): Promise<UploadState> {
    return await this.uploads.append(repository, id, body, length);
  }

  async finishUpload(repository: string, id: string, digest: Digest): Promise<void> {
    await this.uploads.finish(repository, id, digest);
    await this.files.mark(this.layout.blob(repository, digest));
  }

  async cancelUpload(repository: string, id: string): Promise<void> {
    await this.uploads.cancel(repository, id);
  }

  async mount(repository: string, digest: Digest, from: string | undefined): Promise<boolean> {
    // Mostly the content is missing: looking costs less than failing to open it.
    if (!(await this.files.exists(this.layout.content(digest)))) return false;
    const held = from === undefined ? this.store.content(digest) : this.store.blob(from, digest);
    if ((await held) === undefined || !(await this.files.refresh(this.layout.content(digest)))) return false;
    await this.files.mark(this.layout.blob(repository, digest));
    return true;
  }

  async keepBlob(repository: string, digest: Digest): Promise<StoredBlob | undefined> {
    return (await this.#refreshBlob(repository, digest)) ? await this.store.content(digest) : undefined;
  }

  /** Returns whether the repository names the blob; the content may be missing. */
  async #refreshBlob(repository: string, digest: Digest): Promise<boolean> {
    if (!(await this.files.refresh(this.layout.blob(repository, digest)))) return false;
    await this.files.refresh(this.layout.content(digest));
    return true;
  }

  async keepManifest(repository: string, digest: Digest): Promise<StoredManifest | undefined> {
    return await this.#keepManifest(repository, digest, new Set());
  }

  /** @param seen digests that are protected already: indexes may share children */
  async #keepManifest(
    repository: string,
    digest: Digest,
    seen: Set<Digest>,
  ): Promise<StoredManifest | undefined> {
    if (!(await this.files.refresh(this.layout.manifest(repository, digest)))) return undefined;
    await this.files.refresh(this.layout.content(digest));
    const manifest = await this.store.manifest(repository, digest);
    if (manifest === undefined) return undefined;
    seen.add(digest);
    const parsed = parseManifest(manifest.bytes, manifest.mediaType, `manifest ${digest}`);
    for (const { digest: child } of listedIn(parsed)) {
      if (seen.has(child)) continue;
      seen.add(child);
      const isManifest =
        parsed.kind === 'index' && (await this.#keepManifest(repository, child, seen)) !== undefined;
      if (!isManifest) await this.#refreshBlob(repository, child);
    }
    return manifest;
  }

  async putManifest(repository: string, manifest: PushedManifest, tags: readonly string[]): Promise<void> {
    const { digest, mediaType, bytes, referrer } = manifest;
    await this.#write(this.layout.content(digest), bytes);
    await this.#write(this.layout.manifest(repository, digest), mediaType);
    if (referrer !== undefined) {
      const path = this.layout.referrer(repository, referrer.subject, digest);
      await this.#write(path, JSON.stringify(referrer.descriptor));
    }
    for (const tag of tags) await this.#write(this.layout.tag(repository, tag), digest);
  }

  async deleteTag(repository: string, tag: string): Promise<boolean> {
    return await removeFile(this.layout.tag(repository, tag));
  }

  async deleteManifest(repository: string, digest: Digest, subject: Digest | undefined): Promise<boolean> {
    for (const tag of await namesIn(this.layout.tags(repository))) {
      if ((await this.store.resolveTag(repository, tag)) === digest) await this.deleteTag(repository, tag);
    }
    if (subject !== undefined) await removeFile(this.layout.referrer(repository, subject, digest));
    return await removeFile(this.layout.manifest(repository, digest));
  }

  async deleteBlob(repository: string, digest: Digest): Promise<boolean> {
    return await removeFile(this.layout.blob(repository, digest));
  }

  async #write(path: string, content: Uint8Array | string): Promise<void> {
    const bytes = typeof content === 'string' ? Buffer.from(content) : content;
    await this.files.writeWhole(this.layout.incoming, path, bytes);
  }
}

async function openContent({ calls }: StoreFiles, path: string): Promise<OpenContent> {
  const descriptor = await calls.open(path, 'r');
  return {
    read: async (position, length, memory) => {
      const { bytesRead } = await readAt(descriptor, memory, 0, length, position);
      return memory.subarray(0, bytesRead);
    },
    state: async () => stateOf(await calls.fstat(descriptor)),
    close: () => calls.close(descriptor),
  };
}

function stateOf({ dev, ino, size, mtimeNs, ctimeNs, ctimeMs }: BigIntStats): ContentState {
  return { id: [dev, ino, size, mtimeNs, ctimeNs].join(' '), changed: Number(ctimeMs) };
}

function isContent(bytes: Uint8Array, digest: Digest): boolean {
  return digestOf(bytes, algorithmOf(digest)) === digest;
}

/** Returns a manifest's config and layers, or an index's children. */
function listedIn(parsed: Manifest | Index): readonly Descriptor[] {
  return parsed.kind === 'index' ? parsed.manifests : blobsOf(parsed);
}

/** Returns the digests of a manifest's config and layers, or of an index's children. */
export function childrenOf({ digest, mediaType, bytes }: StoredManifest): Digest[] {
  const parsed = parseManifest(bytes, mediaType, `manifest ${digest}`);
  return listedIn(parsed).map((child) => child.digest);
}
