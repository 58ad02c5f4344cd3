import { isDigest, type Digest } from './digest.js';

/**
 * The digest that one of cosign's tags is made of (`sha256-<hex>.sig`, `.att`, `.sbom`; cosign's SIGNATURE_SPEC); undefined for
 * every other tag.
 */
export function subjectOfTag(tag: string | undefined): Digest | undefined {
  const [, hex] = /^sha256-([0-9a-f]{64})\.(?:sig|att|sbom)$/.exec(tag ?? '') ?? [];
  const digest = `sha256:${hex}`;
  return isDigest(digest) ? digest : undefined;
}

/** Whether an image is called by one of these tags: what hangs on another image is no image that anybody asked for. */
export function isCompanionTag(tag: string | undefined): boolean {
  return subjectOfTag(tag) !== undefined;
}
