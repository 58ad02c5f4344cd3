import { AirliftError } from '../errors.js';
import { isObject, parseDescriptor, type Descriptor } from './descriptor.js';
import { attestationSubject, parseJsonObject, refuseMore } from './manifest.js';
import { formatPlatform, isUnknown, normalisePlatform, type Platform } from './platform.js';

/** A JSON object, including fields that airlift does not know. */
export type Json = Readonly<Record<string, unknown>>;

/** A child of an index: its entry with all fields, and its origin. */
export interface IndexChild {
  readonly descriptor: Descriptor;
  /** The descriptor as JSON. */
  readonly entry: Json;
  /** The origin, for messages: a reference or a file. */
  readonly from: string;
  /**
   * The key that is unique within an index: full platform, artifact type and compression of the layers. Undefined for children that
   * an index may have any number of: attestations, artifacts without platform, indexes.
   */
  readonly place: string | undefined;
}

/** An existing index, and its name for messages. */
export interface ExistingIndex {
  readonly descriptor: Descriptor;
  readonly bytes: Buffer;
  readonly from: string;
}

/** The annotation by which podman distinguishes images that differ only in the compression of their layers. */
const compressionMark = 'io.github.containers.compression.zstd';

/** Returns a platform as JSON, with the fields in the order of the image-spec (image-index.md, `platform`). */
export function platformFields(platform: Platform): Json {
  const { architecture, os, osVersion, osFeatures, variant } = platform;
  return {
    architecture,
    os,
    ...(osVersion === undefined ? {} : { 'os.version': osVersion }),
    ...(osFeatures === undefined ? {} : { 'os.features': osFeatures }),
    ...(variant === undefined ? {} : { variant }),
  };
}

/**
 * Returns the platform fields of an image config unchanged, as docker and oras copy them to an index; undefined if the config names
 * no platform, as with artifacts.
 */
export function platformFieldsOfConfig(bytes: Uint8Array, what: string): Json | undefined {
  const config = parseJsonObject(bytes, what);
  const fields: Record<string, unknown> = {};
  for (const name of ['architecture', 'os', 'os.version', 'os.features', 'variant']) {
    const value = config[name];
    if ((typeof value === 'string' && value !== '') || (Array.isArray(value) && value.length > 0))
      fields[name] = value;
  }
  return 'architecture' in fields && 'os' in fields ? fields : undefined;
}

/**
 * Returns an entry with Go's names for OS and architecture (`amd64`, not `x86_64`), the only names that most readers know. Other
 * fields stay unchanged.
 */
export function withGoNames(entry: Json): Json {
  const { platform } = entry;
  if (!isObject(platform) || typeof platform['architecture'] !== 'string') return entry;
  const { os = '', architecture, variant } = platform;
  if (typeof os !== 'string' || (variant !== undefined && typeof variant !== 'string')) return entry;
  const normal = normalisePlatform({ os, architecture, variant });
  if (normal.architecture === architecture && normal.os === os) return entry;
  const isSilent = variant === undefined || variant === '';
  const implied = isSilent && normal.variant !== undefined ? { variant: normal.variant } : {};
  const named = { ...platform, architecture: normal.architecture, ...implied };
  return { ...entry, platform: 'os' in platform ? { ...named, os: normal.os } : named };
}

function placeOf({ platform, artifactType, annotations }: Descriptor): string | undefined {
  if (platform === undefined || isUnknown(platform)) return undefined;
  return JSON.stringify([platformFields(platform), artifactType, annotations?.[compressionMark]]);
}

/**
 * Parses an entry of an index.
 * @throws AirliftError `input` if it is not a descriptor
 */
export function childOfEntry(entry: Json, from: string): IndexChild {
  const descriptor = parseDescriptor(entry, `index entry of ${from}`);
  return { entry, from, descriptor, place: placeOf(descriptor) };
}

/** Returns a child for a manifest, with the platform to record for it. */
export function childOf(manifest: Descriptor, from: string, platform: Json | undefined): IndexChild {
  const { mediaType, digest, size, artifactType } = manifest;
  return childOfEntry(
    {
      mediaType,
      digest,
      size,
      ...(platform === undefined ? {} : { platform }),
      ...(artifactType === undefined ? {} : { artifactType }),
    },
    from,
  );
}

/**
 * Returns the children of an index, with all fields of their entries.
 * @throws AirliftError `input` if the index or one of its entries is malformed
 */
export function childrenOf({ bytes, from }: ExistingIndex): IndexChild[] {
  const { manifests } = parseJsonObject(bytes, `index ${from}`);
  if (!Array.isArray(manifests))
    throw new AirliftError('input', `parse index ${from}: index has no manifests`);
  refuseMore(manifests, `index ${from}`);
  return (manifests as Json[]).map((entry) => childOfEntry(entry, from));
}

/** Returns the platform of a child, for messages. */
export function platformName({ platform }: Descriptor): string {
  return platform === undefined ? 'no platform' : formatPlatform(platform);
}

/** Returns a child with the fields and annotations appended that only the other one has; the child itself if there are none. */
export function completed(child: IndexChild, other: IndexChild): IndexChild {
  const [own, others] = [child.descriptor.annotations ?? {}, other.descriptor.annotations ?? {}];
  const isComplete =
    Object.keys(other.entry).every((name) => name in child.entry) &&
    Object.keys(others).every((key) => key in own);
  if (isComplete) return child;
  const lacking = Object.entries(other.entry).filter(([name]) => !(name in child.entry));
  const entry: Record<string, unknown> = { ...child.entry, ...Object.fromEntries(lacking) };
  const added = Object.entries(others).filter(([key]) => !(key in own));
  if (added.length > 0) entry['annotations'] = { ...own, ...Object.fromEntries(added) };
  return childOfEntry(entry, child.from);
}

/** Sorts children into an order that is independent of their input order: by platform, then attestations by their image's, then others. */
export function inPlatformOrder(children: readonly IndexChild[]): IndexChild[] {
  const names = new Map<string, string>();
  for (const { descriptor, place } of children)
    if (place !== undefined) names.set(descriptor.digest, platformName(descriptor));
  const keyOf = ({ descriptor }: IndexChild): string => {
    const own = names.get(descriptor.digest);
    const described = names.get(descriptor.annotations?.[attestationSubject] ?? '');
    const rank = own !== undefined ? 0 : described !== undefined ? 1 : 2;
    return `${rank} ${own ?? described ?? ''} ${descriptor.digest}`;
  };
  const keyed = children.map((child) => ({ child, key: keyOf(child) }));
  return keyed.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0)).map(({ child }) => child);
}
