import { mkdtempSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startDaemon } from './daemon.js';
import { beside, pathWith, peerPath, run, type RunResult, type RunOptions } from './peers.js';

export interface Dockerd {
  /** `unix://…` */
  readonly host: string;
  /** Runs `docker` against this dockerd, with a separate configuration directory. */
  docker(args: readonly string[], options?: RunOptions): Promise<RunResult>;
  log(): string;
  stop(): Promise<void>;
}

export interface DockerdOptions {
  /** Path of a `daemon.json`. */
  readonly config?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Path of another dockerd than the installed one. The programs beside it are used, if there are some. */
  readonly program?: string;
  /** Default: `vfs`, which works everywhere. */
  readonly storageDriver?: string;
}

/** Starts a separate dockerd without networks. The test must skip with `needs('dockerd')`, because dockerd requires root. */
export async function startDockerd(options: DockerdOptions = {}): Promise<Dockerd> {
  const { config, env = {}, program, storageDriver = 'vfs' } = options;
  const work = mkdtempSync(join(tmpdir(), 'airlift-dockerd-'));
  const host = `unix://${join(work, 'docker.sock')}`;
  const docker = (args: readonly string[], each?: RunOptions): Promise<RunResult> =>
    run(beside(program, 'docker'), ['--config', join(work, 'config'), '-H', host, ...args], each);
  const daemon = await startDaemon(
    program ?? peerPath('dockerd'),
    [
      ...['--data-root', join(work, 'data'), '--exec-root', join(work, 'exec')],
      ...['--pidfile', join(work, 'pid'), '-H', host],
      ...(config === undefined ? [] : ['--config-file', config]),
      ...['--iptables=false', '--ip6tables=false', '--bridge=none', `--storage-driver=${storageDriver}`],
    ],
    {
      log: join(work, 'log'),
      // dockerd finds containerd in PATH.
      env: { ...env, PATH: pathWith(program) },
      ready: () =>
        docker(['version']).then(
          () => true,
          () => undefined,
        ),
    },
  );
  return {
    host,
    docker,
    log: () => readFileSync(daemon.log, 'utf8'),
    stop: async () => {
      await daemon.stop();
      await rm(work, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
