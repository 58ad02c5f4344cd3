import { AirliftError } from '../errors.js';
import type { Descriptor } from './descriptor.js';
import { digestOf, type Digest } from './digest.js';
import { withGoNames, type Json } from './index-child.js';
import { attestationSubject, parseJsonObject } from './manifest.js';
import { formatPlatform, isUnknown, matchPlatform, type Platform } from './platform.js';

/** Returns the digest of the image that an attestation describes (BuildKit's attestation storage); undefined for other descriptors. */
export function describedBy(descriptor: Descriptor): string | undefined {
  const subject = descriptor.annotations?.[attestationSubject];
  return subject !== undefined && (descriptor.platform === undefined || isUnknown(descriptor.platform))
    ? subject
    : undefined;
}

/** The leaves of an index tree to keep, and the wanted platforms that no leaf has. */
export interface Selection {
  readonly kept: ReadonlySet<Digest>;
  readonly missing: readonly Platform[];
  /** The available platforms, for messages. */
  readonly available: readonly string[];
}

/**
 * Selects leaves (manifests) of an index tree. An attestation is kept with the image that it describes; leaves without a platform,
 * such as artifacts, are always kept.
 */
export function selectPlatforms(leaves: readonly Descriptor[], wanted: readonly Platform[]): Selection {
  const images = leaves.filter((leaf) => leaf.platform !== undefined && !isUnknown(leaf.platform));
  const isImage = new Set(images);
  const kept = new Set<Digest>();
  const missing: Platform[] = [];
  for (const platform of wanted) {
    const found = matchPlatform(platform, images);
    if (found.length === 0) missing.push(platform);
    for (const leaf of found) kept.add(leaf.digest);
  }
  for (const leaf of leaves) {
    if (isImage.has(leaf)) continue;
    const subject = describedBy(leaf);
    if (subject === undefined || (kept as ReadonlySet<string>).has(subject)) kept.add(leaf.digest);
  }
  const available = [
    ...new Set(
      images.flatMap((leaf) => (leaf.platform === undefined ? [] : [formatPlatform(leaf.platform)])),
    ),
  ];
  return { kept, missing, available };
}

/**
 * Writes a copy of an index with some children left out or replaced. It has the same media type and other fields, as compact JSON,
 * so that the same choice always gives the same bytes.
 * @param replaceChild returns the digest and size to write for a child, or undefined to leave it out
 */
export function filterIndex(
  bytes: Uint8Array,
  descriptor: Descriptor,
  replaceChild: (digest: string) => Pick<Descriptor, 'digest' | 'size'> | undefined,
): { descriptor: Descriptor; bytes: Buffer } {
  const what = `index ${descriptor.digest}`;
  const json = parseJsonObject(bytes, what);
  if (!Array.isArray(json['manifests']))
    throw new AirliftError('input', `filter ${what}: index has no manifests`);
  const children = (json['manifests'] as Json[]).flatMap((child) => {
    const replaced = replaceChild(String(child['digest']));
    const { digest, size } = replaced ?? {};
    return replaced === undefined ? [] : [withGoNames({ ...child, digest, size })];
  });
  const filtered = Buffer.from(JSON.stringify({ ...json, manifests: children }));
  return {
    descriptor: { ...descriptor, digest: digestOf(filtered), size: filtered.byteLength },
    bytes: filtered,
  };
}
