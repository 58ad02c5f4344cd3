import { AirliftError, firstNames } from '../../errors.js';
import { listLimits } from '../../oci/json.js';
import { parseJsonObject } from '../../oci/manifest.js';
import type { Call, RegistryClient } from './client.js';
import { readPages } from './pages.js';

/** The most invalid names to show in the warning. */
const maxShown = 3;
/** Names per page. */
const pageSize = '1000';

/** A kind of names that registries list. */
export interface NameKind {
  /** The field of the response that holds the names; it also names them in messages. */
  readonly field: 'tags' | 'repositories';
  /** What the list is, for messages about missing or long ones. */
  readonly subject: string;
  readonly isValid: (name: string) => boolean;
}

/** Lists names page by page. Invalid names are skipped with a warning. */
export async function* listNames(
  client: RegistryClient,
  call: Pick<Call, 'endpoint' | 'url' | 'scopes' | 'action' | 'signal'>,
  { field, subject, isValid }: NameKind,
): AsyncGenerator<string> {
  const { action, endpoint } = call;
  call.url.searchParams.set('n', pageSize);
  const asking = { ...call, method: 'GET' as const, headers: { accept: 'application/json' } };
  const skipped: string[] = [];
  for await (const { bytes } of readPages(client, asking, subject)) {
    const what = `response of ${endpoint.registry} to ${action}`;
    const names = parseJsonObject(bytes, what, listLimits)[field];
    if (names === null || names === undefined) continue;
    if (!Array.isArray(names))
      throw new AirliftError('registry', `${action}: the response contains no list of ${field}`);
    for (const name of names as unknown[]) {
      if (typeof name === 'string' && isValid(name)) yield name;
      else skipped.push(JSON.stringify(name)?.slice(0, 160) ?? 'undefined');
    }
  }
  if (skipped.length > 0)
    client.warn(`${action}: skipped invalid ${field}: ${firstNames(skipped, maxShown)}`);
}
