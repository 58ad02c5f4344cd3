import type { Readable } from 'node:stream';
import type { Archive } from '../archive/read/archive.js';
import { familiarName } from '../archive/read/image-names.js';
import { AirliftError, checkInterrupted } from '../errors.js';
import { MemoryRange, type ByteRange } from '../io/byte-range.js';
import { type Part, mergeImage, type MergedChild } from './merge-image.js';
import { partsByName, type MergeNamesOptions } from './merge-names.js';
import { subjectOfTag } from '../oci/companion-tag.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { formatPlatform } from '../oci/platform.js';
import { readContent } from '../oci/read.js';
import { formatReference, type Reference, type Repository } from '../oci/reference.js';
import type { FetchOptions, Image, Source } from '../oci/source.js';

export interface MergeOptions extends MergeNamesOptions {
  readonly signal?: AbortSignal | undefined;
}

/** An image merged from all archives. `original` is the publisher's index if `root` is a filtered version of it. */
export interface MergedImage extends Image {
  /** The runnable images below the root, with their published platforms. */
  readonly children: readonly MergedChild[];
  /** Foreign layers that no archive holds. */
  readonly absent: readonly Digest[];
  /** The archives that hold a part of it. */
  readonly files: readonly string[];
  /** For cosign's signatures, attestations and SBOMs: the image they belong to. */
  readonly companionOf: Digest | undefined;
}

/** All images of all archives, and the source of their content. */
export interface Merged {
  readonly images: readonly MergedImage[];
  /** Provides all content of the images, including indexes created by the merge. Valid while the archives are open. */
  readonly source: ContentSource;
}

/** A source on this machine, whose content can be read at random. */
export interface ContentSource extends Source {
  /** Returns content for random access; undefined where the source does not hold it. */
  find(descriptor: Descriptor): Promise<ByteRange | undefined>;
}

/** The source of merged images: the archives, and the indexes created by the merge. */
class MergedSource implements ContentSource {
  readonly made = new Map<Digest, Buffer>();
  readonly roots = new Map<string, Descriptor>();

  constructor(private readonly archives: readonly Archive[]) {}

  resolve(reference: Reference): Promise<Descriptor> {
    const root = this.roots.get(formatReference(reference));
    if (root !== undefined) return Promise.resolve(root);
    return Promise.reject(
      new AirliftError('not-found', `resolve ${formatReference(reference)}: not in the archives`),
    );
  }

  async fetch(
    _repository: Repository,
    descriptor: Descriptor,
    options: FetchOptions = {},
  ): Promise<Readable> {
    const content = await this.find(descriptor);
    if (content !== undefined) return content.stream(options.offset, options);
    const files = this.archives.map(({ file }) => file).join(', ');
    throw new AirliftError('not-found', `read ${descriptor.digest}: not in ${files}`);
  }

  async find(descriptor: Descriptor): Promise<ByteRange | undefined> {
    const made = this.made.get(descriptor.digest);
    if (made !== undefined) return new MemoryRange(made);
    for (const archive of this.archives) {
      const content = await archive.find(descriptor);
      if (content !== undefined) return content;
    }
    return undefined;
  }

  async *referrers(repository: Repository, digest: Digest): AsyncGenerator<Descriptor> {
    const given = new Set<Digest>();
    for (const archive of this.archives) {
      for await (const referrer of archive.referrers(repository, digest)) {
        if (given.has(referrer.digest)) continue;
        given.add(referrer.digest);
        yield referrer;
      }
    }
  }
}

/** Warns of contradicting platforms of an image, once for each archive; an error with `strictPlatforms`. */
function report(
  name: string,
  children: readonly MergedChild[],
  reported: Set<string>,
  options: MergeOptions,
): void {
  for (const { contradiction, descriptor, file, platform } of children) {
    if (contradiction === undefined) continue;
    const what = `${familiarName(name)} in ${file}: ${contradiction}`;
    if (options.strictPlatforms === true) {
      throw new AirliftError('conflict', `merge ${what}`, {
        hint: `state the platform with \`archives.platforms\` ${file}=${formatPlatform(platform)}, or omit \`archives.strictPlatforms\``,
      });
    }
    const key = `${file} ${descriptor.digest}`;
    if (!reported.has(key)) options.warn?.(`${what}; published as ${formatPlatform(platform)}`);
    reported.add(key);
  }
}

/**
 * Merges archives by the names of their images: an image that several archives hold for different platforms becomes one index.
 * The archives stay open for as long as the source is used.
 * @throws AirliftError `conflict` where two archives hold different images for one platform, or, with `strictPlatforms`, where one
 *   contradicts itself; errors of `partsByName` and of the archives
 */
export async function mergeArchives(
  archives: readonly Archive[],
  options: MergeOptions = {},
): Promise<Merged> {
  const { signal } = options;
  const byName = await partsByName(archives, options);
  const source = new MergedSource(archives);
  const images: MergedImage[] = [];
  const reported = new Set<string>();
  for (const [name, { reference, parts }] of byName) {
    checkInterrupted(signal, 'merge archives');
    const readRoot = ({ archive, image }: Part): Promise<Buffer> =>
      readContent(archive, reference, image.root, { signal });
    const { root, original, children, made } = await mergeImage(familiarName(name), parts, readRoot);
    report(name, children, reported, options);
    if (made !== undefined) source.made.set(root.digest, made);
    source.roots.set(name, root);
    const files = [...new Set(parts.map(({ archive }) => archive.file))];
    const absent = parts.flatMap(({ image }) => image.children.flatMap((child) => child.absent));
    const companionOf = subjectOfTag(reference.tag);
    images.push({ reference, root, original, children, absent, files, companionOf });
  }
  return { images, source };
}
