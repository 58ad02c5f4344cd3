import { join } from 'node:path';
import { algorithmOf, digestOf, hexOf, isDigest, type Digest } from '../oci/digest.js';

/**
 * The paths of a DirectoryStore. No component of a repository path begins with `_`, so the files of a repository cannot be mistaken for a
 * repository below it.
 *
 *     blobs/<algorithm>/<hex>                       content of blobs and manifests, once for all repositories
 *     incoming/                                     uploads and files being written
 *     repositories/<path>/_blobs/<digest>           empty: the repository holds the blob
 *     repositories/<path>/_manifests/<digest>       the manifest's media type
 *     repositories/<path>/_referrers/<digest>/<digest>   a referrer's descriptor, under its subject
 *     repositories/<path>/_tags/<tag>               the digest that the tag points to
 *
 * In file names a digest is written `sha256-<hex>`.
 */
export class StoreLayout {
  readonly contents: string;
  readonly repositories: string;
  readonly incoming: string;

  constructor(readonly root: string) {
    this.contents = join(root, 'blobs');
    this.repositories = join(root, 'repositories');
    this.incoming = join(root, 'incoming');
  }

  content(digest: Digest): string {
    return join(this.contents, algorithmOf(digest), hexOf(digest));
  }

  repository(repository: string): string {
    return join(this.repositories, ...repository.split('/'));
  }

  blobs(repository: string): string {
    return join(this.repository(repository), '_blobs');
  }

  blob(repository: string, digest: Digest): string {
    return join(this.blobs(repository), fileNameOf(digest));
  }

  manifests(repository: string): string {
    return join(this.repository(repository), '_manifests');
  }

  manifest(repository: string, digest: Digest): string {
    return join(this.manifests(repository), fileNameOf(digest));
  }

  /** The folder with a folder of referrers for each subject. */
  subjects(repository: string): string {
    return join(this.repository(repository), '_referrers');
  }

  referrers(repository: string, subject: Digest): string {
    return join(this.subjects(repository), fileNameOf(subject));
  }

  referrer(repository: string, subject: Digest, digest: Digest): string {
    return join(this.referrers(repository, subject), fileNameOf(digest));
  }

  tags(repository: string): string {
    return join(this.repository(repository), '_tags');
  }

  tag(repository: string, tag: string): string {
    return join(this.tags(repository), tag);
  }

  /** The file of an upload. Its name contains the repository, so that the id is invalid in any other. */
  upload(repository: string, id: string): string {
    return join(this.incoming, `${id}.${hexOf(digestOf(Buffer.from(repository))).slice(0, 16)}`);
  }
}

function fileNameOf(digest: Digest): string {
  return `${algorithmOf(digest)}-${hexOf(digest)}`;
}

/** Parses the digest in a file name; undefined for any other name. */
export function digestOfFileName(name: string): Digest | undefined {
  const digest = name.replace('-', ':');
  return isDigest(digest) ? digest : undefined;
}
