/** Real programs for three platforms: Debian's busybox-static, which `.ci/run` fetches. */
import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { imageOf, indexOf, layer, type TestImage } from './images.js';

/** Debian's architecture name for each platform. */
const architectures = { 'linux/amd64': 'amd64', 'linux/arm64': 'arm64', 'linux/arm/v7': 'armhf' } as const;
export type BusyboxPlatform = keyof typeof architectures;

/** Returns the directory for files that tests download: `$AIRLIFT_TEST_CACHE`, else `airlift-test` in the user's cache directory. */
export function testCache(): string {
  const own = process.env['AIRLIFT_TEST_CACHE'];
  if (own !== undefined && own !== '') return own;
  const cache = process.env['XDG_CACHE_HOME'];
  return join(cache === undefined || cache === '' ? join(homedir(), '.cache') : cache, 'airlift-test');
}

/** Returns the path of a static busybox for `platform`, or undefined if it was not fetched. */
export function busybox(platform: BusyboxPlatform): string | undefined {
  const path = join(testCache(), 'busybox', architectures[platform], 'busybox');
  return existsSync(path) ? path : undefined;
}

/** Returns a value for the `skip` option of node:test: false if busybox was fetched for every platform, else the reason to skip. */
export function needsBusybox(): string | false {
  for (const platform of Object.keys(architectures) as BusyboxPlatform[])
    if (busybox(platform) === undefined)
      return `no busybox for ${platform} (.ci/run fetches it, or: apt-get download busybox-static:${architectures[platform]})`;
  return false;
}

/** Returns an index of three images, each with the platform's real busybox and symlinks for some of its commands. */
export function busyboxImage(): TestImage {
  const images = (Object.keys(architectures) as BusyboxPlatform[]).map((platform) => {
    const path = busybox(platform);
    if (path === undefined) throw new Error(`no busybox for ${platform}`);
    const commands = ['sh', 'uname', 'cat', 'echo'];
    const files = layer(
      [
        { name: 'bin/', type: 'directory' },
        { name: 'bin/busybox', content: readFileSync(path), mode: 0o755 },
        ...commands.map((name) => ({ name: `bin/${name}`, type: 'symlink' as const, target: 'busybox' })),
      ],
      { compression: 'stored-gzip' },
    );
    return imageOf({
      platform,
      layers: [files],
      config: { config: { Env: ['PATH=/bin'], Entrypoint: ['/bin/sh'] } },
    });
  });
  return indexOf({ children: images });
}
