import { AirliftError } from '../errors.js';
import type { Descriptor } from '../oci/descriptor.js';
import { algorithmOf, hexOf, type Digest } from '../oci/digest.js';
import { parseManifest, type Index } from '../oci/manifest.js';
import { isIndex, ociIndex } from '../oci/media-types.js';
import type { RegistryClient } from './client.js';
import { addressOf, type Endpoint } from './endpoint.js';
import type { Manifests } from './manifests.js';
import { pages } from './pages.js';
import { repositoryScope } from './scope.js';
import { headerOf, type WireAnswer } from './wire.js';

/** Statuses by which registries without the referrers API answer. */
const noApi: ReadonlySet<number> = new Set([400, 404, 405, 406, 501]);

/** The tag under which referrers stand in registries without the API (distribution-spec, "Referrers Tag Schema"). */
export function referrersTag(digest: Digest): string {
  return `${algorithmOf(digest).slice(0, 32)}-${hexOf(digest).slice(0, 64)}`;
}

function asIndex(bytes: Uint8Array, mediaType: string, what: string): Index {
  const parsed = parseManifest(bytes, mediaType, what);
  if (parsed.kind === 'index') return parsed;
  throw new AirliftError('registry', `parse ${what}: not an image index`);
}

function hasIndex(answer: WireAnswer): boolean {
  return isIndex((headerOf(answer, 'content-type') ?? '').split(';')[0]?.trim() ?? '');
}

export interface ReferrersCall {
  readonly endpoint: Endpoint;
  readonly digest: Digest;
  readonly doing: string;
  readonly signal?: AbortSignal | undefined;
}

/**
 * What refers to a digest: by the API, page by page, or from the fallback tag (distribution-spec, "Listing Referrers").
 * A repository without referrers, or none at all, gives an empty list.
 */
export async function* listReferrers(
  client: RegistryClient,
  manifests: Manifests,
  call: ReferrersCall,
): AsyncGenerator<Descriptor> {
  const { endpoint, digest, doing, signal } = call;
  const url = addressOf(endpoint, `referrers/${digest}`);
  const scopes = repositoryScope(endpoint.repository, 'pull');
  const request = {
    endpoint,
    method: 'GET' as const,
    url,
    headers: { accept: ociIndex },
    scopes,
    doing,
    signal,
  };
  const isMissing = (answer: WireAnswer): boolean =>
    noApi.has(answer.status) || (answer.status === 200 && !hasIndex(answer));
  let hasApi = false;
  for await (const { bytes } of pages(client, request, 'referrers', isMissing)) {
    hasApi = true;
    yield* asIndex(bytes, ociIndex, `referrers of ${digest}`).manifests;
  }
  if (hasApi) return;
  const fallback = { endpoint, name: referrersTag(digest), doing, signal };
  let index: Index;
  try {
    const { bytes, descriptor } = await manifests.get(fallback);
    index = asIndex(bytes, descriptor.mediaType, `referrers of ${digest}`);
  } catch (error) {
    if (error instanceof AirliftError && error.code === 'not-found') return;
    throw error;
  }
  yield* index.manifests;
}
