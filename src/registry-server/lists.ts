import type { Descriptor } from '../oci/descriptor.js';
import { isDigest } from '../oci/digest.js';
import { maxManifestSize } from '../oci/manifest.js';
import { ociIndex } from '../oci/media-types.js';
import type { Call } from './call.js';
import { json, refuse, type Reply } from './reply.js';
import type { Page } from './store-content.js';

/** Default and largest number of entries of a page. */
const defaultLimit = 1000;
const largestLimit = 10_000;
/** Approximate limit in bytes for one list of referrers: clients bound it as they bound a manifest. */
const referrersBytes = maxManifestSize / 2;

/** Reads the page from the parameters `n` and `last`; undefined if `n` is not a number. */
function requestedPage(query: URLSearchParams): Page | undefined {
  const n = query.get('n') ?? String(defaultLimit);
  if (!/^\d{1,9}$/.test(n)) return undefined;
  return { after: query.get('last') ?? undefined, limit: Math.min(Number(n), largestLimit) };
}

/** Cuts a list to `limit` entries and links to the next page (RFC 8288, section 3). The list has one entry more if there is a next page. */
function cut(
  path: string,
  found: string[],
  limit: number,
): { names: string[]; headers: Record<string, string> } {
  const last = found[limit - 1];
  if (found.length <= limit || last === undefined) return { names: found.slice(0, limit), headers: {} };
  const next = `<${path}?n=${limit}&last=${encodeURIComponent(last)}>; rel="next"`;
  return { names: found.slice(0, limit), headers: { Link: next } };
}

const badNumber = (): Reply => refuse(400, 'PAGINATION_NUMBER_INVALID', 'n is not a number');

/** Answers GET of the repository list, sorted, in pages. */
export async function listRepositories(call: Call): Promise<Reply> {
  const page = requestedPage(call.query);
  if (page === undefined) return badNumber();
  const found = await call.store.repositories({ ...page, limit: page.limit + 1 });
  const { names, headers } = cut('/v2/_catalog', found, page.limit);
  return json(200, { repositories: names }, headers);
}

/** Answers GET of the tags of a repository (distribution-spec, "Listing Tags"). */
export async function listTags(call: Call, repository: string): Promise<Reply> {
  const page = requestedPage(call.query);
  if (page === undefined) return badNumber();
  const found = await call.store.tags(repository, { ...page, limit: page.limit + 1 });
  if (found === undefined) return refuse(404, 'NAME_UNKNOWN', `no repository ${repository}`);
  const { names, headers } = cut(`/v2/${repository}/tags/list`, found, page.limit);
  return json(200, { name: repository, tags: names }, headers);
}

/** Answers GET of the referrers of a digest (distribution-spec, "Listing Referrers"), optionally filtered by `artifactType`. */
export async function listReferrers(call: Call, repository: string, text: string): Promise<Reply> {
  if (!isDigest(text)) return refuse(400, 'DIGEST_INVALID', 'not a sha256 or sha512 digest');
  const artifactType = call.query.get('artifactType') ?? undefined;
  const manifests: Descriptor[] = [];
  const headers: Record<string, string> =
    artifactType === undefined ? {} : { 'OCI-Filters-Applied': 'artifactType' };
  let bytes = 0;
  for await (const descriptor of call.store.referrers(
    repository,
    text,
    call.query.get('last') ?? undefined,
  )) {
    if (artifactType !== undefined && descriptor.artifactType !== artifactType) continue;
    const last = manifests.at(-1);
    if (last !== undefined && bytes >= referrersBytes) {
      const query = new URLSearchParams(artifactType === undefined ? {} : { artifactType });
      query.set('last', last.digest);
      headers['Link'] = `</v2/${repository}/referrers/${text}?${query.toString()}>; rel="next"`;
      break;
    }
    manifests.push(descriptor);
    bytes += JSON.stringify(descriptor).length;
  }
  const index = { schemaVersion: 2, mediaType: ociIndex, manifests };
  return json(200, index, headers, ociIndex);
}
