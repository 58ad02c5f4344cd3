import { algorithmOf, hexOf, isDigest, type Digest } from './digest.js';

/** The content of `oci-layout`, which marks an OCI image layout (OCI image-spec, image-layout.md, "oci-layout file"). */
export const layoutContent = '{"imageLayoutVersion":"1.0.0"}';

/** Returns the path of a blob in an OCI image layout (OCI image-spec, image-layout.md, "Blobs"). */
export function blobPath(digest: Digest): string {
  return `blobs/${algorithmOf(digest)}/${hexOf(digest)}`;
}

/** Returns the digest that a path in an OCI image layout names; undefined where it is not a blob's path. */
export function digestOfPath(path: string): Digest | undefined {
  const match = /^blobs\/([a-z0-9]+)\/([0-9a-f]+)$/.exec(path);
  const digest = match === null ? undefined : `${match[1]}:${match[2]}`;
  return isDigest(digest) ? digest : undefined;
}
