import { isDigest, type Digest } from '../oci/digest.js';
import { isTag } from '../oci/reference.js';
import type { Call } from './call.js';
import { BlobDownload, type Downloads } from './blob-download.js';
import { requestedRange } from './range.js';
import { refuse, type Reply, type StreamedBody } from './reply.js';
import type { ContentStore, StoredBlob } from './store-content.js';

/** Resolves a tag or digest to a digest; undefined if the repository has no such tag. */
export async function digestOfReference(
  store: ContentStore,
  repository: string,
  reference: string,
): Promise<Digest | undefined> {
  if (isDigest(reference)) return reference;
  return isTag(reference) ? await store.resolveTag(repository, reference) : undefined;
}

/** Answers GET and HEAD of a manifest (distribution-spec, "Pulling manifests"). */
export async function pullManifest(call: Call, repository: string, reference: string): Promise<Reply> {
  const digest = await digestOfReference(call.store, repository, reference);
  // A client that finds out that content exists does not push it.
  const keeper = call.method === 'HEAD' ? call.store.push : undefined;
  const manifest =
    digest === undefined
      ? undefined
      : await (keeper?.keepManifest(repository, digest) ?? call.store.manifest(repository, digest));
  if (manifest === undefined)
    return refuse(404, 'MANIFEST_UNKNOWN', `no manifest ${reference} in ${repository}`);
  const headers = {
    'Content-Type': manifest.mediaType,
    'Docker-Content-Digest': manifest.digest,
    ETag: `"${manifest.digest}"`,
  };
  if (call.request.headers['if-none-match'] === headers.ETag) return { status: 304, headers };
  return { status: 200, headers, body: manifest.bytes };
}

/** Answers GET and HEAD of a blob or a range of it (distribution-spec, "Pulling blobs"). */
export async function pullBlob(call: Call, repository: string, text: string): Promise<Reply> {
  if (!isDigest(text)) return refuse(400, 'DIGEST_INVALID', 'not a sha256 or sha512 digest');
  const { push } = call.store;
  const blob =
    call.method === 'HEAD' && push !== undefined
      ? await push.keepBlob(repository, text)
      : await call.store.blob(repository, text);
  if (blob === undefined) return refuse(404, 'BLOB_UNKNOWN', `no blob ${text} in ${repository}`);
  const etag = `"${text}"`;
  const headers = {
    'Accept-Ranges': 'bytes',
    'Cache-Control': 'max-age=31536000, immutable',
    'Docker-Content-Digest': text,
    ETag: etag,
  };
  if (call.request.headers['if-none-match'] === etag) return { status: 304, headers };
  const full = { ...headers, 'Content-Type': 'application/octet-stream', 'Content-Length': blob.size };
  if (call.method === 'HEAD') return { status: 200, headers: full };
  const range = requestedRange(call.request.headers, blob.size, etag);
  if (range === 'unsatisfiable') {
    return refuse(416, 'SIZE_INVALID', `no such range; the blob has ${blob.size} bytes`, {
      'Content-Range': `bytes */${blob.size}`,
    });
  }
  if (range === undefined) {
    return { status: 200, headers: full, body: await contentOf(blob, call.downloads, text, 0, blob.size) };
  }
  const part = {
    ...full,
    'Content-Length': range.end - range.start,
    'Content-Range': `bytes ${range.start}-${range.end - 1}/${blob.size}`,
  };
  return {
    status: 206,
    headers: part,
    body: await contentOf(blob, call.downloads, text, range.start, range.end),
  };
}

/** Reads a blob or a range of it. A large blob is sent completely only if its content is right. */
async function contentOf(
  { content, size }: StoredBlob,
  downloads: Downloads,
  digest: Digest,
  start: number,
  end: number,
): Promise<Uint8Array | StreamedBody> {
  if (content instanceof Uint8Array) return content.subarray(start, end);
  return new BlobDownload(await content(), { digest, size, start, end }, downloads);
}
