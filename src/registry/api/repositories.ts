import { AirliftError, firstNames } from '../../errors.js';
import { listLimits } from '../../oci/json.js';
import { parseJsonObject } from '../../oci/manifest.js';
import { isRepositoryPath } from '../../oci/reference.js';
import type { Endpoint } from '../config/endpoint.js';
import type { RegistryClient } from './client.js';
import { readPages } from './pages.js';

/** The most invalid names to show in the warning. */
const maxShown = 3;

/**
 * Lists the repositories of a registry page by page (distribution, "Listing Repositories"). Invalid names are skipped with a warning.
 * @throws AirliftError `not-found`, `unauthorized`, `denied`, `registry`: many registries have no such list or allow it to administrators
 *   only
 */
export async function* listRepositories(
  client: RegistryClient,
  endpoint: Endpoint,
  signal: AbortSignal | undefined,
): AsyncGenerator<string> {
  const action = `list repositories of ${endpoint.registry}`;
  const url = new URL(`${endpoint.origin}${endpoint.apiPath}/_catalog`);
  url.searchParams.set('n', '1000');
  const call = {
    endpoint,
    method: 'GET' as const,
    url,
    headers: { accept: 'application/json' },
    scopes: new Map([['registry:catalog', new Set(['*'])]]),
    action,
    signal,
  };
  const skipped: string[] = [];
  for await (const { bytes } of readPages(client, call, 'repository list')) {
    const { repositories } = parseJsonObject(
      bytes,
      `response of ${endpoint.registry} to ${action}`,
      listLimits,
    );
    if (repositories === null || repositories === undefined) continue;
    if (!Array.isArray(repositories))
      throw new AirliftError('registry', `${action}: the response contains no list of repositories`);
    for (const name of repositories as unknown[]) {
      if (typeof name === 'string' && isRepositoryPath(name)) yield name;
      else skipped.push(JSON.stringify(name)?.slice(0, 160) ?? 'undefined');
    }
  }
  if (skipped.length > 0) client.warn(`${action}: skipped invalid names: ${firstNames(skipped, maxShown)}`);
}
