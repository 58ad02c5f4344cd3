import { AirliftError, isAirliftError } from '../../errors.js';
import { parseDescriptor, type Descriptor } from '../../oci/descriptor.js';
import { algorithmOf, digestOf, hexOf, type Digest } from '../../oci/digest.js';
import { verdictOf } from '../../oci/guess.js';
import { parseJsonObject, refuseMore } from '../../oci/manifest.js';
import { isIndex, ociIndex } from '../../oci/media-types.js';
import { isUnknown } from '../../oci/platform.js';
import { isHtml } from '../http/answers.js';
import type { RegistryClient } from './client.js';
import { addressOf, type Endpoint } from '../config/endpoint.js';
import type { Guesses } from './guesses.js';
import type { Manifests } from './manifests.js';
import { pages, type Page } from './pages.js';
import { repositoryScope } from '../auth/scope.js';

/** The tag under which referrers stand in registries without the API (distribution-spec, "Referrers Tag Schema"). */
export function referrersTag(digest: Digest): string {
  return `${algorithmOf(digest).slice(0, 32)}-${hexOf(digest).slice(0, 64)}`;
}

/** A list of referrers. */
export interface ReferrersList {
  readonly json: Record<string, unknown>;
  readonly entries: readonly Descriptor[];
  /** Why entries that are no descriptors were skipped. */
  readonly skipped: readonly string[];
}

/**
 * Reads a list of referrers. Its content decides what it is, not its media type: registries label it in many ways.
 * @returns undefined where it is none: no JSON, the subject itself (GitLab resolves the tag `sha256-HEX` to the digest
 *   `sha256:HEX`), a manifest, or the index of an image, whose entries all have platforms
 * @throws AirliftError `registry` where a limit is exceeded
 */
export function parseReferrers(bytes: Uint8Array, subject: Digest): ReferrersList | undefined {
  const what = `referrers of ${subject}`;
  if (digestOf(bytes, algorithmOf(subject)) === subject) return undefined;
  let json: Record<string, unknown>;
  try {
    json = parseJsonObject(bytes, what);
  } catch (error) {
    // With a cause it is no JSON; without one it exceeds a limit, or is no object.
    if (error instanceof AirliftError && (error.cause !== undefined || !isJsonObjectLike(bytes)))
      return undefined;
    throw malformed(error);
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
    throw malformed(error);
  }
  for (const [at, entry] of listed.entries()) {
    try {
      entries.push(parseDescriptor(entry, `${what}[${at}]`));
    } catch (error) {
      // One bad entry hides no good one.
      if (!isAirliftError(error, 'input')) throw error;
      skipped.push(error.message);
    }
  }
  const isOfImages = ({ platform }: Descriptor): boolean => platform !== undefined && !isUnknown(platform);
  if (entries.length > 0 && entries.every(isOfImages)) return undefined;
  return { json, entries: entries.filter(({ digest }) => digest !== subject), skipped };
}

/** Warns of the entries that were skipped. */
function warnSkipped(client: RegistryClient, doing: string, { skipped }: ReferrersList): void {
  const [first] = skipped;
  if (first === undefined) return;
  const what = skipped.length === 1 ? 'a malformed entry' : `${skipped.length} malformed entries, first`;
  client.warn(`${doing}: skipped ${what}: ${first}`);
}

function malformed(error: unknown): unknown {
  return error instanceof AirliftError
    ? new AirliftError('registry', error.message, { cause: error })
    : error;
}

function isJsonObjectLike(bytes: Uint8Array): boolean {
  return Buffer.from(bytes.subarray(0, 64)).toString('utf8').trimStart().startsWith('{');
}

export interface ReferrersCall {
  readonly endpoint: Endpoint;
  readonly digest: Digest;
  readonly doing: string;
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

/** Asks the API for the first page. @throws AirliftError `not-found` where there is no API */
function askApi({ client, guesses }: ReferrersParts, call: ReferrersCall): Promise<FirstPage> {
  const { endpoint, digest, doing, signal } = call;
  const url = addressOf(endpoint, `referrers/${digest}`);
  const headers = { accept: ociIndex };
  const scopes = repositoryScope(endpoint.repository, 'pull');
  const request = { endpoint, method: 'GET' as const, url, headers, scopes, doing, signal };
  return guesses.ask(endpoint, url, async (patience) => {
    const rest = pages(client, { ...request, ...patience }, 'referrers');
    const page = await rest.next();
    const list =
      page.done === true || isHtml(page.value.answer) ? undefined : parseReferrers(page.value.bytes, digest);
    if (list === undefined)
      throw new AirliftError('not-found', `${doing}: the answer is no list of referrers`);
    warnSkipped(client, doing, list);
    return { entries: list.entries, rest };
  });
}

/**
 * Whether a registry has the referrers API.
 * @throws AirliftError where nobody knows
 */
export async function hasReferrersApi(parts: ReferrersParts, call: ReferrersCall): Promise<boolean> {
  try {
    const { rest } = await askApi(parts, call);
    await rest.return(undefined);
    return true;
  } catch (error) {
    if (verdictOf(error) === 'absent') return false;
    throw error;
  }
}

/** The entries under the fallback tag. @throws AirliftError `not-found` where there is no list */
async function askTag(
  { client, manifests, guesses }: ReferrersParts,
  call: ReferrersCall,
): Promise<readonly Descriptor[]> {
  const { endpoint, digest, doing, signal } = call;
  const name = referrersTag(digest);
  const { bytes } = await guesses.ask(endpoint, addressOf(endpoint, `manifests/${name}`), (patience) =>
    manifests.get({ endpoint, name, doing, signal, ...patience }),
  );
  const list = parseReferrers(bytes, digest);
  if (list === undefined) return [];
  warnSkipped(client, doing, list);
  return list.entries;
}

/**
 * What refers to a digest: by the API, page by page, or from the fallback tag (distribution-spec, "Listing Referrers"). The list
 * is empty for everything that counts as not there (`verdictOf`).
 * @throws AirliftError where nobody knows; what there is under the fallback tag is given before that
 */
export async function* listReferrers(parts: ReferrersParts, call: ReferrersCall): AsyncGenerator<Descriptor> {
  let failure: AirliftError | undefined;
  let first: FirstPage | undefined;
  try {
    first = await askApi(parts, call);
  } catch (error) {
    const verdict = verdictOf(error);
    // A host that answered, although with a fault, may still have the list under the tag.
    if (verdict === 'unanswered' && error instanceof AirliftError && error.status !== undefined)
      failure = error;
    else if (verdict !== 'absent') throw error;
  }
  if (first !== undefined) {
    yield* first.entries;
    for await (const { bytes } of first.rest) {
      const more = parseReferrers(bytes, call.digest);
      if (more === undefined)
        throw new AirliftError('registry', `${call.doing}: a later page is no list of referrers`);
      warnSkipped(parts.client, call.doing, more);
      yield* more.entries;
    }
    return;
  }
  try {
    yield* await askTag(parts, call);
  } catch (error) {
    if (verdictOf(error) !== 'absent') throw failure ?? error;
  }
  if (failure !== undefined) throw failure;
}
