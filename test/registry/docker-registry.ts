import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

/** A running docker-registry. */
export interface RunningRegistry {
  readonly host: string;
  readonly storage: string;
  stop(): Promise<void>;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

async function answers(port: number, child: ChildProcess): Promise<void> {
  const { connect } = await import('node:net');
  for (let attempt = 0; attempt < 300; attempt++) {
    if (child.exitCode !== null) throw new Error(`docker-registry ended with ${child.exitCode}`);
    const isOpen = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1');
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
      socket.once('connect', () => socket.destroy());
    });
    if (isOpen) return;
    await delay(50);
  }
  throw new Error('docker-registry does not listen');
}

/**
 * Starts Debian's docker-registry on a loopback port.
 * @param extra goes into its configuration as it is: further sections in YAML
 * @param http goes into its `http` section, indented by two
 */
export async function startRegistry(extra = '', http = ''): Promise<RunningRegistry> {
  const storage = await mkdtemp(join(tmpdir(), 'airlift-registry-'));
  const port = await freePort();
  const config = [
    'version: 0.1',
    'log: {level: error, accesslog: {disabled: true}}',
    `storage: {filesystem: {rootdirectory: ${JSON.stringify(join(storage, 'data'))}}, delete: {enabled: true}}`,
    'http:',
    `  addr: 127.0.0.1:${port}`,
    '  secret: not-a-secret',
    http,
    extra,
  ];
  const path = join(storage, 'config.yml');
  await writeFile(path, config.join('\n'));
  const child = spawn('docker-registry', ['serve', path], { stdio: 'ignore' });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  await answers(port, child);
  return {
    host: `127.0.0.1:${port}`,
    storage,
    stop: async () => {
      child.kill('SIGKILL');
      await ended;
      await rm(storage, { recursive: true, force: true });
    },
  };
}
