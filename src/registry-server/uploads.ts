import type { OutgoingHttpHeaders } from 'node:http';
import { isAirliftError } from '../errors.js';
import { algorithmOf, isDigest, type Digest } from '../oci/digest.js';
import { isRepositoryPath } from '../oci/reference.js';
import type { PushCall } from './call.js';
import { chunkRange } from './range.js';
import { refuse, type Reply } from './reply.js';
import type { UploadState } from './store-content.js';

/** Where an upload is and what it holds. An empty one says `0-0`, as other registries do: the form has no way to say "none". */
function uploadHeaders(repository: string, { id, size }: UploadState): OutgoingHttpHeaders {
  return {
    Location: `/v2/${repository}/blobs/uploads/${id}`,
    Range: `0-${Math.max(0, size - 1)}`,
    'Docker-Upload-UUID': id,
  };
}

function created(repository: string, digest: Digest): Reply {
  const headers = { Location: `/v2/${repository}/blobs/${digest}`, 'Docker-Content-Digest': digest };
  return { status: 201, headers };
}

const unknownUpload = (): Reply => refuse(404, 'BLOB_UPLOAD_UNKNOWN', 'no such upload');
const badDigest = (): Reply => refuse(400, 'DIGEST_INVALID', 'not a sha256 or sha512 digest');

/** Answers POST: begins an upload, takes a whole blob, or mounts one (distribution-spec, "Pushing blobs", "Mounting a blob"). */
export async function startUpload(call: PushCall, repository: string): Promise<Reply> {
  const { push, query } = call;
  const mount = query.get('mount');
  const from = query.get('from') ?? undefined;
  if (isDigest(mount) && (from === undefined || isRepositoryPath(from))) {
    if (await push.mount(repository, mount, from)) return created(repository, mount);
  }
  const digest = query.get('digest');
  if (digest !== null && !isDigest(digest)) return badDigest();
  const named = digest === null ? query.get('digest-algorithm') : algorithmOf(digest);
  const upload = await push.startUpload(repository, named === 'sha512' ? named : 'sha256');
  if (digest !== null) return await takeWhole(call, repository, upload, digest);
  return { status: 202, headers: uploadHeaders(repository, upload) };
}

/** A blob in one request: if it breaks off, nobody knows the upload to go on with it. */
async function takeWhole(
  call: PushCall,
  repository: string,
  upload: UploadState,
  digest: Digest,
): Promise<Reply> {
  try {
    await call.push.append(repository, upload.id, call.request);
  } catch (error) {
    // What broke the upload off matters, not whether there is anything left to drop.
    await call.push.cancelUpload(repository, upload.id).catch(() => undefined);
    throw error;
  }
  return await finish(call, repository, upload.id, digest);
}

async function finish(call: PushCall, repository: string, id: string, digest: Digest): Promise<Reply> {
  try {
    await call.push.finishUpload(repository, id, digest);
  } catch (error) {
    if (isAirliftError(error, 'digest-mismatch')) return refuse(400, 'DIGEST_INVALID', error.message);
    if (isAirliftError(error, 'not-found')) return unknownUpload();
    throw error;
  }
  return created(repository, digest);
}

/** Answers GET: how far an upload is. */
export async function uploadStatus(call: PushCall, repository: string, id: string): Promise<Reply> {
  const upload = await call.push.upload(repository, id);
  return upload === undefined ? unknownUpload() : { status: 204, headers: uploadHeaders(repository, upload) };
}

/** Answers DELETE: drops an upload. */
export async function cancelUpload(call: PushCall, repository: string, id: string): Promise<Reply> {
  try {
    await call.push.cancelUpload(repository, id);
  } catch (error) {
    if (isAirliftError(error, 'not-found')) return unknownUpload();
    throw error;
  }
  return { status: 204 };
}

/** Answers PATCH: takes a chunk, or a stream of unknown length (distribution-spec, "Pushing a blob in chunks"). */
export async function continueUpload(call: PushCall, repository: string, id: string): Promise<Reply> {
  const taken = await takeChunk(call, repository, id);
  return 'status' in taken ? taken : { status: 202, headers: uploadHeaders(repository, taken) };
}

/** Answers PUT: takes the last chunk, where there is one, and makes the upload a blob. */
export async function finishUpload(call: PushCall, repository: string, id: string): Promise<Reply> {
  const digest = call.query.get('digest');
  if (!isDigest(digest)) return badDigest();
  const { headers } = call.request;
  const hasBody = headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
  if (hasBody || headers['content-range'] !== undefined) {
    const taken = await takeChunk(call, repository, id);
    if ('status' in taken) return taken;
  }
  return await finish(call, repository, id, digest);
}

async function takeChunk(call: PushCall, repository: string, id: string): Promise<UploadState | Reply> {
  const { request, push } = call;
  const range = chunkRange(request.headers);
  const upload = await push.upload(repository, id);
  if (upload === undefined) return unknownUpload();
  const outOfOrder = (happened: string): Reply =>
    refuse(416, 'BLOB_UPLOAD_INVALID', happened, uploadHeaders(repository, upload));
  if (range === 'malformed') return outOfOrder('Content-Range is not <first>-<last>');
  if (range !== undefined && range.start !== upload.size)
    return outOfOrder(`chunk out of order; got first byte ${range.start}, want ${upload.size}`);
  const length = range === undefined ? undefined : range.end - range.start;
  const told = request.headers['content-length'];
  if (length !== undefined && told !== undefined && Number(told) !== length)
    return refuse(400, 'SIZE_INVALID', `Content-Range has ${length} bytes, Content-Length says ${told}`);
  try {
    return await push.append(repository, id, request, length);
  } catch (error) {
    if (isAirliftError(error, 'not-found')) return unknownUpload();
    if (isAirliftError(error, 'size-mismatch')) return refuse(400, 'SIZE_INVALID', error.message);
    throw error;
  }
}

/** Answers DELETE of a blob: the repository forgets it (distribution-spec, "Deleting Blobs"). */
export async function deleteBlob(call: PushCall, repository: string, text: string): Promise<Reply> {
  if (!isDigest(text)) return badDigest();
  if (await call.push.deleteBlob(repository, text)) return { status: 202 };
  return refuse(404, 'BLOB_UNKNOWN', `no blob ${text} in ${repository}`);
}
