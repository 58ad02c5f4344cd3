import { formatPlatform, matchPlatform, type Platform } from './oci/platform.js';
import type { SaveJob } from './save-job.js';

/** What a node of an architecture wants: containerd takes lesser variants of arm where there is no v7. */
function wantOf({ os, architecture }: Platform): Platform {
  return { os, architecture, variant: architecture === 'arm' ? 'v7' : undefined };
}

/** The Linux platforms of nodes that have at least one image, sorted by name. */
export async function nodePlatforms(job: SaveJob): Promise<Platform[]> {
  const found = new Map<string, Platform>();
  for (const image of job.images()) {
    job.checkInterrupted();
    const images = await job.runnable(image);
    for (const { platform } of images) {
      const want = wantOf(platform);
      if (want.os === 'linux' && matchPlatform(want, images).length > 0)
        found.set(formatPlatform(want), want);
    }
  }
  return [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, platform]) => platform);
}

/** The name of a platform in file names, as k3s releases have it: `amd64`, `arm64`, `arm`, `s390x`. */
export function nodePlatformName({ os, architecture, variant }: Platform): string {
  const isUsual = variant === undefined || (architecture === 'arm' && variant === 'v7');
  const name = `${os === 'linux' ? '' : `${os}-`}${architecture}${isUsual ? '' : variant}`;
  // A config may say anything: what is no part of a file name stays out of it.
  return name.replace(/[^\w.-]+/g, '-');
}
