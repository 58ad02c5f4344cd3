/** A root directory with busybox, the C and C++ libraries and a kit, without Node.js: a machine that has nothing installed. */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { busybox } from '../support/busybox.js';
import { machinePlatform } from './fake-kit.js';

/** The programs that the site has. */
const applets =
  'sh gzip tar sha256sum uname id stat ls df mkdir rm mv chmod cat sleep kill wget ip cp printf head test seq'.split(
    ' ',
  );

/** The user that runs airlift in the root. */
export const siteUser = 65534;

/** Returns why no such root can be made here, or false. */
export function needsEmptyRoot(): string | false {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'an empty root requires root on Linux';
  if (busybox(machinePlatform) === undefined) return 'no busybox (.ci/run fetches it)';
  const probe = spawnSync('unshare', ['-n', '-m', 'true']);
  return probe.status === 0 ? false : 'namespaces are not allowed here';
}

/** Lists the libraries that the executable of a kit loads, by the dynamic linker itself. */
function librariesOf(kit: string): string[] {
  const packed = readdirSync(kit).find((name) => name.endsWith('.gz')) ?? '';
  const directory = mkdtempSync(join(tmpdir(), 'airlift-program-'));
  const program = join(directory, 'program');
  writeFileSync(program, gunzipSync(readFileSync(join(kit, packed))), { mode: 0o755 });
  const { stdout, status } = spawnSync('ldd', [program], { encoding: 'utf8' });
  rmSync(directory, { recursive: true });
  if (status !== 0) throw new Error(`ldd ${program}: ended with ${status}`);
  return [...stdout.matchAll(/(\/\S+\.so\S*)/g)].map(([path]) => path);
}

/**
 * Creates the root with a kit in `/media/airlift`; remove it with `removeRoot`.
 * @param kit directory of a kit for this machine only
 */
export function makeRoot(kit: string): string {
  const root = mkdtempSync(join(tmpdir(), 'airlift-root-'));
  chmodSync(root, 0o755);
  for (const folder of ['bin', 'dev', 'proc', 'media', 'home', 'etc']) mkdirSync(join(root, folder));
  for (const folder of ['tmp', 'var/tmp']) {
    mkdirSync(join(root, folder), { recursive: true });
    chmodSync(join(root, folder), 0o1777);
  }
  const made = spawnSync('mknod', ['-m', '666', join(root, 'dev', 'null'), 'c', '1', '3']);
  if (made.status !== 0) throw new Error(`mknod: ${String(made.stderr)}`);
  cpSync(busybox(machinePlatform) ?? '', join(root, 'bin', 'busybox'));
  for (const name of applets) symlinkSync('busybox', join(root, 'bin', name));
  for (const path of librariesOf(kit)) {
    mkdirSync(join(root, dirname(path)), { recursive: true });
    cpSync(realpathSync(path), join(root, dirname(path), basename(path)));
  }
  cpSync(kit, join(root, 'media', 'airlift'), { recursive: true });
  return root;
}

/**
 * Returns a command line that runs a shell script in the root as a user without rights.
 * @param isOffline whether the script has no network but loopback
 */
export function inRoot(root: string, script: string, { isOffline = true } = {}): [string, string[]] {
  const setup = [
    `mount -t proc proc '${root}/proc'`,
    ...(isOffline ? [`'${root}/bin/busybox' ip link set lo up`] : []),
    `exec chroot --userspec=${siteUser}:${siteUser} '${root}' /bin/busybox env -i PATH=/bin HOME=/home/user /bin/sh -euc "$1"`,
  ].join('\n');
  return ['unshare', ['-m', ...(isOffline ? ['-n'] : []), 'sh', '-euc', setup, 'sh', script]];
}

export function removeRoot(root: string): void {
  rmSync(root, { recursive: true, force: true, maxRetries: 5 });
}
