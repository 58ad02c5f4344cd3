import type { BundleReader } from '../bundle/reader.js';
import type { ByteRange } from '../io/byte-range.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import type { OpenContent, StoredBlob, StoredManifest } from '../registry-server/store-content.js';
import type { Guard } from './file-guard.js';
import type { ImageContent } from './image-store.js';

/** Smaller blobs are read whole and verified before they are served. */
export const smallBlob = 64 * 1024;

/** @param guard watches the files of the content */
export function openContent(content: ByteRange, guard: Guard): OpenContent {
  return {
    read: (position, length, memory) => content.read(position, length, memory),
    check: () => guard.check(),
    state: () => guard.state(),
    close: () => Promise.resolve(),
  };
}

/** The content of one bundle, found by its catalog and read in place. */
export class BundleContent implements ImageContent {
  /** @param guard watches the bundle's file */
  constructor(
    private readonly reader: BundleReader,
    private readonly guard: Guard,
  ) {}

  async manifest(digest: Digest): Promise<StoredManifest | undefined> {
    if (this.reader.position(digest) === undefined) return undefined;
    const mediaType = this.reader.catalog.manifest(digest)?.mediaType;
    if (mediaType === undefined) return undefined;
    return { digest, mediaType, bytes: await this.reader.read(digest) };
  }

  async blob(digest: Digest): Promise<StoredBlob | undefined> {
    const blob = this.reader.catalog.blob(digest);
    if (blob === undefined || blob.kind === 'index' || blob.kind === 'manifest') return undefined;
    const content = await this.reader.find(blob);
    if (content === undefined) return undefined;
    const { size } = content;
    if (size < smallBlob) return { size, content: await this.reader.read(digest) };
    const explain = (error: unknown): unknown => this.reader.locate(digest, error);
    return { size, content: () => Promise.resolve({ ...openContent(content, this.guard), explain }) };
  }

  referrers(digest: Digest): AsyncIterable<Descriptor> {
    return this.reader.referrers({ registry: '', repository: '' }, digest);
  }
}
