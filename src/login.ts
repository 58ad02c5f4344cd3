import { AirliftError, isAirliftError } from './errors.js';
import { quoted } from './oci/quoted.js';
import { isRegistry, isRepositoryPath } from './oci/reference.js';
import { readAuthFile, type AuthFileContent } from './registry/auth/auth-file.js';
import { removeLogin, saveLogin, type LoginPlace } from './registry/auth/login.js';
import type { Credentials } from './registry/config/options.js';
import { Registry, type RegistryHooks, type RegistryOptions } from './registry/registry.js';

export interface LoginOptions {
  /** `host[:port]`, or `host[:port]/namespace` for a part of the registry. */
  readonly registry: string;
  readonly username: string;
  /** The password; an identity token if the user name is `<token>`, as in docker's auth files. */
  readonly password: string;
  /** Auth files in their order of precedence: the login goes into the first that exists. Default: none. */
  readonly authFiles?: readonly string[] | undefined;
  /** Auth file to create if none of `authFiles` exists. Default: fail with `io`. */
  readonly newAuthFile?: string | undefined;
  /** How to reach the registry; default: the system's certificates, no proxy. */
  readonly access?: RegistryOptions | undefined;
  readonly hooks?: RegistryHooks | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The user name that marks an identity token in docker's auth files. */
const tokenUser = '<token>';

/**
 * Parses the registry of a login: `HOST[:PORT][/NAMESPACE]`.
 * @throws AirliftError `usage`
 */
export function parseLoginName(text: string): string {
  const [host = '', ...namespace] = text.replace(/\/+$/, '').split('/');
  const isName = isRegistry(host) && (namespace.length === 0 || isRepositoryPath(namespace.join('/')));
  if (isName && !text.includes('://')) return [host, ...namespace].join('/');
  throw new AirliftError('usage', `log in to ${quoted(text)}: not a registry`, {
    hint: 'use a form like ghcr.io, 192.168.2.23:5000 or registry.corp/team',
  });
}

/** Reads an auth file; returns undefined if it does not exist or this user may not read it. */
async function readIfAllowed(file: string): Promise<AuthFileContent | undefined> {
  try {
    return await readAuthFile(file);
  } catch (error) {
    if (isAirliftError(error, 'io')) return undefined;
    throw error;
  }
}

async function firstExisting(files: readonly string[]): Promise<string | undefined> {
  for (const file of files) if ((await readIfAllowed(file)) !== undefined) return file;
  return undefined;
}

const passwordHint =
  'check the user name and the password; accounts with two-factor login need an access token instead of the password';

/**
 * Checks a login with the registry and stores it where docker, podman, skopeo and airlift find it.
 * @throws AirliftError `unauthorized` if the registry rejects the login; `io` or `input` if it cannot be stored
 */
export async function login(options: LoginOptions): Promise<LoginPlace> {
  const { registry: name, username, password, access = {}, hooks, signal } = options;
  const [host = name] = name.split('/');
  const credentials: Credentials =
    username === tokenUser
      ? { kind: 'identity-token', token: password }
      : { kind: 'password', username, password };
  const registryOptions: RegistryOptions =
    credentials.kind === 'password'
      ? { ...access, credentials: { username, password, registry: host } }
      : {
          ...access,
          hosts: { ...access.hosts, [host]: { ...access.hosts?.[host], identityToken: password } },
        };
  const registry = new Registry(registryOptions, hooks);
  try {
    await registry.checkLogin(name, { signal });
  } catch (error) {
    if (!isAirliftError(error, 'unauthorized')) throw error;
    const { message, status, cause } = error;
    throw new AirliftError('unauthorized', message, { status, cause, hint: passwordHint });
  } finally {
    await registry.close();
  }
  const file = (await firstExisting(options.authFiles ?? [])) ?? options.newAuthFile;
  if (file === undefined)
    throw new AirliftError(
      'io',
      `log in to ${name}: no auth file to store the login in, because there is no home directory`,
      {
        hint: 'pass an auth file with `authFiles`',
      },
    );
  return saveLogin(file, name, credentials);
}

/**
 * Removes a login from every auth file that has it.
 * @throws AirliftError `not-found` if none has it; `io` or `input`
 */
export async function logout(name: string, authFiles: readonly string[]): Promise<LoginPlace[]> {
  const places: LoginPlace[] = [];
  for (const file of authFiles) {
    if ((await readIfAllowed(file)) === undefined) continue;
    const place = await removeLogin(file, name);
    if (place !== undefined) places.push(place);
  }
  if (places.length > 0) return places;
  throw new AirliftError('not-found', `log out of ${name}: no login for it in ${authFiles.join(', ')}`);
}
