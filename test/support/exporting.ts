import { readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { serve } from '../../src/serve/serve.js';
import { airlift } from './airlift.js';
import { startFaultProxy, type FaultProxy, type Rule } from './faults.js';
import type { TestImage } from './images.js';
import { pushImage } from './push-image.js';
import { startAirlift, type Started } from './started.js';
import { temp, type Cleanup } from './temp.js';
import { until } from './until.js';

/** Environment with a fixed creation time, for reproducible bundles. */
export const env = { SOURCE_DATE_EPOCH: '1700000000' };

/** Limits the speed of blobs, so that a run can be stopped in the middle. */
export const slow: Rule = {
  fault: { do: 'slow', bytes: 65_536, every: 12 },
  method: 'GET',
  path: /\/blobs\//,
};

/** A registry behind a fault proxy, with functions to export from it. */
export interface ExportSetup {
  readonly proxy: FaultProxy;
  push(name: string, image: TestImage, tag?: string): Promise<void>;
  /** Returns references at the proxy, to repositories below `acme` with the tag 1. */
  names(...repositories: string[]): string[];
  /** Removes all rules of the proxy, and returns the bytes of a new export. */
  undisturbed(...args: readonly string[]): Promise<Buffer>;
  start(...args: readonly string[]): Started;
  /** Returns the number of blob bytes that the proxy has sent. */
  sentBytes(): number;
  /** Waits until the proxy has sent this many more bytes of blobs; fails if the run ends first. */
  passed(run: Started, bytes: number): Promise<void>;
  /** Starts an export and kills it with SIGKILL after this many bytes of blobs. The rules stay. */
  killAfter(bytes: number, ...args: readonly string[]): Promise<void>;
}

export async function startExportSetup(t: Cleanup): Promise<ExportSetup> {
  const registry = await serve({ store: join(temp(t), 'store') }, { port: 0 });
  t.after(() => registry.close());
  const proxy = await startFaultProxy({ upstream: registry.url });
  t.after(() => proxy.stop());
  const start = (...args: readonly string[]): Started => startAirlift(['export', ...args], { env });
  const sentBytes = (): number => proxy.log.find('GET', /\/blobs\//).reduce((sum, { sent }) => sum + sent, 0);
  const passed = async (run: Started, bytes: number): Promise<void> => {
    const before = sentBytes();
    let isEnded = false;
    void run.ended.then(() => (isEnded = true));
    await until(`${bytes} bytes of blobs pass`, () => isEnded || sentBytes() - before >= bytes, 120_000);
    if (sentBytes() - before < bytes) throw new Error(`ended too early: ${(await run.ended).stderr}`);
  };
  return {
    proxy,
    push: (name, image, tag = '1') =>
      pushImage(`${registry.host}:${registry.port}`, `acme/${name}`, tag, image),
    names: (...repositories) => repositories.map((name) => `${proxy.host}/acme/${name}:1`),
    undisturbed: async (...args) => {
      proxy.heal();
      const output = join(temp(t), 'whole.tar');
      await airlift(['export', ...args, '-o', output], { env });
      return readFileSync(output);
    },
    start,
    sentBytes,
    passed,
    killAfter: async (bytes, ...args) => {
      const run = start(...args);
      await passed(run, bytes);
      run.send('SIGKILL');
      await run.ended;
    },
  };
}

/** Returns the suffixes of the other files in the output's directory whose names begin with its name. */
export function filesBeside(output: string): string[] {
  const name = basename(output);
  return readdirSync(dirname(output))
    .filter((file) => file !== name && file.startsWith(name))
    .map((file) => file.slice(name.length));
}
