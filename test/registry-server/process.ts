/** A registry in a process of its own, for tests that kill it: `node server-process.js DIRECTORY` prints its address. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { createRegistryServer } from '../../src/registry-server/server.js';
import { DirectoryStore } from '../../src/registry-server/store.js';

const self = fileURLToPath(import.meta.url);

/** Starts one on a store's directory. */
export async function startServerProcess(directory: string): Promise<{ url: string; kill(): Promise<void> }> {
  const child: ChildProcess = spawn(process.execPath, [self, directory], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
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
