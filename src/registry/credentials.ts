import { readFile } from 'node:fs/promises';
import { AirliftError, messageOf, systemCodeOf } from '../errors.js';
import { isObject } from '../oci/descriptor.js';
import type { ExplicitCredentials } from './options.js';

/** What somebody proves their identity with: a password, or an OAuth2 refresh token ("identity token"). */
export type Credentials =
  | { readonly kind: 'password'; readonly username: string; readonly password: string }
  | { readonly kind: 'identity-token'; readonly token: string };

/** The names under which auth files keep Docker Hub. */
const dockerHubNames: readonly string[] = ['docker.io', 'index.docker.io', 'registry-1.docker.io'];

/** An auth file's key as a plain `host[:port][/namespace]`; docker writes whole addresses such as `https://index.docker.io/v1/`. */
export function normaliseKey(key: string): string {
  const scheme = /^https?:\/\//i.exec(key);
  if (scheme === null) return key.replace(/\/+$/, '').replace(/\/v[12]$/, '');
  return key.slice(scheme[0].length).split('/')[0] ?? '';
}

/** The keys under which credentials for a repository may stand, most telling first. */
export function candidateKeys(registry: string, repository: string): string[] {
  const hosts = dockerHubNames.includes(registry) ? dockerHubNames : [registry];
  const parts = repository === '' ? [] : repository.split('/');
  const keys: string[] = [];
  for (let length = parts.length; length >= 0; length--) {
    for (const host of hosts) keys.push([host, ...parts.slice(0, length)].join('/'));
  }
  return keys;
}

function fromEntry(entry: unknown, what: string): Credentials | undefined {
  if (!isObject(entry)) return undefined;
  const { auth, identitytoken, username, password } = entry;
  if (typeof identitytoken === 'string' && identitytoken !== '')
    return { kind: 'identity-token', token: identitytoken };
  if (typeof auth === 'string' && auth !== '') {
    const text = Buffer.from(auth, 'base64').toString('utf8').replace(/\0+$/, '');
    const colon = text.indexOf(':');
    if (colon < 1) throw new AirliftError('input', `parse ${what}: auth is not base64 of user:password`);
    return { kind: 'password', username: text.slice(0, colon), password: text.slice(colon + 1) };
  }
  if (typeof username === 'string' && typeof password === 'string' && username !== '')
    return { kind: 'password', username, password };
  return undefined;
}

async function readAuthFile(path: string): Promise<Record<string, unknown> | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    const code = systemCodeOf(cause);
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw new AirliftError('io', `read auth file ${path}: ${messageOf(cause)}`, { cause });
  }
  if (text.trim() === '') return undefined;
  try {
    const json: unknown = JSON.parse(text);
    if (isObject(json)) return json;
  } catch {
    // Said below. The parser's own message would quote the file.
  }
  throw new AirliftError('input', `parse auth file ${path}: not a JSON object`);
}

/** Finds credentials in the places that RegistryOptions name. Files are read once. */
export class CredentialStore {
  #files: Promise<{ path: string; content: Record<string, unknown> }[]> | undefined;

  constructor(
    readonly authFiles: readonly string[],
    readonly explicit: ExplicitCredentials | undefined,
  ) {}

  /**
   * The credentials for a repository, or undefined where there are none.
   * @param registry the name under which they are kept
   * @throws AirliftError `input` or `io` where an auth file can't be read
   */
  async find(registry: string, repository: string): Promise<Credentials | undefined> {
    const { explicit } = this;
    if (explicit !== undefined && (explicit.registry === undefined || explicit.registry === registry))
      return { kind: 'password', username: explicit.username, password: explicit.password };
    this.#files ??= this.#readAll();
    const keys = candidateKeys(registry, repository);
    for (const { path, content } of await this.#files) {
      const found = this.#inAuths(content['auths'], keys, path);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  #inAuths(auths: unknown, keys: readonly string[], path: string): Credentials | undefined {
    if (!isObject(auths)) return undefined;
    const entries = new Map(Object.entries(auths).map(([key, entry]) => [normaliseKey(key), entry]));
    for (const key of keys) {
      const found = fromEntry(entries.get(key), `auth file ${path}, entry ${key}`);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  async #readAll(): Promise<{ path: string; content: Record<string, unknown> }[]> {
    const files = [];
    for (const path of this.authFiles) {
      const content = await readAuthFile(path);
      if (content !== undefined) files.push({ path, content });
    }
    return files;
  }
}
