import { homedir } from 'node:os';
import { join } from 'node:path';
import { AirliftError } from '../errors.js';

/** The only place that reads the environment. */
export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The files in which docker, podman and skopeo keep credentials, in their order of precedence (containers-auth.json(5),
 * docker's `config.json`).
 */
export function authFilesOf(env: Environment): string[] {
  const home = env['HOME'] ?? homedir();
  const config = env['XDG_CONFIG_HOME'] ?? join(home, '.config');
  const files = [
    env['REGISTRY_AUTH_FILE'],
    env['XDG_RUNTIME_DIR'] === undefined
      ? undefined
      : join(env['XDG_RUNTIME_DIR'], 'containers', 'auth.json'),
    join(config, 'containers', 'auth.json'),
    join(env['DOCKER_CONFIG'] ?? join(home, '.docker'), 'config.json'),
  ];
  return files.filter((file) => file !== undefined && file !== '') as string[];
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
export function cacheFolder(env: Environment): string {
  const cache = env['XDG_CACHE_HOME'];
  const home = env['HOME'] ?? homedir();
  return join(cache === undefined || cache === '' ? join(home, '.cache') : cache, 'airlift');
}
