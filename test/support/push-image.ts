import type { Content } from './content.js';
import type { TestImage } from './images.js';
import { askRegistry, type Access, type Answer } from './registry-http.js';

function expectStatus(answer: Answer, what: string, ...want: number[]): void {
  if (!want.includes(answer.status))
    throw new Error(
      `${what}: got ${answer.status} ${answer.body.toString().slice(0, 500)}, want ${want.join(' or ')}`,
    );
}

/** Pushes a blob to a repository that does not have it. */
export async function pushBlob(
  host: string,
  repository: string,
  blob: Content,
  access: Access = {},
): Promise<void> {
  const base = `/v2/${repository}/blobs`;
  const head = await askRegistry(host, { method: 'HEAD', path: `${base}/${blob.digest}` }, access);
  if (head.status === 200) return;
  const started = await askRegistry(host, { method: 'POST', path: `${base}/uploads/` }, access);
  expectStatus(started, `begin upload to ${repository}`, 202);
  const url = new URL(started.headers.location ?? '', `http${access.ca === undefined ? '' : 's'}://${host}`);
  url.searchParams.set('digest', blob.digest);
  const headers = { 'content-type': 'application/octet-stream' };
  const put = await askRegistry(host, { method: 'PUT', path: url.href, headers, body: blob }, access);
  expectStatus(put, `upload ${blob.digest} to ${repository}`, 201);
}

/**
 * Pushes an image with all its content to a repository. The root gets `tag`; if undefined, it is pushed by digest only.
 */
export async function pushImage(
  host: string,
  repository: string,
  tag: string | undefined,
  image: TestImage,
  access: Access = {},
): Promise<void> {
  for (const blob of image.blobs.values()) await pushBlob(host, repository, blob, access);
  for (const manifest of image.manifests.values()) {
    const isRoot = manifest.digest === image.root.digest;
    const reference = isRoot && tag !== undefined ? tag : manifest.digest;
    const headers = { 'content-type': manifest.mediaType };
    const path = `/v2/${repository}/manifests/${reference}`;
    const put = await askRegistry(host, { method: 'PUT', path, headers, body: manifest }, access);
    expectStatus(put, `put manifest ${repository}:${reference}`, 201);
  }
}
