import { basename } from 'node:path';
import { isObject } from '../../oci/descriptor.js';
import { readAuthFile, writeAuthFile, type AuthFileContent } from './auth-file.js';
import { eraseFromHelper, storeInHelper } from './credential-helper.js';
import type { Credentials } from '../config/options.js';
import { candidateKeys, dockerHubKey, normaliseKey, ownHelper, sharedHelper } from './credentials.js';

/** The place of stored credentials: an auth file, or a helper that it names. */
export interface LoginPlace {
  readonly authFile: string;
  /** The helper program, if the auth file delegates to one. */
  readonly helper: string | undefined;
}

function split(registry: string): [host: string, namespace: string] {
  const slash = registry.indexOf('/');
  return slash < 0 ? [registry, ''] : [registry.slice(0, slash), registry.slice(slash + 1)];
}

function entriesOf(content: AuthFileContent): Record<string, unknown> {
  return isObject(content['auths']) ? { ...content['auths'] } : {};
}

/** Returns the key for a registry that readers of the file expect: docker uses a URL for Docker Hub. */
function keyFor(registry: string, path: string): string {
  return registry === 'docker.io' && basename(path) === 'config.json' ? dockerHubKey : registry;
}

/** Returns the keys that name exactly a registry or namespace, not a part or a parent of it. */
function ownKeys(registry: string): string[] {
  const [host, namespace] = split(registry);
  return candidateKeys(host, namespace).filter((key) => split(key)[1] === namespace);
}

/** Returns the helper that an auth file uses for a registry. */
function helperFor(content: AuthFileContent, registry: string): { name: string; key: string } | undefined {
  return (
    ownHelper(content, ownKeys(registry)) ??
    (registry.includes('/') ? undefined : sharedHelper(content, registry))
  );
}

/**
 * Stores credentials where docker, podman, skopeo and airlift find them: in an auth file (mode 0600, replaced atomically, unknown fields
 * preserved), or in the helper that the file names.
 * @param registry `host[:port]`, or `host[:port]/namespace` for a part of it
 * @throws AirliftError `io` or `input`
 */
export async function saveLogin(
  authFile: string,
  registry: string,
  credentials: Credentials,
): Promise<LoginPlace> {
  const content = (await readAuthFile(authFile)) ?? {};
  const helper = helperFor(content, registry);
  const auths = entriesOf(content);
  const same = ownKeys(registry);
  for (const key of Object.keys(auths)) if (same.includes(normaliseKey(key))) delete auths[key];
  const key = keyFor(registry, authFile);
  if (helper !== undefined) {
    await storeInHelper(helper.name, helper.key, credentials);
    // Docker marks an entry that its helper holds by an empty object.
    auths[key] = {};
  } else if (credentials.kind === 'password') {
    auths[key] = {
      auth: Buffer.from(`${credentials.username}:${credentials.password}`, 'utf8').toString('base64'),
    };
  } else {
    auths[key] = {
      auth: Buffer.from('<token>:', 'utf8').toString('base64'),
      identitytoken: credentials.token,
    };
  }
  await writeAuthFile(authFile, { ...content, auths });
  return { authFile, helper: helper === undefined ? undefined : `docker-credential-${helper.name}` };
}

/**
 * Removes credentials from an auth file, or from the helper that it names.
 * @returns undefined if the file had none for the registry
 * @throws AirliftError `io` or `input`
 */
export async function removeLogin(authFile: string, registry: string): Promise<LoginPlace | undefined> {
  const content = await readAuthFile(authFile);
  if (content === undefined) return undefined;
  const auths = entriesOf(content);
  const same = ownKeys(registry);
  const keys = Object.keys(auths).filter((key) => same.includes(normaliseKey(key)));
  const own = ownHelper(content, same);
  const helper = own ?? (keys.length > 0 ? helperFor(content, registry) : undefined);
  if (keys.length === 0 && helper === undefined) return undefined;
  if (helper !== undefined) await eraseFromHelper(helper.name, helper.key);
  for (const key of keys) delete auths[key];
  await writeAuthFile(authFile, { ...content, auths });
  return { authFile, helper: helper === undefined ? undefined : `docker-credential-${helper.name}` };
}
