import { AirliftError, isAirliftError, messageOf } from '../../errors.js';
import { isObject } from '../../oci/descriptor.js';
import { dockerHubNames } from '../../oci/reference.js';
import { readAuthFile, type AuthFileContent } from './auth-file.js';
import type { Credentials } from '../config/options.js';
import { getFromHelper } from './credential-helper.js';
import type { ExplicitCredentials, HostSettings } from '../config/options.js';

/** The key that docker uses for Docker Hub in auth files and helpers. */
export const dockerHubKey = 'https://index.docker.io/v1/';

/** Normalises a key of an auth file to `host[:port][/namespace]`; docker writes URLs such as `https://index.docker.io/v1/`. */
export function normaliseKey(key: string): string {
  const scheme = /^https?:\/\//i.exec(key);
  if (scheme === null) return key.replace(/\/+$/, '').replace(/\/v[12]$/, '');
  return key.slice(scheme[0].length).split('/')[0] ?? '';
}

/** Returns the keys under which credentials for a repository may be stored, most specific first. */
export function candidateKeys(registry: string, repository: string): string[] {
  const hosts = dockerHubNames.includes(registry) ? dockerHubNames : [registry];
  const parts = repository === '' ? [] : repository.split('/');
  const keys: string[] = [];
  for (let length = parts.length; length >= 0; length--) {
    for (const host of hosts) keys.push([host, ...parts.slice(0, length)].join('/'));
  }
  return keys;
}

function credentialsOf(entry: unknown, place: string): Credentials | undefined {
  if (!isObject(entry)) return undefined;
  const { auth, identitytoken, username, password } = entry;
  if (typeof identitytoken === 'string' && identitytoken !== '')
    return { kind: 'identity-token', token: identitytoken };
  if (typeof auth === 'string' && auth !== '') {
    const text = Buffer.from(auth, 'base64').toString('utf8').replace(/\0+$/, '');
    const colon = text.indexOf(':');
    if (colon < 1) throw new AirliftError('input', `parse ${place}: auth is not base64 of user:password`);
    return { kind: 'password', username: text.slice(0, colon), password: text.slice(colon + 1) };
  }
  if (typeof username === 'string' && typeof password === 'string' && username !== '')
    return { kind: 'password', username, password };
  return undefined;
}

/** Returns the fields of an object by normalised key, each with its original key. */
function byKey(value: unknown): Map<string, { key: string; value: unknown }> {
  return new Map(
    Object.entries(isObject(value) ? value : {}).map(([key, entry]) => [
      normaliseKey(key),
      { key, value: entry },
    ]),
  );
}

/** Returns the helper that an auth file names for one of `keys` (`credHelpers`), with the key to pass to it. */
export function ownHelper(
  content: AuthFileContent,
  keys: readonly string[],
): { name: string; key: string } | undefined {
  const helpers = byKey(content['credHelpers']);
  for (const key of keys) {
    const found = helpers.get(key);
    if (typeof found?.value === 'string' && found.value !== '') return { name: found.value, key: found.key };
  }
  return undefined;
}

/** Returns the helper that an auth file names for all hosts (`credsStore`). */
export function sharedHelper(
  content: AuthFileContent,
  registry: string,
): { name: string; key: string } | undefined {
  const name = content['credsStore'];
  if (typeof name !== 'string' || name === '') return undefined;
  return { name, key: dockerHubNames.includes(registry) ? dockerHubKey : registry };
}

/** Finds credentials in the places given by RegistryOptions. Each file is read once, each helper runs once per key. */
export class CredentialStore {
  #files: Promise<{ path: string; content: AuthFileContent }[]> | undefined;
  readonly #fromHelpers = new Map<string, Promise<Credentials | undefined>>();

  constructor(
    readonly places: {
      readonly authFiles: readonly string[];
      readonly explicit: ExplicitCredentials | undefined;
      readonly hosts: Readonly<Record<string, HostSettings>>;
      readonly warn: (text: string) => void;
    },
  ) {}

  /**
   * Returns the credentials for a repository; undefined if there are none. Within a file, a helper for the host takes precedence over
   * `auths`, and `auths` over the helper for all hosts. A helper that fails leads to a warning and is skipped.
   * @param registry the name under which the credentials are stored
   * @throws AirliftError `input` if an auth file is malformed
   */
  async find(registry: string, repository: string): Promise<Credentials | undefined> {
    const explicit = this.#explicitCredentials(registry);
    if (explicit !== undefined) return explicit;
    this.#files ??= this.#readAll();
    const keys = candidateKeys(registry, repository);
    for (const { path, content } of await this.#files) {
      const found =
        (await this.#runHelper(ownHelper(content, keys))) ??
        this.#inAuths(content['auths'], keys, path) ??
        (await this.#runHelper(sharedHelper(content, registry)));
      if (found !== undefined) return found;
    }
    return undefined;
  }

  #explicitCredentials(registry: string): Credentials | undefined {
    const { explicit, hosts } = this.places;
    const own = hosts[registry];
    const password = [explicit, own?.credentials].find(
      (entry) => entry !== undefined && (entry.registry === undefined || entry.registry === registry),
    );
    if (password !== undefined)
      return { kind: 'password', username: password.username, password: password.password };
    return own?.identityToken === undefined
      ? undefined
      : { kind: 'identity-token', token: own.identityToken };
  }

  #inAuths(auths: unknown, keys: readonly string[], path: string): Credentials | undefined {
    const entries = byKey(auths);
    for (const key of keys) {
      const found = credentialsOf(entries.get(key)?.value, `auth file ${path}, entry ${key}`);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  #runHelper(helper: { name: string; key: string } | undefined): Promise<Credentials | undefined> {
    if (helper === undefined) return Promise.resolve(undefined);
    const id = `${helper.name} ${helper.key}`;
    let credentials = this.#fromHelpers.get(id);
    if (credentials === undefined) {
      credentials = getFromHelper(helper.name, helper.key).catch((error: unknown) => {
        this.places.warn(messageOf(error));
        return undefined;
      });
      this.#fromHelpers.set(id, credentials);
    }
    return credentials;
  }

  async #readAll(): Promise<{ path: string; content: AuthFileContent }[]> {
    const files = [];
    for (const path of this.places.authFiles) {
      const content = await readAuthFile(path).catch((error: unknown) => {
        // Like docker, airlift ignores a file in a default place that this user may not read.
        if (!isAirliftError(error, 'io')) throw error;
        this.places.warn(`${error.message}; it is ignored`);
        return undefined;
      });
      if (content !== undefined) files.push({ path, content });
    }
    return files;
  }
}
