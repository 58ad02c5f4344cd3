import { AirliftError, isAirliftError } from '../../errors.js';
import { parseDescriptor, type Descriptor } from '../../oci/descriptor.js';
import { algorithmOf, digestOf, hexOf, type Digest } from '../../oci/digest.js';
import { verdictOf } from '../../oci/guess.js';
import { parseJsonObject, refuseMore } from '../../oci/manifest.js';
import { isIndex, ociIndex } from '../../oci/media-types.js';
import { isUnknown } from '../../oci/platform.js';
import { repositoryScope } from '../auth/scope.js';
import { addressOf, type Endpoint } from '../config/endpoint.js';
import { isHtml } from '../http/responses.js';
import type { RegistryClient } from './client.js';
import type { Guesses } from './guesses.js';
import type { Manifests } from './manifests.js';
import { readPages, type Page } from './pages.js';

/** Returns the tag that lists the referrers in a registry without the API (distribution-spec, "Referrers Tag Schema"). */
export function referrersTag(digest: Digest): string {
  return `${algorithmOf(digest).slice(0, 32)}-${hexOf(digest).slice(0, 64)}`;
}

/** A list of referrers. */
export interface ReferrersList {
  readonly json: Record<string, unknown>;
  readonly entries: readonly Descriptor[];
  /** Errors of malformed entries, which are skipped. */
  readonly skipped: readonly string[];
}

/**
 * Parses a list of referrers. The content decides what it is, not its media type: registries label it in many ways.
 * @returns undefined for content that is no such list: not JSON, the subject itself (GitLab resolves the tag `sha256-HEX` to the digest
 *   `sha256:HEX`), a manifest, or the index of an image, whose entries all have platforms
 * @throws AirliftError `registry` if a limit is exceeded
 */
export function parseReferrers(bytes: Uint8Array, subject: Digest): ReferrersList | undefined {
  const what = `referrers of ${subject}`;
  if (digestOf(bytes, algorithmOf(subject)) === subject) return undefined;
  let json: Record<string, unknown>;
  try {
    json = parseJsonObject(bytes, what);
  } catch (error) {
    // An error with a cause means that the content is not JSON; without one it exceeds a limit or is not an object.
    if (error instanceof AirliftError && (error.cause !== undefined || !startsLikeObject(bytes)))
      return undefined;
    throw asRegistryError(error);
  }
  const { mediaType, manifests } = json;
  const isOther = typeof mediaType === 'string' && mediaType !== '' && !isIndex(mediaType);
  if (isOther || 'config' in json || 'layers' in json || manifests === undefined) return undefined;
  if (manifests !== null && !Array.isArray(manifests)) return undefined;
  const listed: readonly unknown[] = manifests ?? [];
  const entries: Descriptor[] = [];
  const skipped: string[] = [];
  try {
    refuseMore(listed, what);
  } catch (error) {
    throw asRegistryError(error);
  }
  for (const [at, entry] of listed.entries()) {
    try {
      entries.push(parseDescriptor(entry, `${what}[${at}]`));
    } catch (error) {
      // A malformed entry must not hide the others.
      if (!isAirliftError(error, 'input')) throw error;
      skipped.push(error.message);
    }
  }
  const hasPlatform = ({ platform }: Descriptor): boolean => platform !== undefined && !isUnknown(platform);
  if (entries.length > 0 && entries.every(hasPlatform)) return undefined;
  return { json, entries: entries.filter(({ digest }) => digest !== subject), skipped };
}

function warnOfSkipped(client: RegistryClient, action: string, { skipped }: ReferrersList): void {
  const [first] = skipped;
  if (first === undefined) return;
  const what = skipped.length === 1 ? 'a malformed entry' : `${skipped.length} malformed entries, first`;
  client.warn(`${action}: skipped ${what}: ${first}`);
}

function asRegistryError(error: unknown): unknown {
  return error instanceof AirliftError
    ? new AirliftError('registry', error.message, { cause: error })
    : error;
}

function startsLikeObject(bytes: Uint8Array): boolean {
  return Buffer.from(bytes.subarray(0, 64)).toString('utf8').trimStart().startsWith('{');
}

export interface ReferrersCall {
  readonly endpoint: Endpoint;
  readonly digest: Digest;
  readonly action: string;
  readonly signal?: AbortSignal | undefined;
}

export interface ReferrersParts {
  readonly client: RegistryClient;
  readonly manifests: Manifests;
  readonly guesses: Guesses;
}

interface FirstPage {
  readonly entries: readonly Descriptor[];
  readonly rest: AsyncGenerator<Page>;
}

/**
 * Requests the first page from the referrers API.
 * @throws AirliftError `not-found` if the registry does not have the API
 */
function requestFirstPage({ client, guesses }: ReferrersParts, call: ReferrersCall): Promise<FirstPage> {
  const { endpoint, digest, action, signal } = call;
  const url = addressOf(endpoint, `referrers/${digest}`);
  const headers = { accept: ociIndex };
  const scopes = repositoryScope(endpoint.repository, 'pull');
  const request = { endpoint, method: 'GET' as const, url, headers, scopes, action, signal };
  return guesses.request(endpoint, url, async (policy) => {
    const rest = readPages(client, { ...request, ...policy }, 'referrers');
    const page = await rest.next();
    const list =
      page.done === true || isHtml(page.value.response)
        ? undefined
        : parseReferrers(page.value.bytes, digest);
    if (list === undefined)
      throw new AirliftError('not-found', `${action}: the response is not a list of referrers`);
    warnOfSkipped(client, action, list);
    return { entries: list.entries, rest };
  });
}

/**
 * Whether a registry has the referrers API.
 * @throws AirliftError if that remains unknown
 */
export async function hasReferrersApi(parts: ReferrersParts, call: ReferrersCall): Promise<boolean> {
  try {
    const { rest } = await requestFirstPage(parts, call);
    await rest.return(undefined);
    return true;
  } catch (error) {
    if (verdictOf(error) === 'absent') return false;
    throw error;
  }
}

/**
 * Reads the list under the fallback tag.
 * @throws AirliftError `not-found` if there is no such tag
 */
async function readFallbackTag(
  { client, manifests, guesses }: ReferrersParts,
  call: ReferrersCall,
): Promise<readonly Descriptor[]> {
  const { endpoint, digest, action, signal } = call;
  const name = referrersTag(digest);
  const { bytes } = await guesses.request(endpoint, addressOf(endpoint, `manifests/${name}`), (policy) =>
    manifests.get({ endpoint, name, action, signal, ...policy }),
  );
  const list = parseReferrers(bytes, digest);
  if (list === undefined) return [];
  warnOfSkipped(client, action, list);
  return list.entries;
}

/**
 * Lists the referrers of a digest: from the API, page by page, or from the fallback tag (distribution-spec, "Listing Referrers"). Errors
 * that mean "does not exist" (`verdictOf`) lead to an empty list.
 * @throws AirliftError if it remains unknown whether there are referrers; entries under the fallback tag are yielded before that
 */
export async function* listReferrers(parts: ReferrersParts, call: ReferrersCall): AsyncGenerator<Descriptor> {
  let apiError: AirliftError | undefined;
  let first: FirstPage | undefined;
  try {
    first = await requestFirstPage(parts, call);
  } catch (error) {
    const verdict = verdictOf(error);
    // A host that responded with an error may still have the list under the tag.
    if (verdict === 'unanswered' && error instanceof AirliftError && error.status !== undefined)
      apiError = error;
    else if (verdict !== 'absent') throw error;
  }
  if (first !== undefined) {
    yield* first.entries;
    for await (const { bytes } of first.rest) {
      const more = parseReferrers(bytes, call.digest);
      if (more === undefined)
        throw new AirliftError('registry', `${call.action}: a later page is not a list of referrers`);
      warnOfSkipped(parts.client, call.action, more);
      yield* more.entries;
    }
    return;
  }
  try {
    yield* await readFallbackTag(parts, call);
  } catch (error) {
    if (verdictOf(error) !== 'absent') throw apiError ?? error;
  }
  if (apiError !== undefined) throw apiError;
}
