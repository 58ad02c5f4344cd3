import { AirliftError } from '../errors.js';
import { isObject, parseDescriptor, type Descriptor } from './descriptor.js';
import { attestationSubject, parseJsonObject, refuseMore } from './manifest.js';
import { formatPlatform, isUnknown, normalisePlatform, type Platform } from './platform.js';

/** A JSON object, with the fields that airlift does not know too. */
export type Json = Readonly<Record<string, unknown>>;

/** A child of an index: its entry there, every field of it, and where it comes from. */
export interface IndexChild {
  readonly descriptor: Descriptor;
  /** The descriptor as JSON. */
  readonly entry: Json;
  /** What to call its origin in messages: a reference, a file. */
  readonly from: string;
  /**
   * What two children of one index may not share: the platform in full, the kind of artifact, and how the layers are packed.
   * Undefined for those that may be there any number of times: attestations, artifacts without platform, indexes.
   */
  readonly place: string | undefined;
}

/** An index that exists, and what to call it in messages. */
export interface ExistingIndex {
  readonly descriptor: Descriptor;
  readonly bytes: Buffer;
  readonly from: string;
}

/** By this annotation podman tells apart images that differ in the compression of their layers alone. */
const compressionMark = 'io.github.containers.compression.zstd';

/** A platform as the image-spec writes it (image-index.md, `platform`), fields in its order. */
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
 * The platform fields of an image config as they stand there, which is what docker and oras put into an index; undefined where
 * it names no platform, as configs of artifacts do.
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
 * An entry as airlift writes it into an index of its own making: with Go's name for the architecture, which is all that most
 * readers know (`amd64`, not `x86_64`). Other fields stay as they are.
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
 * A child out of JSON.
 * @throws AirliftError `input` where it is no descriptor
 */
export function childOfEntry(entry: Json, from: string): IndexChild {
  const descriptor = parseDescriptor(entry, `index entry of ${from}`);
  return { entry, from, descriptor, place: placeOf(descriptor) };
}

/** A child made of a manifest, with the platform to say of it, as the image-spec writes one. */
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
 * The children of an index, each with every field of its entry.
 * @throws AirliftError `input` where the index or one of its entries is malformed
 */
export function childrenOf({ bytes, from }: ExistingIndex): IndexChild[] {
  const { manifests } = parseJsonObject(bytes, `index ${from}`);
  if (!Array.isArray(manifests))
    throw new AirliftError('input', `parse index ${from}: index has no manifests`);
  refuseMore(manifests, `index ${from}`);
  return (manifests as Json[]).map((entry) => childOfEntry(entry, from));
}

/** The platform that a child is for, as people read it. */
export function platformName({ platform }: Descriptor): string {
  return platform === undefined ? 'no platform' : formatPlatform(platform);
}

/** A child with the fields and annotations that only the other one has put behind its own; itself where there are none. */
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

/** Children in an order that does not depend on how they came: by platform, attestations in the order of their images, others. */
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
