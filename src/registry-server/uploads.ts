import type { OutgoingHttpHeaders } from 'node:http';
import { isAirliftError } from '../errors.js';
import { algorithmOf, isDigest, type Digest } from '../oci/digest.js';
import { isRepositoryPath } from '../oci/reference.js';
import type { PushCall } from './call.js';
import { chunkRange } from './range.js';
import { refuse, type Reply } from './reply.js';
import type { UploadState } from './store-content.js';

/** Headers with the location and size of an upload. An empty one gets `0-0`, as with other registries: the form cannot express "none". */
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

/** Answers POST: begins an upload, accepts a whole blob, or mounts one (distribution-spec, "Pushing blobs", "Mounting a blob"). */
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
  if (digest !== null) return await receiveWhole(call, repository, upload, digest);
  return { status: 202, headers: uploadHeaders(repository, upload) };
}

/** Accepts a blob in one request. If it breaks off, the upload is dropped, since the client does not know its location. */
async function receiveWhole(
  call: PushCall,
  repository: string,
  upload: UploadState,
  digest: Digest,
): Promise<Reply> {
  try {
    await call.push.append(repository, upload.id, call.request);
  } catch (error) {
    // The first error matters, not whether dropping the upload succeeds.
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

/** Answers GET of the state of an upload. */
export async function uploadStatus(call: PushCall, repository: string, id: string): Promise<Reply> {
  const upload = await call.push.upload(repository, id);
  return upload === undefined ? unknownUpload() : { status: 204, headers: uploadHeaders(repository, upload) };
}

/** Answers DELETE of an upload. */
export async function cancelUpload(call: PushCall, repository: string, id: string): Promise<Reply> {
  try {
    await call.push.cancelUpload(repository, id);
  } catch (error) {
    if (isAirliftError(error, 'not-found')) return unknownUpload();
    throw error;
  }
  return { status: 204 };
}

/** Answers PATCH: appends a chunk, or a stream of unknown length (distribution-spec, "Pushing a blob in chunks"). */
export async function continueUpload(call: PushCall, repository: string, id: string): Promise<Reply> {
  const received = await receiveChunk(call, repository, id);
  return 'status' in received ? received : { status: 202, headers: uploadHeaders(repository, received) };
}

/** Answers PUT: appends the last chunk, if there is one, and turns the upload into a blob. */
export async function finishUpload(call: PushCall, repository: string, id: string): Promise<Reply> {
  const digest = call.query.get('digest');
  if (!isDigest(digest)) return badDigest();
  const { headers } = call.request;
  const hasBody = headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0;
  if (hasBody || headers['content-range'] !== undefined) {
    const received = await receiveChunk(call, repository, id);
    if ('status' in received) return received;
  }
  return await finish(call, repository, id, digest);
}

async function receiveChunk(call: PushCall, repository: string, id: string): Promise<UploadState | Reply> {
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
  const contentLength = request.headers['content-length'];
  if (length !== undefined && contentLength !== undefined && Number(contentLength) !== length)
    return refuse(
      400,
      'SIZE_INVALID',
      `Content-Range has ${length} bytes, Content-Length is ${contentLength}`,
    );
  try {
    return await push.append(repository, id, request, length);
  } catch (error) {
    if (isAirliftError(error, 'not-found')) return unknownUpload();
    if (isAirliftError(error, 'size-mismatch')) return refuse(400, 'SIZE_INVALID', error.message);
    throw error;
  }
}

/** Answers DELETE of a blob: removes it from the repository (distribution-spec, "Deleting Blobs"). */
export async function deleteBlob(call: PushCall, repository: string, text: string): Promise<Reply> {
  if (!isDigest(text)) return badDigest();
  if (await call.push.deleteBlob(repository, text)) return { status: 202 };
  return refuse(404, 'BLOB_UNKNOWN', `no blob ${text} in ${repository}`);
}
