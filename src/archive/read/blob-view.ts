import type { Descriptor } from '../../oci/descriptor.js';
import { digestOf, type Digest } from '../../oci/digest.js';
import { digestOfPath } from '../../oci/image-layout.js';
import { maxManifestSize, parseManifest } from '../../oci/manifest.js';
import type { PlacedRange } from '../../io/byte-range.js';
import { readWhole, type Members } from './members.js';

/** A folder of an archive, viewed as an archive. The archive must stay open while the view is used. */
export class FolderMembers implements Members {
  constructor(
    private readonly members: Members,
    private readonly folder: string,
  ) {}

  get file(): string {
    return this.members.file;
  }

  get missingHint(): string | undefined {
    return this.members.missingHint;
  }

  find(path: string): Promise<PlacedRange | undefined> {
    return this.members.find(`${this.folder}/${path}`);
  }

  async *below(folder: string): AsyncGenerator<string> {
    for await (const path of this.members.below(`${this.folder}/${folder}`))
      yield path.slice(this.folder.length + 1);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

/** An archive viewed as an OCI layout, and the entries of its index.json. */
export interface LayoutView {
  readonly members: Members;
  readonly entries: readonly Descriptor[];
}

/** An archive with its own paths for content, viewed as an OCI layout: `blobs/<algorithm>/<hex>`. */
export class BlobView implements Members {
  /** @param content finds content by digest */
  constructor(
    private readonly members: Members,
    private readonly content: (digest: Digest) => Promise<PlacedRange | undefined>,
    readonly missingHint: string | undefined = members.missingHint,
  ) {}

  get file(): string {
    return this.members.file;
  }

  async find(path: string): Promise<PlacedRange | undefined> {
    const digest = digestOfPath(path);
    return digest === undefined ? undefined : this.content(digest);
  }

  async *below(): AsyncGenerator<string> {
    // All content of these archives is listed by their manifests.
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

/**
 * Creates the entry that a manifest has in `index.json`.
 * @param name a full reference
 * @throws AirliftError `input` where the content is not a manifest
 */
export async function entryOf(
  content: PlacedRange,
  name: string | undefined,
  what: string,
): Promise<{ readonly entry: Descriptor; readonly hasSubject: boolean }> {
  const bytes = await readWhole(content, maxManifestSize, what);
  const { mediaType, subject } = parseManifest(bytes, undefined, what);
  const annotations = name === undefined ? undefined : { 'io.containerd.image.name': name };
  const entry = { mediaType, digest: digestOf(bytes), size: bytes.byteLength, annotations };
  return { entry, hasSubject: subject !== undefined };
}
