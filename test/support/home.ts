import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { temp, type Cleanup } from './temp.js';

const proxyVariables = ['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY'].flatMap((name) => [
  name,
  name.toLowerCase(),
]);

/** A separate home directory, so that tests neither read nor change the user's logins and settings. */
export interface Home {
  readonly dir: string;
  /** Path of docker's auth file in this directory. */
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
