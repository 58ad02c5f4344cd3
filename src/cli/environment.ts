import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { AirliftError } from '../errors.js';
import type { ProxyOptions } from '../index.js';

/** The only place that reads the environment. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** The home directory; undefined where there is none, as for users without a name in containers. */
function homeOf(env: Environment): string | undefined {
  const home = firstOf(env, 'HOME');
  if (home !== undefined) return isAbsolute(home) ? home : undefined;
  try {
    return homedir();
  } catch {
    return undefined;
  }
}

/** A path below the home directory, where there is one. */
function inHome(env: Environment, ...path: string[]): string | undefined {
  const home = homeOf(env);
  return home === undefined ? undefined : join(home, ...path);
}

/** One of the XDG base directories; values that are no absolute paths are ignored, as the specification says. */
function baseOf(env: Environment, name: string, ...inHomeDirectory: string[]): string | undefined {
  const base = firstOf(env, name);
  return base !== undefined && isAbsolute(base) ? base : inHome(env, ...inHomeDirectory);
}

function configOf(env: Environment): string | undefined {
  return baseOf(env, 'XDG_CONFIG_HOME', '.config');
}

/** A path below a directory, where there is one. */
function below(directory: string | undefined, ...path: string[]): string[] {
  return directory === undefined ? [] : [join(directory, ...path)];
}

/** The value of the first variable that is set and not empty. */
function firstOf(env: Environment, ...names: string[]): string | undefined {
  return names.map((name) => env[name]).find((value) => value !== undefined && value !== '');
}

/**
 * The files in which docker, podman and skopeo keep credentials, in their order of precedence (containers-auth.json(5),
 * docker's `config.json`).
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

/** Where podman and skopeo keep logins until the next start of the machine (containers-auth.json(5)). */
function runtimeAuthFileOf(env: Environment): string | undefined {
  const runtime = firstOf(env, 'XDG_RUNTIME_DIR');
  if (runtime !== undefined && isAbsolute(runtime)) return join(runtime, 'containers', 'auth.json');
  // Without a session, as root in a container mostly.
  const user = process.getuid?.();
  return user === undefined || process.platform !== 'linux' ? undefined : `/run/containers/${user}/auth.json`;
}

/** docker's own among them: `$DOCKER_CONFIG/config.json`, which podman and skopeo read too. */
export function dockerAuthFileOf(env: Environment): string | undefined {
  const [path] = below(firstOf(env, 'DOCKER_CONFIG') ?? inHome(env, '.docker'), 'config.json');
  return path;
}

/** Forward proxies, by the rules of Go's programs: upper case first, loopback never (that is seen to where they are used). */
export function proxiesOf(env: Environment): ProxyOptions {
  return {
    http: firstOf(env, 'HTTP_PROXY', 'http_proxy'),
    https: firstOf(env, 'HTTPS_PROXY', 'https_proxy'),
    no: firstOf(env, 'NO_PROXY', 'no_proxy'),
  };
}

/** Directories with a directory of certificates for each host (containers-certs.d(5), dockerd's "Verify repository client"). */
export function certsDirsOf(env: Environment): string[] {
  const config = configOf(env);
  return [
    ...below(config, 'containers', 'certs.d'),
    '/etc/containers/certs.d',
    '/etc/docker/certs.d',
    ...below(config, 'docker', 'certs.d'),
  ];
}

/** The certificate authorities of the system, where the environment names others (`SSL_CERT_FILE`, as OpenSSL and Go read it). */
export function rootsFileOf(env: Environment): string | undefined {
  return firstOf(env, 'SSL_CERT_FILE');
}

/** Where settings of registries are looked for: the first of `files` that exists, and every `*.conf` of `directories`. */
export interface RegistriesConfPlaces {
  readonly files: readonly string[];
  readonly directories: readonly string[];
}

/** The places of registries.conf, in their order (containers-registries.conf(5)). */
export function registriesConfOf(env: Environment): RegistriesConfPlaces {
  const own = below(configOf(env), 'containers', 'registries.conf');
  const told = firstOf(env, 'CONTAINERS_REGISTRIES_CONF', 'REGISTRIES_CONFIG_PATH');
  return {
    files: told === undefined ? [...own, '/etc/containers/registries.conf'] : [told],
    directories: ['/etc/containers/registries.conf.d', ...own.map((path) => `${path}.d`)],
  };
}

/**
 * The time to write into what is made: `SOURCE_DATE_EPOCH` in seconds (reproducible-builds.org), else now.
 * @throws AirliftError `usage` where it is not a whole number of seconds
 */
export function creationTime(env: Environment): Date {
  const epoch = env['SOURCE_DATE_EPOCH'];
  if (epoch === undefined || epoch === '') return new Date(Math.floor(Date.now() / 1000) * 1000);
  // The last second a ustar header holds in its eleven octal digits.
  if (!/^\d{1,11}$/.test(epoch) || Number(epoch) > 0o77777777777) {
    throw new AirliftError(
      'usage',
      `read SOURCE_DATE_EPOCH: not a number of seconds; got ${JSON.stringify(epoch)}`,
    );
  }
  return new Date(Number(epoch) * 1000);
}

/** Where things are kept that can be made again: `$XDG_CACHE_HOME/airlift`, else `~/.cache/airlift`. */
export function cacheFolder(env: Environment): string | undefined {
  return below(baseOf(env, 'XDG_CACHE_HOME', '.cache'), 'airlift')[0];
}

/** Where things are kept that the next run goes on with: `$XDG_STATE_HOME/airlift`, else `~/.local/state/airlift`. */
export function stateFolder(env: Environment): string | undefined {
  return below(baseOf(env, 'XDG_STATE_HOME', '.local', 'state'), 'airlift')[0];
}
