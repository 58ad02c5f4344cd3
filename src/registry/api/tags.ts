import { isTag } from '../../oci/reference.js';
import { repositoryScope } from '../auth/scope.js';
import { addressOf, type Endpoint } from '../config/endpoint.js';
import type { RegistryClient } from './client.js';
import { listNames } from './list-names.js';

/**
 * Lists the tags of a repository page by page (distribution-spec, "Listing Tags"). Invalid tags are skipped with a warning.
 * @throws AirliftError `not-found` if the repository does not exist
 */
export function listTags(
  client: RegistryClient,
  endpoint: Endpoint,
  action: string,
  signal: AbortSignal | undefined,
): AsyncGenerator<string> {
  const url = addressOf(endpoint, 'tags/list');
  const scopes = repositoryScope(endpoint.repository, 'pull');
  const call = { endpoint, url, scopes, action, signal };
  return listNames(client, call, { field: 'tags', subject: 'repository', isValid: isTag });
}
