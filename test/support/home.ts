import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { temp, type Cleanup } from './temp.js';

const proxyVariables = ['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY'].flatMap((name) => [
  name,
  name.toLowerCase(),
]);

/** A home directory of its own, so that nobody's real logins and settings are read or changed. */
export interface Home {
  readonly dir: string;
  /** docker's auth file in it. */
  readonly dockerConfig: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

export function newHome(t: Cleanup): Home {
  const dir = temp(t);
  mkdirSync(join(dir, '.config'));
  return {
    dir,
    dockerConfig: join(dir, '.docker', 'config.json'),
    env: {
      HOME: dir,
      XDG_CONFIG_HOME: undefined,
      XDG_RUNTIME_DIR: join(dir, 'run'),
      DOCKER_CONFIG: undefined,
      REGISTRY_AUTH_FILE: undefined,
      CONTAINERS_REGISTRIES_CONF: undefined,
      ...Object.fromEntries(proxyVariables.map((name) => [name, undefined])),
    },
  };
}
