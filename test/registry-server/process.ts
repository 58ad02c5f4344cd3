/** A registry in a process of its own, for tests that kill it: `node server-process.js DIRECTORY` prints its address. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { createRegistryServer } from '../../src/registry-server/server.js';
import { DirectoryStore } from '../../src/registry-server/store.js';

const self = fileURLToPath(import.meta.url);

/**
 * Starts a registry on a store's directory.
 * @param largestFile limits the size of its files, in blocks of 512 or 1024 bytes (`ulimit -f`)
 */
export async function startServerProcess(
  directory: string,
  largestFile?: number,
): Promise<{ url: string; kill(): Promise<void> }> {
  const limit = largestFile === undefined ? '' : `ulimit -f ${largestFile}; `;
  const child: ChildProcess = spawn(
    '/bin/sh',
    ['-c', `${limit}exec "$0" "$@"`, process.execPath, self, directory],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  if (child.stdout === null) throw new Error('no output to read the address from');
  const [url] = (await once(createInterface(child.stdout), 'line')) as [string];
  const kill = async (): Promise<void> => {
    const ended = once(child, 'exit');
    if (child.kill('SIGKILL')) await ended;
  };
  return { url, kill };
}

if (process.argv[1] === self) {
  const server = createRegistryServer(await DirectoryStore.open(process.argv[2] ?? ''));
  console.log((await server.listen('127.0.0.1', 0)).url);
}
