import type { Archive, ArchiveChild, ArchiveImage } from '../archive/read/archive.js';
import { AirliftError } from '../errors.js';
import { IndexDraft, type ComposedIndex } from '../oci/compose.js';
import { parseDescriptor, type Descriptor } from '../oci/descriptor.js';
import { digestOf, type Digest } from '../oci/digest.js';
import { filterIndex } from '../oci/filter.js';
import {
  childOf,
  childOfEntry,
  inPlatformOrder,
  withGoNames,
  type ExistingIndex,
  type IndexChild,
  type Json,
} from '../oci/index-child.js';
import { attestationSubject, parseJsonObject, parseManifest } from '../oci/manifest.js';
import { isIndex } from '../oci/media-types.js';
import { mergeIndexes } from '../oci/merge-indexes.js';
import { formatPlatform, samePlatform, type Platform } from '../oci/platform.js';

/** The part of an image that one archive holds. */
export interface Part {
  readonly archive: Archive;
  readonly image: ArchiveImage;
  /** The image's name in the archive if it is renamed. */
  readonly oldName?: string | undefined;
}

/** Parts with the same root. */
interface Group {
  readonly root: Descriptor;
  /** The first of the parts; all have the same root. */
  readonly first: Part;
  /** The manifests that at least one part holds completely. */
  readonly held: ReadonlyMap<Digest, Held>;
  /** The bytes of the root if it is an index. */
  readonly bytes: Buffer | undefined;
  /** Whether the parts together hold everything below the root. */
  readonly isComplete: boolean;
}

/** A manifest that is held completely. */
interface Held {
  readonly child: ArchiveChild;
  readonly file: string;
  /** The file in messages, with the image's name in it if it is renamed. */
  readonly from: string;
  readonly group: Digest;
}

/** Reads the index that is the root of a part. */
type ReadRoot = (part: Part) => Promise<Buffer>;

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

/** Groups parts by their root, in an order that does not depend on the order of the parts. */
async function groupsOf(parts: readonly Part[], readRoot: ReadRoot): Promise<Group[]> {
  const byRoot = new Map<Digest, Part[]>();
  for (const part of parts) {
    const { digest } = part.image.root;
    byRoot.set(digest, [...(byRoot.get(digest) ?? []), part]);
  }
  const ordered = [...byRoot].sort(([a], [b]) => (a < b ? -1 : 1));
  return Promise.all(ordered.map(([, same]) => groupOf(same, readRoot)));
}

/** Reports whether the index can be kept unchanged: it is complete, and no platform is overridden. */
function isKept(group: Group): boolean {
  const isOverruled = ({ child }: Held): boolean =>
    child.platform?.isForced === true && !child.platform.agreesWithEntry;
  return group.isComplete && ![...group.held.values()].some(isOverruled);
}

/**
 * Returns the manifests to omit because another manifest has the same image (by its config): one that its publisher created or that
 * belongs to an index that is kept.
 */
function duplicates(groups: readonly Group[]): Set<Digest> {
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

/** Reports whether a manifest, or the image that it attests, is omitted. */
function isDropped({ child }: Held, dropped: ReadonlySet<string>): boolean {
  const { digest, annotations } = child.descriptor;
  return dropped.has(digest) || dropped.has(annotations?.[attestationSubject] ?? '');
}

/** A runnable image below the merged root. */
export interface MergedChild {
  readonly descriptor: Descriptor;
  /** The published platform. */
  readonly platform: Platform;
  /** The archive that holds it. */
  readonly file: string;
  /** The contradiction to warn of: `config says linux/amd64, executables are arm`. */
  readonly contradiction: string | undefined;
}

/** The merged image. */
export interface MergedRoot {
  readonly root: Descriptor;
  /** The publisher's index if `root` is a filtered version of it because children are missing. */
  readonly original: Descriptor | undefined;
  readonly children: readonly MergedChild[];
  /** The bytes of the root if the merge created it. */
  readonly made: Buffer | undefined;
}

/** Returns the entry of a manifest in an index that the merge creates. */
function indexChild({ child, from }: Held): IndexChild {
  const { descriptor, entry, platform } = child;
  if (entry === undefined) return childOf(descriptor, from, platform?.fields);
  if (platform === undefined || platform.agreesWithEntry) return childOfEntry(entry, from);
  return childOfEntry({ ...entry, platform: platform.fields }, from);
}

/** Returns the index without missing children and with corrected platforms. */
function edited(group: Group, bytes: Buffer, dropped: ReadonlySet<Digest>): ExistingIndex {
  const stays = (digest: string): Held | undefined => {
    const held = group.held.get(digest as Digest);
    if (held === undefined || isDropped(held, dropped)) return undefined;
    const subject = held.child.descriptor.annotations?.[attestationSubject];
    return subject === undefined || group.held.has(subject as Digest) ? held : undefined;
  };
  const { file } = group.first.archive;
  const filtered = filterIndex(bytes, group.root, (digest) => stays(digest)?.child.descriptor);
  const json = parseJsonObject(filtered.bytes, `index ${group.root.digest}`);
  let isRight = true;
  const manifests = (json['manifests'] as Json[]).map((entry) => {
    const { digest, platform } = parseDescriptor(entry, `index ${group.root.digest}`);
    const child = stays(digest)?.child;
    const stated = child?.descriptor.platform;
    if (child?.platform === undefined || child.platform.agreesWithEntry) return entry;
    if (platform === undefined || stated === undefined || !samePlatform(stated, platform)) return entry;
    isRight = false;
    return withGoNames({ ...entry, platform: child.platform.fields });
  });
  if (isRight) return { ...filtered, from: file };
  const corrected = Buffer.from(JSON.stringify({ ...json, manifests }));
  const descriptor = { ...filtered.descriptor, digest: digestOf(corrected), size: corrected.byteLength };
  return { descriptor, bytes: corrected, from: file };
}

/** Creates an index of manifests that no single index lists, with the fields of the index above them. */
function flattened(held: readonly Held[], fields: Group | undefined): ComposedIndex {
  const draft = IndexDraft.create();
  for (const child of inPlatformOrder(held.map(indexChild))) draft.add(child);
  if (fields?.bytes !== undefined) {
    const { annotations, artifactType, subject } = parseManifest(
      fields.bytes,
      fields.root.mediaType,
      fields.root.digest,
    );
    draft.setFields({ annotations, artifactType, subject });
  }
  return draft.finish();
}

/** Merges parts with the same root. The root is kept unchanged if it is complete and its platforms are right. */
function fromOne(group: Group): ComposedIndex | undefined {
  const { bytes, held } = group;
  if (bytes === undefined) {
    const [only] = held.values();
    const finding = only?.child.platform;
    return only === undefined || finding === undefined || finding.agreesWithConfig
      ? undefined
      : flattened([only], undefined);
  }
  if (isKept(group)) return undefined;
  return group.first.image.isNested ? flattened([...held.values()], group) : edited(group, bytes, new Set());
}

/** Merges parts with different roots into one index. */
function fromSeveral(groups: readonly Group[], dropped: ReadonlySet<Digest>): ComposedIndex {
  const indexes: ExistingIndex[] = [];
  const images: IndexChild[] = [];
  for (const group of groups) {
    const { bytes, root, first } = group;
    const kept = [...group.held.values()].filter((held) => !isDropped(held, dropped));
    if (kept.length === 0) continue;
    if (bytes === undefined || first.image.isNested) images.push(...kept.map(indexChild));
    else
      indexes.push(
        isKept(group) && kept.length === group.held.size
          ? { descriptor: root, bytes, from: first.archive.file }
          : edited(group, bytes, dropped),
      );
  }
  return mergeIndexes({ indexes, images });
}

/** Returns the error for an artifact, such as a signature or a chart, that shares a name: it cannot be a child of an index. */
function artifactConflict(name: string, artifact: Held, groups: readonly Group[]): AirliftError {
  const found = groups.map(({ root, first }) => `${root.digest} of ${first.archive.file}`);
  const isOneFile = new Set(groups.map(({ first }) => first.archive.file)).size === 1;
  return new AirliftError(
    'conflict',
    `merge ${name}: ${artifact.child.descriptor.digest} is not a runnable image and cannot share its name; got ${found.join(' and ')}, want one of them`,
    {
      hint: isOneFile
        ? `get ${artifact.file} again with a different name for each image`
        : `omit one of the files, or import ${artifact.file} separately with \`rules\``,
    },
  );
}

/** @throws AirliftError `conflict` where two archives hold different images for one platform, `input` where one has no platform */
function refuseConflicts(name: string, groups: readonly Group[], dropped: ReadonlySet<Digest>): void {
  const places = new Map<string, Held>();
  for (const group of groups) {
    for (const held of group.held.values()) {
      if (isDropped(held, dropped)) continue;
      const { platform, descriptor, entry, isRunnable } = held.child;
      if (entry === undefined && !isRunnable) throw artifactConflict(name, held, groups);
      if (platform === undefined && entry === undefined) {
        throw new AirliftError(
          'input',
          `merge ${name}: cannot determine the platform of the image in ${held.from}`,
          {
            hint: `state it with \`archives.platforms\` ${held.file}=linux/arm64, or omit the file`,
          },
        );
      }
      const { place } = indexChild(held);
      const other = place === undefined ? undefined : places.get(place);
      if (
        other !== undefined &&
        other.group !== held.group &&
        other.child.descriptor.digest !== descriptor.digest
      ) {
        throw new AirliftError(
          'conflict',
          `merge ${name}: two different images for ${platform === undefined ? 'one platform' : formatPlatform(platform.platform)}; ` +
            `got ${other.child.descriptor.digest} of ${other.from} and ${descriptor.digest} of ${held.from}`,
          {
            hint:
              other.file === held.file
                ? `${held.file} holds several images under one name: save each under its own name, as docker save NAME:TAG does`
                : 'omit one of the archives, or state the platform of each with `archives.platforms` FILE=PLATFORM',
          },
        );
      }
      if (place !== undefined) places.set(place, held);
    }
  }
}

function mergedChildren(
  groups: readonly Group[],
  dropped: ReadonlySet<Digest>,
  isMade: boolean,
): MergedChild[] {
  const children = new Map<Digest, MergedChild>();
  for (const group of groups) {
    for (const held of group.held.values()) {
      const { descriptor, platform: finding } = held.child;
      if (finding === undefined || isDropped(held, dropped) || children.has(descriptor.digest)) continue;
      const platform = isMade ? finding.platform : (descriptor.platform ?? finding.platform);
      const { contradiction } = finding;
      children.set(descriptor.digest, { descriptor, platform, file: held.file, contradiction });
    }
  }
  return [...children.values()];
}

/**
 * Merges the parts that several archives hold of one image. If all have the same root and nothing below it is missing, the root is kept
 * byte for byte; an index with missing children is filtered; different roots become one index.
 * @param name names the image in messages
 * @throws AirliftError `conflict` where two archives hold different images for one platform, `input` where the platform of one
 *   cannot be determined
 */
export async function mergeImage(
  name: string,
  parts: readonly Part[],
  readRoot: ReadRoot,
): Promise<MergedRoot> {
  const groups = await groupsOf(parts, readRoot);
  const [first, ...others] = groups as [Group, ...Group[]];
  const dropped = duplicates(groups);
  if (others.length > 0) refuseConflicts(name, groups, dropped);
  const index = others.length === 0 ? fromOne(first) : fromSeveral(groups, dropped);
  const isMade = index !== undefined && groups.every(({ root }) => root.digest !== index.descriptor.digest);
  const isFiltered = others.length === 0 && !first.isComplete;
  return {
    root: index?.descriptor ?? first.root,
    original: isFiltered ? first.root : undefined,
    children: mergedChildren(groups, dropped, isMade),
    made: isMade ? index.bytes : undefined,
  };
}
