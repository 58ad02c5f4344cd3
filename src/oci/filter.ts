import { AirliftError } from '../errors.js';
import type { Descriptor } from './descriptor.js';
import { digestOf, type Digest } from './digest.js';
import { withGoNames, type Json } from './index-child.js';
import { attestationSubject, parseJsonObject } from './manifest.js';
import { formatPlatform, isUnknown, matchPlatform, type Platform } from './platform.js';

/** The digest of the image that an attestation child describes (BuildKit's attestation storage), where the descriptor is one. */
export function describedBy(descriptor: Descriptor): string | undefined {
  const subject = descriptor.annotations?.[attestationSubject];
  return subject !== undefined && (descriptor.platform === undefined || isUnknown(descriptor.platform))
    ? subject
    : undefined;
}

/** Which leaves of an index tree stay, and which wanted platforms no leaf answers. */
export interface Selection {
  readonly kept: ReadonlySet<Digest>;
  readonly missing: readonly Platform[];
  /** The platforms there are, for messages. */
  readonly available: readonly string[];
}

/**
 * Chooses among the leaves (manifests) of an index tree. Attestations follow the image they describe; leaves without a
 * platform, such as artifacts, always stay.
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
 * Writes an index anew with some children left out or replaced: same media type, all other fields kept, compact JSON, so that
 * the same choice always gives the same bytes.
 * @param replaceChild gives the digest and size to write for a child, or undefined to leave it out
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
