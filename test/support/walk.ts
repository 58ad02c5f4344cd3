/** Reads the content of registries and OCI layouts independently of airlift, to prove that nothing was lost or changed. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createReadStream, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DescriptorJson, TestImage } from './images.js';
import { acceptManifests, askRegistry, type Access } from './registry-http.js';

/** Content found under a digest: its size, and its sha256 (whatever the digest's algorithm). */
export interface Found {
  readonly mediaType: string;
  readonly size: number;
  readonly sha256: string;
}

/** All content below a root, by digest. A foreign layer that exists only at its `urls` is `absent`. */
export type Walk = Map<string, Found | 'absent'>;

interface ManifestJson {
  readonly mediaType?: string;
  readonly config?: DescriptorJson;
  readonly layers?: readonly DescriptorJson[];
  readonly blobs?: readonly DescriptorJson[];
  readonly manifests?: readonly DescriptorJson[];
}

/** Reads content in chunks; returns false if it is missing. */
type Read = (
  descriptor: DescriptorJson,
  isManifest: boolean,
  onChunk: (chunk: Uint8Array) => void,
) => Promise<boolean>;

const manifestType = /manifest|image\.index/;

async function walkFrom(root: DescriptorJson, read: Read, walk: Walk): Promise<void> {
  if (walk.has(root.digest)) return;
  const isManifest = manifestType.test(root.mediaType);
  const algorithm = root.digest.slice(0, root.digest.indexOf(':'));
  const named = createHash(algorithm);
  const sha256 = createHash('sha256');
  const kept: Uint8Array[] = [];
  let size = 0;
  const isFound = await read(root, isManifest, (chunk) => {
    size += chunk.length;
    named.update(chunk);
    sha256.update(chunk);
    if (isManifest) kept.push(chunk);
  });
  if (!isFound) {
    assert.ok((root.urls ?? []).length > 0, `${root.mediaType} ${root.digest} is missing`);
    walk.set(root.digest, 'absent');
    return;
  }
  assert.equal(
    `${algorithm}:${named.digest('hex')}`,
    root.digest,
    `content of ${root.mediaType} does not match its digest`,
  );
  assert.equal(size, root.size, `size of ${root.mediaType} ${root.digest}`);
  walk.set(root.digest, { mediaType: root.mediaType, size, sha256: sha256.digest('hex') });
  if (!isManifest) return;
  const json = JSON.parse(Buffer.concat(kept).toString('utf8')) as ManifestJson;
  const children = [...(json.manifests ?? []), ...(json.layers ?? []), ...(json.blobs ?? [])];
  if (json.config !== undefined) children.unshift(json.config);
  for (const child of children) await walkFrom(child, read, walk);
}

const accept = `${acceptManifests}, application/vnd.oci.artifact.manifest.v1+json`;

/**
 * Reads all content below a tag or digest of a registry by HTTP requests, and recomputes every digest and size.
 * @throws AssertionError if content is missing or does not match its descriptor
 */
export async function walkRegistry(
  host: string,
  repository: string,
  reference: string,
  credentials: Access = {},
): Promise<{ readonly root: DescriptorJson; readonly content: Walk }> {
  const headers = { accept };
  const path = `/v2/${repository}/manifests/${reference}`;
  const answer = await askRegistry(host, { method: 'GET', path, headers }, credentials);
  assert.equal(answer.status, 200, `GET ${path}: ${answer.body.toString().slice(0, 300)}`);
  const algorithm = /^(sha\d+):/.exec(reference)?.[1] ?? 'sha256';
  const root = {
    mediaType: answer.headers['content-type'] ?? '',
    digest:
      `${algorithm}:${createHash(algorithm).update(answer.body).digest('hex')}` as DescriptorJson['digest'],
    size: answer.body.length,
  };
  const content: Walk = new Map();
  const read: Read = async (descriptor, isManifest, onChunk) => {
    const kind = isManifest ? 'manifests' : 'blobs';
    const at = `/v2/${repository}/${kind}/${descriptor.digest}`;
    const got = await askRegistry(host, { method: 'GET', path: at, headers, onChunk }, credentials);
    if (got.status === 404) return false;
    assert.equal(got.status, 200, `GET ${at}`);
    if (isManifest) assert.equal(got.headers['content-type'], descriptor.mediaType, `media type of ${at}`);
    return true;
  };
  await walkFrom(root, read, content);
  return { root, content };
}

/** Reads all content that the `index.json` of an OCI layout lists, and recomputes every digest and size. */
export async function walkLayout(
  dir: string,
): Promise<{ readonly roots: readonly DescriptorJson[]; readonly content: Walk }> {
  const index = JSON.parse(readFileSync(join(dir, 'index.json'), 'utf8')) as { manifests: DescriptorJson[] };
  const content: Walk = new Map();
  const read: Read = async (descriptor, _isManifest, onChunk) => {
    const path = join(dir, 'blobs', descriptor.digest.replace(':', '/'));
    if (!existsSync(path)) return false;
    for await (const chunk of createReadStream(path)) onChunk(chunk as Uint8Array);
    return true;
  };
  for (const root of index.manifests) await walkFrom(root, read, content);
  return { roots: index.manifests, content };
}

/** Returns the walk that is expected for an image built by a test. */
export async function walkImage(image: TestImage): Promise<Walk> {
  const content: Walk = new Map();
  const read: Read = (descriptor, isManifest, onChunk) => {
    const found = (isManifest ? image.manifests : image.blobs).get(descriptor.digest);
    if (found !== undefined) for (const chunk of found.open()) onChunk(chunk);
    return Promise.resolve(found !== undefined);
  };
  await walkFrom(image.root as DescriptorJson, read, content);
  return content;
}

/** Asserts that both walks found the same digests with the same content. */
export function sameContent(got: Walk, want: Walk): void {
  const sorted = (walk: Walk): [string, Found | 'absent'][] =>
    [...walk].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  assert.deepEqual(sorted(got), sorted(want));
}
