import { isRepositoryPath } from '../../oci/reference.js';
import type { Endpoint } from '../config/endpoint.js';
import type { RegistryClient } from './client.js';
import { listNames } from './list-names.js';

/**
 * Lists the repositories of a registry page by page (distribution, "Listing Repositories"). Invalid names are skipped with a warning.
 * @throws AirliftError `not-found`, `unauthorized`, `denied`, `registry`: many registries have no such list or allow it to administrators
 *   only
 */
export function listRepositories(
  client: RegistryClient,
  endpoint: Endpoint,
  signal: AbortSignal | undefined,
): AsyncGenerator<string> {
  const action = `list repositories of ${endpoint.registry}`;
  const url = new URL(`${endpoint.origin}${endpoint.apiPath}/_catalog`);
  const scopes = new Map([['registry:catalog', new Set(['*'])]]);
  const call = { endpoint, url, scopes, action, signal };
  return listNames(client, call, {
    field: 'repositories',
    subject: 'repository list',
    isValid: isRepositoryPath,
  });
}
