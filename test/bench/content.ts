/** Reads the content of registries and archives, independently of airlift, to compare it with the source. */
import assert from 'node:assert/strict';
import { mkdirSync, rmSync } from 'node:fs';
import { run } from '../support/peers.js';
import { sameContent, walkLayout, walkRegistry, type Walk } from '../support/walk.js';

/** The content of images in a registry. */
export interface Content {
  readonly walk: Walk;
  /** The digest of each image, by `REPOSITORY:TAG`. */
  readonly roots: ReadonlyMap<string, string>;
  /** A repository that has the content, by digest. */
  readonly repositories: ReadonlyMap<string, string>;
}

/** Reads all content of images in a registry, and recomputes every digest and size. */
export async function registryContent(host: string, images: readonly string[]): Promise<Content> {
  const walk: Walk = new Map();
  const roots = new Map<string, string>();
  const repositories = new Map<string, string>();
  for (const image of images) {
    const [repository = '', tag = ''] = image.split(':');
    const { root, content } = await walkRegistry(host, repository, tag);
    roots.set(image, root.digest);
    for (const [digest, found] of content) {
      walk.set(digest, found);
      repositories.set(digest, repository);
    }
  }
  return { walk, roots, repositories };
}

/** Asserts that a registry has the same images with the same content. */
export async function checkRegistry(host: string, want: Content): Promise<void> {
  const got = await registryContent(host, [...want.roots.keys()]);
  assert.deepEqual(got.roots, want.roots);
  sameContent(got.walk, want.walk);
}

/** Unpacks a tar of an OCI layout to `dir`, asserts that it has the same images with the same content, and removes `dir`. */
export async function checkLayoutTar(tar: string, dir: string, want: Content): Promise<void> {
  mkdirSync(dir, { recursive: true });
  try {
    await run('tar', ['-xf', tar, '-C', dir]);
    const { roots, content } = await walkLayout(dir);
    // oras lists the children of an index too.
    const listed = new Set<string>(roots.map(({ digest }) => digest));
    for (const [image, digest] of want.roots) assert.ok(listed.has(digest), `${image} is missing in ${tar}`);
    sameContent(content, want.walk);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
