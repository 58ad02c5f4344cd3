import { createHmac, randomBytes } from 'node:crypto';
import type { Stats } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import bcrypt from 'bcryptjs';
import { BoundedMap } from '../bounded-map.js';
import { AirliftError, messageOf } from '../errors.js';
import type { Logins } from '../registry-server/call.js';

/** The most bytes of a password file. */
const maxFileSize = 1024 * 1024;
/** The largest cost of a hash: a check at cost 14 takes about two seconds. */
const maxCost = 14;
/** Checked logins that are remembered, accepted and refused ones apart, so that wrong ones cannot displace right ones. */
const maxRemembered = 4096;
/** Logins that may wait to be checked. */
const maxWaiting = 64;
/** Milliseconds between two looks at the file. */
const lookInterval = 1000;
type Login = Awaited<ReturnType<Logins['check']>>;

/**
 * Parses a password file: `user:hash` lines with bcrypt hashes, as `htpasswd -B` writes them.
 * @throws AirliftError `input` that names the line; never its hash
 */
function parse(text: string, path: string): Map<string, string> {
  const users = new Map<string, string>();
  for (const [at, line] of text.split('\n').entries()) {
    const entry = line.trim();
    if (entry === '' || entry.startsWith('#')) continue;
    const bad = (happened: string, user = 'USER'): never => {
      throw new AirliftError('input', `read password file ${path}: line ${at + 1}: ${happened}`, {
        hint: `add users with: htpasswd -B ${path} ${user}`,
      });
    };
    const colon = entry.indexOf(':');
    if (colon < 1) bad('not in the form user:hash');
    const [user, hash] = [entry.slice(0, colon), entry.slice(colon + 1)];
    const cost = /^\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}$/.exec(hash)?.[1];
    if (cost === undefined) bad(`the hash of ${JSON.stringify(user)} is not a bcrypt hash`, user);
    if (Number(cost) > maxCost) bad(`the cost of the hash is ${cost}, want at most ${maxCost}`, user);
    if (users.has(user)) bad(`the user ${JSON.stringify(user)} occurs twice`, user);
    users.set(user, hash);
  }
  if (users.size === 0) {
    throw new AirliftError('input', `read password file ${path}: contains no user`, {
      hint: `add one with: htpasswd -B ${path} USER`,
    });
  }
  return users;
}

/** The cost is the second field of a hash. */
function costliest(hashes: Iterable<string>): string {
  return [...hashes].reduce((a, b) => (a.slice(4, 6) < b.slice(4, 6) ? b : a));
}

function readError(path: string, cause: unknown): AirliftError {
  if (cause instanceof AirliftError) return cause;
  return new AirliftError('io', `read password file ${path}: ${messageOf(cause)}`, { cause });
}

/** Another content of the file has another version. */
function versionOf({ ino, size, mtimeMs }: Stats): string {
  return `${ino} ${size} ${mtimeMs}`;
}

async function read(path: string): Promise<{ users: Map<string, string>; version: string }> {
  try {
    const stats = await stat(path);
    if (stats.size > maxFileSize)
      throw new AirliftError('input', `read password file ${path}: larger than ${maxFileSize} bytes`);
    return { users: parse(await readFile(path, 'utf8'), path), version: versionOf(stats) };
  } catch (cause) {
    throw readError(path, cause);
  }
}

/** Decodes the credentials of Basic authentication (RFC 7617): the bytes of `user:password`. */
function credentialsOf(authorization: string | undefined): Buffer | undefined {
  const encoded = /^basic +([A-Za-z0-9+/]+={0,2})$/i.exec(authorization?.trim() ?? '')?.[1];
  return encoded === undefined ? undefined : Buffer.from(encoded, 'base64');
}

/**
 * Checks logins against a password file. bcrypt is slow on purpose, so checked logins are remembered, by a hash with a key that only this
 * process has. A changed file takes effect within a second.
 */
export class PasswordFile implements Logins {
  readonly #key = randomBytes(32);
  readonly #accepted = new BoundedMap<string, string>(maxRemembered);
  readonly #refused = new BoundedMap<string, true>(maxRemembered);
  /** Logins being checked, so that clients that begin at the same time share one check. */
  readonly #checking = new Map<string, Promise<Login>>();
  #turn: Promise<unknown> = Promise.resolve();
  #looked = performance.now();

  private constructor(
    private readonly path: string,
    private users: ReadonlyMap<string, string>,
    private version: string,
    private readonly onError: (error: AirliftError) => void,
  ) {}

  /**
   * Reads a password file.
   * @param onError receives an error when a changed file cannot be read; the users that were read before stay
   * @throws AirliftError `io`, `input`
   */
  static async open(path: string, onError: (error: AirliftError) => void): Promise<PasswordFile> {
    const { users, version } = await read(path);
    return new PasswordFile(path, users, version, onError);
  }

  async check(authorization: string | undefined): Promise<Login> {
    const credentials = credentialsOf(authorization);
    const colon = credentials?.indexOf(':') ?? -1;
    if (credentials === undefined || colon < 1) return 'refused';
    await this.#look();
    const key = createHmac('sha256', this.#key).update(credentials).digest('base64');
    const user = this.#accepted.get(key);
    if (user !== undefined) return { user };
    if (this.#refused.has(key)) return 'refused';
    const known = this.#checking.get(key);
    if (known !== undefined) return await known;
    if (this.#checking.size >= maxWaiting) return 'busy';
    const name = credentials.subarray(0, colon).toString();
    const password = credentials.subarray(colon + 1).toString();
    const checking = this.#verify(key, name, password).finally(() => this.#checking.delete(key));
    this.#checking.set(key, checking);
    return await checking;
  }

  /** Checks one login at a time: requests are answered in between. */
  async #verify(key: string, user: string, password: string): Promise<Login> {
    const users = this.users;
    const hash = users.get(user);
    // An unknown user takes as long as a known one, so that the time does not tell which users exist.
    const compared = hash ?? costliest(users.values());
    const checked = this.#turn.then(() => bcrypt.compare(password, compared));
    this.#turn = checked.catch(() => undefined);
    const isRight = (await checked) && hash !== undefined;
    // The file may have changed meanwhile: only the answer to this request may be based on the old one.
    if (users === this.users) {
      if (isRight) this.#accepted.set(key, user);
      else this.#refused.set(key, true);
    }
    return isRight ? { user } : 'refused';
  }

  /** Reads the file again if it has changed. */
  async #look(): Promise<void> {
    if (performance.now() - this.#looked < lookInterval) return;
    this.#looked = performance.now();
    try {
      const version = versionOf(await stat(this.path));
      if (version === this.version) return;
      this.version = version;
      this.users = (await read(this.path)).users;
      this.#accepted.clear();
      this.#refused.clear();
    } catch (error) {
      this.onError(readError(this.path, error));
    }
  }
}
