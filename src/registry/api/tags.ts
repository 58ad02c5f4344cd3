import { AirliftError, firstNames } from '../../errors.js';
import { listLimits } from '../../oci/json.js';
import { parseJsonObject } from '../../oci/manifest.js';
import { isTag } from '../../oci/reference.js';
import type { RegistryClient } from './client.js';
import { addressOf, type Endpoint } from '../config/endpoint.js';
import { pages } from './pages.js';
import { repositoryScope } from '../auth/scope.js';

/** How many names that are no tags are shown. */
const maxShown = 3;

/**
 * The tags of a repository, page by page (distribution-spec, "Listing Tags").
 * @throws AirliftError `not-found` where there is no such repository
 */
export async function* listTags(
  client: RegistryClient,
  endpoint: Endpoint,
  doing: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<string> {
  const url = addressOf(endpoint, 'tags/list');
  url.searchParams.set('n', '1000');
  const scopes = repositoryScope(endpoint.repository, 'pull');
  const call = {
    endpoint,
    method: 'GET' as const,
    url,
    headers: { accept: 'application/json' },
    scopes,
    doing,
    signal,
  };
  const skipped: string[] = [];
  for await (const { bytes } of pages(client, call, 'repository')) {
    const { tags } = parseJsonObject(bytes, `answer of ${endpoint.registry} to ${doing}`, listLimits);
    if (tags === null || tags === undefined) continue;
    if (!Array.isArray(tags))
      throw new AirliftError('registry', `${doing}: the answer holds no list of tags`);
    for (const tag of tags as unknown[]) {
      if (typeof tag === 'string' && isTag(tag)) yield tag;
      else skipped.push(JSON.stringify(tag)?.slice(0, 160) ?? 'undefined');
    }
  }
  if (skipped.length > 0)
    client.warn(`${doing}: skipped what is no valid tag: ${firstNames(skipped, maxShown)}`);
}
