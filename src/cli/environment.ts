import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { AirliftError } from '../errors.js';
import type { ProxyOptions } from '../index.js';

/** Environment variables. Only src/cli reads them. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** Returns the home directory; undefined if the user has none, as unnamed users in containers. */
function homeOf(env: Environment): string | undefined {
  const home = firstOf(env, 'HOME');
  if (home !== undefined) return isAbsolute(home) ? home : undefined;
  try {
    return homedir();
  } catch {
    return undefined;
  }
}

/** Joins `path` to the home directory, if there is one. */
function inHome(env: Environment, ...path: string[]): string | undefined {
  const home = homeOf(env);
  return home === undefined ? undefined : join(home, ...path);
}

/** Returns an XDG base directory. Relative values are ignored, as the XDG Base Directory Specification requires. */
function xdgDirectory(env: Environment, name: string, ...inHomeDirectory: string[]): string | undefined {
  const base = firstOf(env, name);
  return base !== undefined && isAbsolute(base) ? base : inHome(env, ...inHomeDirectory);
}

function configOf(env: Environment): string | undefined {
  return xdgDirectory(env, 'XDG_CONFIG_HOME', '.config');
}

/** Joins `path` to `directory`, if there is one. */
function below(directory: string | undefined, ...path: string[]): string[] {
  return directory === undefined ? [] : [join(directory, ...path)];
}

/** Returns the value of the first variable that is set and not empty. */
function firstOf(env: Environment, ...names: string[]): string | undefined {
  return names.map((name) => env[name]).find((value) => value !== undefined && value !== '');
}

/**
 * Lists the credential files of docker, podman and skopeo in order of precedence (containers-auth.json(5), docker's `config.json`).
 */
export function authFilesOf(env: Environment): string[] {
  const config = configOf(env);
  const files = [
    env['REGISTRY_AUTH_FILE'],
    runtimeAuthFileOf(env),
    ...below(config, 'containers', 'auth.json'),
    dockerAuthFileOf(env),
  ];
  return files.filter((file): file is string => file !== undefined && file !== '');
}

/** Returns the file in which podman and skopeo keep logins until the next boot (containers-auth.json(5)). */
function runtimeAuthFileOf(env: Environment): string | undefined {
  const runtime = firstOf(env, 'XDG_RUNTIME_DIR');
  if (runtime !== undefined && isAbsolute(runtime)) return join(runtime, 'containers', 'auth.json');
  // No session, typically root in a container.
  const user = process.getuid?.();
  return user === undefined || process.platform !== 'linux' ? undefined : `/run/containers/${user}/auth.json`;
}

/** Returns docker's credential file, `$DOCKER_CONFIG/config.json`, which podman and skopeo read too. */
export function dockerAuthFileOf(env: Environment): string | undefined {
  const [path] = below(firstOf(env, 'DOCKER_CONFIG') ?? inHome(env, '.docker'), 'config.json');
  return path;
}

/** Returns the forward proxies. As in Go's net/http, upper-case variables come first. */
export function proxiesOf(env: Environment): ProxyOptions {
  return {
    http: firstOf(env, 'HTTP_PROXY', 'http_proxy'),
    https: firstOf(env, 'HTTPS_PROXY', 'https_proxy'),
    no: firstOf(env, 'NO_PROXY', 'no_proxy'),
  };
}

/** Returns the address of the npm registry, in the variable by which npm itself takes it and passes it to scripts. */
export function npmRegistryOf(env: Environment): string | undefined {
  return firstOf(env, 'npm_config_registry', 'NPM_CONFIG_REGISTRY');
}

/** Lists directories that hold one certificate directory per host (containers-certs.d(5); Docker's "Verify repository client with certificates"). */
export function certsDirsOf(env: Environment): string[] {
  const config = configOf(env);
  return [
    ...below(config, 'containers', 'certs.d'),
    '/etc/containers/certs.d',
    '/etc/docker/certs.d',
    ...below(config, 'docker', 'certs.d'),
  ];
}

/** Returns the file that replaces the system's certificate authorities (`SSL_CERT_FILE`, as in OpenSSL and Go). */
export function rootsFileOf(env: Environment): string | undefined {
  return firstOf(env, 'SSL_CERT_FILE');
}

/** Locations of registries.conf: the first of `files` that exists, and every `*.conf` in `directories`. */
export interface RegistriesConfLocations {
  readonly files: readonly string[];
  readonly directories: readonly string[];
}

/** Returns the locations of registries.conf in order (containers-registries.conf(5)). */
export function registriesConfOf(env: Environment): RegistriesConfLocations {
  const own = below(configOf(env), 'containers', 'registries.conf');
  const explicit = firstOf(env, 'CONTAINERS_REGISTRIES_CONF', 'REGISTRIES_CONFIG_PATH');
  return {
    files: explicit === undefined ? [...own, '/etc/containers/registries.conf'] : [explicit],
    directories: ['/etc/containers/registries.conf.d', ...own.map((path) => `${path}.d`)],
  };
}

/**
 * Returns the creation time to record in bundles: `SOURCE_DATE_EPOCH` in seconds (reproducible-builds.org), else now.
 * @throws AirliftError `usage` if the variable is not a whole number of seconds
 */
export function creationTime(env: Environment): Date {
  const epoch = env['SOURCE_DATE_EPOCH'];
  if (epoch === undefined || epoch === '') return new Date(Math.floor(Date.now() / 1000) * 1000);
  // A ustar header has eleven octal digits for the time.
  if (!/^\d{1,11}$/.test(epoch) || Number(epoch) > 0o77777777777) {
    throw new AirliftError(
      'usage',
      `read SOURCE_DATE_EPOCH: got ${JSON.stringify(epoch)}, want a whole number of seconds`,
    );
  }
  return new Date(Number(epoch) * 1000);
}

/** Returns the file that holds the password of a signing key. */
export function keyPasswordFileOf(env: Environment): string | undefined {
  return firstOf(env, 'AIRLIFT_KEY_PASSWORD_FILE');
}

/** Returns the directory for data that can be recreated: `$XDG_CACHE_HOME/airlift`, else `~/.cache/airlift`. */
export function cacheFolder(env: Environment): string | undefined {
  return below(xdgDirectory(env, 'XDG_CACHE_HOME', '.cache'), 'airlift')[0];
}

/** Returns the directory for data that the next run resumes from: `$XDG_STATE_HOME/airlift`, else `~/.local/state/airlift`. */
export function stateFolder(env: Environment): string | undefined {
  return below(xdgDirectory(env, 'XDG_STATE_HOME', '.local', 'state'), 'airlift')[0];
}
