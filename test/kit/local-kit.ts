/** Kits for this machine, out of what is installed: tests and CI download nothing for them. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { digestOf } from '../../src/oci/digest.js';
import { readRuntime } from '../../src/kit/fetch-runtime.js';
import { writeKit } from '../../src/kit/kit.js';
import { readParts, type RuntimeParts } from '../../src/kit/runtime-parts.js';
import { runtimes, tarballName, type Runtime } from '../../src/kit/runtimes.js';
import type { KitSummary } from '../../src/kit/summary.js';
import { testCache } from '../support/busybox.js';
import type { Cleanup } from '../support/temp.js';

const packageFile = fileURLToPath(new URL('../../../package.json', import.meta.url));

/** The version of airlift. */
export const { version } = JSON.parse(readFileSync(packageFile, 'utf8')) as { version: string };

/** The directory of the tarballs that `.ci/run` fetches by `npm pack`. */
export const tarballs = join(testCache(), 'kit');

/** Returns the runtime of a platform (default: this machine's). */
export function runtimeOf(platform = `linux/${process.arch === 'x64' ? 'amd64' : process.arch}`): Runtime {
  const found = runtimes.find((runtime) => runtime.platform === platform);
  if (found === undefined) throw new Error(`kits do not run on ${platform}`);
  return found;
}

/** Returns why a runtime is missing, or false. */
export function needsRuntime(...platforms: string[]): string | false {
  for (const platform of platforms.length > 0 ? platforms : [undefined]) {
    const runtime = runtimeOf(platform);
    if (!existsSync(join(tarballs, tarballName(runtime))))
      return `no ${runtime.package} (.ci/run fetches it, or: npm pack ${runtime.package}@${runtime.version} --pack-destination ${tarballs})`;
  }
  return false;
}

/** Reads a runtime from the tarballs. */
export async function readLocalRuntime(runtime = runtimeOf()): Promise<RuntimeParts> {
  return readParts(await readRuntime(runtime, { from: tarballs, cache: tarballs }), runtime);
}

/** Returns a Node.js executable that is installed, as a runtime. */
function installed(path: string, nodeVersion: string): RuntimeParts {
  const program = readFileSync(path);
  const { platform } = runtimeOf();
  const runtime = {
    platform,
    package: path,
    version: nodeVersion,
    integrity: 'none',
    program: digestOf(program),
  };
  return { runtime, program, license: Buffer.from('The licence is that of the Node.js at this path.\n') };
}

/** Reports whether a version of Node.js has what the kit needs: the SQLite of 24.21, and its format of applications. */
function isSuitable(nodeVersion: string): boolean {
  const [major = 0, minor = 0] = nodeVersion.replace('v', '').split('.').map(Number);
  return major === 24 && minor >= 21;
}

/** Finds a runtime for this machine: `AIRLIFT_KIT_RUNTIME` names an executable, else a tarball, else the Node.js that runs this. */
async function findRuntime(): Promise<RuntimeParts> {
  const given = process.env['AIRLIFT_KIT_RUNTIME'];
  if (given !== undefined && given !== '') return installed(given, 'unknown');
  const missing = needsRuntime();
  if (missing === false) return readLocalRuntime();
  if (isSuitable(process.version)) return installed(process.execPath, process.version.slice(1));
  throw new Error(`${missing}; or set AIRLIFT_KIT_RUNTIME to the executable of Node.js 24.21 or later`);
}

/** Builds a kit for this machine in a directory, compressed fast. */
export async function buildLocalKit(output: string): Promise<KitSummary> {
  mkdirSync(output, { recursive: true });
  const parts = async function* (): AsyncGenerator<RuntimeParts> {
    yield await findRuntime();
  };
  return writeKit(parts(), { output }, 1);
}

/** Builds a kit in a temporary directory, for the tests of one file. */
export async function temporaryKit(t: Cleanup): Promise<KitSummary> {
  const output = mkdtempSync(join(tmpdir(), 'airlift-kit-'));
  t.after(() => rmSync(output, { recursive: true, force: true }));
  return buildLocalKit(output);
}
