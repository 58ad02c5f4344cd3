import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startDaemon } from './daemon.js';
import { beside, pathWith, peerPath, run, type RunResult, type RunOptions } from './peers.js';

export interface Containerd {
  readonly address: string;
  /** Runs `ctr` against this containerd. */
  ctr(args: readonly string[], options?: RunOptions): Promise<RunResult>;
  log(): string;
  stop(): Promise<void>;
}

export interface ContainerdOptions {
  /** Path of another containerd than the installed one. The `ctr` beside it is used, if there is one. */
  readonly program?: string;
  /** Text of a `config.toml`. */
  readonly config?: string;
}

/** Starts a separate containerd. The test must skip with `needs('containerd')`, because containerd requires root. */
export async function startContainerd({ program, config }: ContainerdOptions = {}): Promise<Containerd> {
  const work = mkdtempSync(join(tmpdir(), 'airlift-containerd-'));
  const address = join(work, 'containerd.sock');
  const ctr = (args: readonly string[], options?: RunOptions): Promise<RunResult> =>
    run(beside(program, 'ctr'), ['--address', address, ...args], options);
  const flags = ['--root', join(work, 'root'), '--state', join(work, 'state'), '--address', address];
  if (config !== undefined) {
    writeFileSync(join(work, 'config.toml'), config);
    flags.push('--config', join(work, 'config.toml'));
  }
  const daemon = await startDaemon(program ?? peerPath('containerd'), flags, {
    log: join(work, 'log'),
    // containerd finds runc and its shim in PATH.
    env: { PATH: pathWith(program) },
    ready: () =>
      ctr(['version']).then(
        () => true,
        () => undefined,
      ),
  });
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
