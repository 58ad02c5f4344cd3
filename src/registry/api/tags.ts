import { AirliftError, firstNames } from '../../errors.js';
import { listLimits } from '../../oci/json.js';
import { parseJsonObject } from '../../oci/manifest.js';
import { isTag } from '../../oci/reference.js';
import { repositoryScope } from '../auth/scope.js';
import { addressOf, type Endpoint } from '../config/endpoint.js';
import type { RegistryClient } from './client.js';
import { readPages } from './pages.js';

/** The most invalid tags to name in the warning. */
const maxShown = 3;

/**
 * Lists the tags of a repository page by page (distribution-spec, "Listing Tags"). Invalid tags are skipped with a warning.
 * @throws AirliftError `not-found` if the repository does not exist
 */
export async function* listTags(
  client: RegistryClient,
  endpoint: Endpoint,
  action: string,
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
    action,
    signal,
  };
  const skipped: string[] = [];
  for await (const { bytes } of readPages(client, call, 'repository')) {
    const { tags } = parseJsonObject(bytes, `response of ${endpoint.registry} to ${action}`, listLimits);
    if (tags === null || tags === undefined) continue;
    if (!Array.isArray(tags))
      throw new AirliftError('registry', `${action}: the response contains no list of tags`);
    for (const tag of tags as unknown[]) {
      if (typeof tag === 'string' && isTag(tag)) yield tag;
      else skipped.push(JSON.stringify(tag)?.slice(0, 160) ?? 'undefined');
    }
  }
  if (skipped.length > 0) client.warn(`${action}: skipped invalid tags: ${firstNames(skipped, maxShown)}`);
}
