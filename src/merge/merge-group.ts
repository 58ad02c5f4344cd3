import type { Archive, ArchiveChild, ArchiveImage } from '../archive/read/archive.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { attestationSubject } from '../oci/manifest.js';
import { isIndex } from '../oci/media-types.js';

/** What one archive holds of an image. */
export interface Part {
  readonly archive: Archive;
  readonly image: ArchiveImage;
  /** What the image is called in the archive, where that is not the name it gets. */
  readonly oldName?: string | undefined;
}

/** Parts with the same root. */
export interface Group {
  readonly root: Descriptor;
  /** The first of the parts: what they hold of the root itself is the same. */
  readonly first: Part;
  /** The manifests that one part or another has in full. */
  readonly held: ReadonlyMap<Digest, Held>;
  /** The bytes of the root, where it is an index. */
  readonly bytes: Buffer | undefined;
  /** Whether nothing below the root is missing. */
  readonly isComplete: boolean;
}

/** A manifest that is there in full. */
export interface Held {
  readonly child: ArchiveChild;
  readonly file: string;
  /** The file, and the image's name in it where that is another: for messages. */
  readonly from: string;
  readonly group: Digest;
}

/** Reads the root of a part, an index, whole. */
export type ReadRoot = (part: Part) => Promise<Buffer>;

async function groupOf(parts: readonly Part[], readRoot: ReadRoot): Promise<Group> {
  const [first, ...others] = parts as readonly [Part, ...Part[]];
  const { root } = first.image;
  const held = new Map<Digest, Held>();
  for (const { archive, image, oldName } of parts) {
    const { file } = archive;
    const from = oldName === undefined ? file : `${oldName} in ${file}`;
    for (const child of image.children) {
      const { digest } = child.descriptor;
      if (!held.has(digest)) held.set(digest, { child, file, from, group: root.digest });
    }
  }
  const isMissing = ({ digest }: Descriptor): boolean =>
    others.every(({ image }) => image.missing.some((other) => other.digest === digest));
  return {
    root,
    first,
    held,
    bytes: isIndex(root.mediaType) ? await readRoot(first) : undefined,
    isComplete: !first.image.missing.some(isMissing),
  };
}

/** Parts by their root, in an order that does not depend on theirs. */
export async function groupsOf(parts: readonly Part[], readRoot: ReadRoot): Promise<Group[]> {
  const byRoot = new Map<Digest, Part[]>();
  for (const part of parts) {
    const { digest } = part.image.root;
    byRoot.set(digest, [...(byRoot.get(digest) ?? []), part]);
  }
  const ordered = [...byRoot].sort(([a], [b]) => (a < b ? -1 : 1));
  return Promise.all(ordered.map(([, same]) => groupOf(same, readRoot)));
}

/** Whether the index can stay as it is: all of it is there, and `--arch` does not say otherwise. */
export function isKept(group: Group): boolean {
  const isOverruled = ({ child }: Held): boolean =>
    child.platform?.isForced === true && !child.platform.agreesWithEntry;
  return group.isComplete && ![...group.held.values()].some(isOverruled);
}

/**
 * Manifests to leave out: the same image (by its config) is there with another manifest, one that its publisher made or that
 * belongs to an index that is kept.
 */
export function duplicates(groups: readonly Group[]): Set<Digest> {
  const byConfig = new Map<Digest, Held[]>();
  for (const group of groups) {
    for (const held of group.held.values()) {
      const { config, platform } = held.child;
      if (config !== undefined && platform !== undefined)
        byConfig.set(config, [...(byConfig.get(config) ?? []), held]);
    }
  }
  const kept = new Set(
    groups.filter((group) => group.bytes !== undefined && isKept(group)).map(({ root }) => root.digest),
  );
  const rank = ({ child, group }: Held): string =>
    `${kept.has(group) ? 0 : 1}${child.isMade ? 1 : 0}${child.descriptor.digest}`;
  const dropped = new Set<Digest>();
  for (const same of byConfig.values()) {
    const [best, ...others] = same.sort((a, b) => (rank(a) < rank(b) ? -1 : 1));
    for (const { child, group } of others) {
      const { digest } = child.descriptor;
      if (group !== best?.group && digest !== best?.child.descriptor.digest) dropped.add(digest);
    }
  }
  return dropped;
}

/** Whether a manifest, or the image that it attests something of, is left out. */
export function isDropped({ child }: Held, dropped: ReadonlySet<string>): boolean {
  const { digest, annotations } = child.descriptor;
  return dropped.has(digest) || dropped.has(annotations?.[attestationSubject] ?? '');
}
