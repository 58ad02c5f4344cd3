import { AirliftError, isAirliftError } from './errors.js';
import { quoted } from './oci/quoted.js';
import { isRegistry, isRepositoryPath } from './oci/reference.js';
import { readAuthFile, type AuthFileContent } from './registry/auth/auth-file.js';
import { removeLogin, saveLogin, type LoginPlace } from './registry/auth/login.js';
import type { Credentials } from './registry/config/options.js';
import { Registry, type RegistryHooks, type RegistryOptions } from './registry/registry.js';

export interface LoginOptions {
  /** `host[:port]`, or `host[:port]/namespace` for a part of it. */
  readonly registry: string;
  readonly username: string;
  /** The password; with the user name `<token>` an identity token, as docker writes it. */
  readonly password: string;
  /** Auth files in their order of precedence: the first that exists takes the login. */
  readonly authFiles: readonly string[];
  /** Takes it where none of them exists. */
  readonly newAuthFile: string | undefined;
  readonly access: RegistryOptions;
  readonly hooks?: RegistryHooks | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The user name by which docker marks an identity token. */
const tokenUser = '<token>';

/**
 * Checks a name to log in to: `HOST[:PORT][/NAMESPACE]`.
 * @throws AirliftError `usage`
 */
export function parseLoginName(text: string): string {
  const [host = '', ...namespace] = text.replace(/\/+$/, '').split('/');
  const isName = isRegistry(host) && (namespace.length === 0 || isRepositoryPath(namespace.join('/')));
  if (isName && !text.includes('://')) return [host, ...namespace].join('/');
  throw new AirliftError('usage', `log in to ${quoted(text)}: not a registry`, {
    hint: 'write it like ghcr.io, 192.168.2.23:5000 or registry.corp/team',
  });
}

/** An auth file's content; undefined where there is none, or none that this user may read. */
async function readable(file: string): Promise<AuthFileContent | undefined> {
  try {
    return await readAuthFile(file);
  } catch (error) {
    if (isAirliftError(error, 'io')) return undefined;
    throw error;
  }
}

async function firstThatExists(files: readonly string[]): Promise<string | undefined> {
  for (const file of files) if ((await readable(file)) !== undefined) return file;
  return undefined;
}

const passwordHint =
  'check the user name and the password; accounts with two-factor login need an access token in place of the password';

/**
 * Tries a login at the registry and keeps it where docker, podman, skopeo and airlift find it.
 * @throws AirliftError `unauthorized` where the registry does not take it; `io` or `input` where it can't be kept
 */
export async function login(options: LoginOptions): Promise<LoginPlace> {
  const { registry: name, username, password, access, hooks, signal } = options;
  const [host = name] = name.split('/');
  const credentials: Credentials =
    username === tokenUser
      ? { kind: 'identity-token', token: password }
      : { kind: 'password', username, password };
  const told: RegistryOptions =
    credentials.kind === 'password'
      ? { ...access, credentials: { username, password, registry: host } }
      : {
          ...access,
          hosts: { ...access.hosts, [host]: { ...access.hosts?.[host], identityToken: password } },
        };
  const registry = new Registry(told, hooks);
  try {
    await registry.checkLogin(name, { signal });
  } catch (error) {
    if (!isAirliftError(error, 'unauthorized')) throw error;
    const { message, status, cause } = error;
    throw new AirliftError('unauthorized', message, { status, cause, hint: passwordHint });
  } finally {
    await registry.close();
  }
  const file = (await firstThatExists(options.authFiles)) ?? options.newAuthFile;
  if (file === undefined)
    throw new AirliftError('io', `log in to ${name}: no place to keep the login, no home directory`, {
      hint: 'name a file with `authFiles`',
    });
  return saveLogin(file, name, credentials);
}

/**
 * Forgets a login in all auth files that hold it.
 * @throws AirliftError `not-found` where none does; `io` or `input`
 */
export async function logout(name: string, authFiles: readonly string[]): Promise<LoginPlace[]> {
  const places: LoginPlace[] = [];
  for (const file of authFiles) {
    if ((await readable(file)) === undefined) continue;
    const place = await removeLogin(file, name);
    if (place !== undefined) places.push(place);
  }
  if (places.length > 0) return places;
  throw new AirliftError('not-found', `log out of ${name}: no login for it in ${authFiles.join(', ')}`);
}
