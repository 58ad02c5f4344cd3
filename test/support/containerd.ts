import { mkdtempSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startDaemon } from './daemon.js';
import { peerPath, run, type RunResult, type RunOptions } from './peers.js';

export interface Containerd {
  readonly address: string;
  /** Runs `ctr` against this containerd. */
  ctr(args: readonly string[], options?: RunOptions): Promise<RunResult>;
  log(): string;
  stop(): Promise<void>;
}

/** Starts a separate containerd. The test must skip with `needs('containerd')`, because containerd requires root. */
export async function startContainerd(): Promise<Containerd> {
  const work = mkdtempSync(join(tmpdir(), 'airlift-containerd-'));
  const address = join(work, 'containerd.sock');
  const ctr = (args: readonly string[], options?: RunOptions): Promise<RunResult> =>
    run('ctr', ['--address', address, ...args], options);
  const daemon = await startDaemon(
    peerPath('containerd'),
    ['--root', join(work, 'root'), '--state', join(work, 'state'), '--address', address],
    {
      log: join(work, 'log'),
      ready: () =>
        ctr(['version']).then(
          () => true,
          () => undefined,
        ),
    },
  );
  return {
    address,
    ctr,
    log: () => readFileSync(daemon.log, 'utf8'),
    stop: async () => {
      await daemon.stop();
      await rm(work, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
