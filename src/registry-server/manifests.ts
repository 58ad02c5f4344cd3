import type { IncomingMessage } from 'node:http';
import { isAirliftError } from '../errors.js';
import type { Descriptor } from '../oci/descriptor.js';
import { algorithmOf, digestOf, isDigest } from '../oci/digest.js';
import { blobsOf, maxManifestSize, parseManifest, type Index, type Manifest } from '../oci/manifest.js';
import { isForeignLayer } from '../oci/media-types.js';
import { isTag } from '../oci/reference.js';
import type { PushCall } from './call.js';
import { digestOfReference } from './pull.js';
import { refuse, type Reply } from './reply.js';
import type { PushedManifest } from './store-content.js';

/** Answers PUT of a manifest by tag, or by digest with optional `tag` parameters (distribution-spec, "Pushing Manifests"). */
export async function pushManifest(call: PushCall, repository: string, reference: string): Promise<Reply> {
  const byDigest = isDigest(reference);
  const tags = byDigest ? call.query.getAll('tag') : [reference];
  if (!tags.every(isTag)) return refuse(400, 'MANIFEST_INVALID', 'not a tag or digest');
  const bytes = await readManifest(call.request);
  if (bytes === undefined)
    return refuse(413, 'SIZE_INVALID', `manifest too large; want at most ${maxManifestSize} bytes`);
  const digest = digestOf(bytes, byDigest ? algorithmOf(reference) : 'sha256');
  if (byDigest && digest !== reference)
    return refuse(400, 'DIGEST_INVALID', `digest mismatch; got ${digest}, want ${reference}`);
  const parsed = parse(bytes, mediaTypeOf(call.request));
  if ('status' in parsed) return parsed;
  const missing = await missingContent(call, repository, parsed);
  if (missing !== undefined)
    return refuse(
      400,
      'MANIFEST_BLOB_UNKNOWN',
      `the manifest names ${missing}, which is missing in ${repository}`,
    );
  const { mediaType, subject } = parsed;
  const descriptor = { mediaType, digest, size: bytes.length, ...shownInReferrers(parsed) };
  const referrer = subject === undefined ? undefined : { subject: subject.digest, descriptor };
  const manifest: PushedManifest = { digest, mediaType, bytes, referrer };
  await call.push.putManifest(repository, manifest, tags);
  return {
    status: 201,
    headers: {
      Location: `/v2/${repository}/manifests/${digest}`,
      'Docker-Content-Digest': digest,
      ...(subject === undefined ? {} : { 'OCI-Subject': subject.digest }),
      ...(byDigest && tags.length > 0 ? { 'OCI-Tag': tags } : {}),
    },
  };
}

/** Answers DELETE of a manifest by digest, or of a tag (distribution-spec, "Content Management"). */
export async function deleteManifest(call: PushCall, repository: string, reference: string): Promise<Reply> {
  const unknown = refuse(404, 'MANIFEST_UNKNOWN', `no manifest ${reference} in ${repository}`);
  if (!isDigest(reference)) {
    const held = isTag(reference) && (await call.push.deleteTag(repository, reference));
    return held ? { status: 202 } : unknown;
  }
  const digest = await digestOfReference(call.store, repository, reference);
  const manifest = digest === undefined ? undefined : await call.store.manifest(repository, digest);
  if (manifest === undefined) return unknown;
  const parsed = parse(manifest.bytes, manifest.mediaType);
  const subject = 'status' in parsed ? undefined : parsed.subject?.digest;
  return (await call.push.deleteManifest(repository, manifest.digest, subject)) ? { status: 202 } : unknown;
}

/** Reads the body; undefined if it is larger than a manifest may be. */
async function readManifest(request: IncomingMessage): Promise<Buffer | undefined> {
  if (Number(request.headers['content-length'] ?? 0) > maxManifestSize) return undefined;
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxManifestSize) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function mediaTypeOf(request: IncomingMessage): string | undefined {
  return request.headers['content-type']?.replace(/;.*$/s, '').trim();
}

function parse(bytes: Uint8Array, mediaType: string | undefined): Manifest | Index | Reply {
  try {
    const parsed = parseManifest(bytes, mediaType, 'manifest');
    return mediaType === undefined || parsed.mediaType === mediaType
      ? parsed
      : refuse(
          400,
          'MANIFEST_INVALID',
          `Content-Type and media type differ; got ${mediaType}, want ${parsed.mediaType}`,
        );
  } catch (error) {
    if (isAirliftError(error, 'unsupported')) return refuse(415, 'UNSUPPORTED', error.message);
    if (isAirliftError(error)) return refuse(400, 'MANIFEST_INVALID', error.message);
    throw error;
  }
}

/** Protects the blobs and children of a manifest from a prune. Returns the first one that is missing and must not be. */
async function missingContent(
  call: PushCall,
  repository: string,
  parsed: Manifest | Index,
): Promise<string | undefined> {
  if (parsed.kind === 'index') {
    for (const { digest } of parsed.manifests) {
      const isHeld =
        (await call.push.keepManifest(repository, digest)) !== undefined ||
        (await call.push.keepBlob(repository, digest)) !== undefined;
      if (!isHeld && call.options.allowSparse !== true) return digest;
    }
    return undefined;
  }
  for (const blob of blobsOf(parsed)) {
    const elsewhere = isForeignLayer(blob.mediaType) && blob.urls !== undefined;
    const held = await call.push.keepBlob(repository, blob.digest);
    if (held === undefined && !elsewhere && call.options.allowMissingBlobs !== true) return blob.digest;
  }
  return undefined;
}

/** The fields of a manifest for its descriptor in a list of referrers. Without an artifact type, the config's media type takes its place. */
function shownInReferrers(parsed: Manifest | Index): Pick<Descriptor, 'artifactType' | 'annotations'> {
  const config = parsed.kind === 'manifest' ? parsed.config?.mediaType : undefined;
  return { artifactType: parsed.artifactType ?? config, annotations: parsed.annotations };
}
