import { isDigest, type Digest } from './digest.js';

/**
 * Returns the digest in one of cosign's tags (`sha256-<hex>.sig`, `.att`, `.sbom`; cosign's SIGNATURE_SPEC); undefined for every
 * other tag.
 */
export function subjectOfTag(tag: string | undefined): Digest | undefined {
  const [, hex] = /^sha256-([0-9a-f]{64})\.(?:sig|att|sbom)$/.exec(tag ?? '') ?? [];
  const digest = `sha256:${hex}`;
  return isDigest(digest) ? digest : undefined;
}

/** Reports whether a tag is one of cosign's: such an image belongs to another and does not count as an image. */
export function isCompanionTag(tag: string | undefined): boolean {
  return subjectOfTag(tag) !== undefined;
}
