import { AirliftError } from '../errors.js';
import { formatPlatform, matchPlatform, type Platform } from '../oci/platform.js';
import { formatReference } from '../oci/reference.js';
import type { SaveJob } from './job.js';

/** What a node of an architecture wants: containerd takes lesser variants of arm where there is no v7. */
function wantOf({ os, architecture }: Platform): Platform {
  return { os, architecture, variant: architecture === 'arm' ? 'v7' : undefined };
}

/**
 * The Linux platforms of nodes that have at least one image, sorted by name.
 * @throws AirliftError `platform-missing` where no image is for Linux
 */
export async function nodePlatforms(job: SaveJob): Promise<Platform[]> {
  const found = new Map<string, Platform>();
  const all = new Set<string>();
  for (const image of job.images()) {
    job.checkInterrupted();
    const images = await job.runnable(image);
    for (const { platform } of images) {
      all.add(formatPlatform(platform));
      const want = wantOf(platform);
      if (want.os === 'linux' && matchPlatform(want, images).length > 0)
        found.set(formatPlatform(want), want);
    }
  }
  if (found.size > 0) return [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, platform]) => platform);
  const [other] = all;
  throw new AirliftError(
    'platform-missing',
    `save: no image for Linux nodes; got ${listOf(all)}, want linux/…`,
    {
      hint: other === undefined ? undefined : `\`platforms\` '${other}' saves for nodes of that platform`,
    },
  );
}

function listOf(platforms: ReadonlySet<string>): string {
  return platforms.size === 0 ? 'no runnable image' : [...platforms].sort().join(', ');
}

/**
 * Refuses a platform that no image has: nothing would be saved for it.
 * @throws AirliftError `platform-missing`
 */
export async function checkPlatforms(job: SaveJob, platforms: readonly Platform[]): Promise<void> {
  const lacking = new Set(platforms);
  const all = new Set<string>();
  for (const image of job.images()) {
    job.checkInterrupted();
    const images = await job.runnable(image);
    for (const platform of lacking) if (matchPlatform(platform, images).length > 0) lacking.delete(platform);
    if (lacking.size === 0) return;
    for (const { platform } of images) all.add(formatPlatform(platform));
  }
  const want = [...lacking].map(formatPlatform).join(', ');
  throw new AirliftError(
    'platform-missing',
    `save: no image for the platform; got ${listOf(all)}, want ${want}`,
    {
      hint: 'choose among these platforms with `platforms`',
    },
  );
}

/**
 * Refuses an image that lacks one of the platforms: the files for the others are not to be written first.
 * @throws AirliftError `platform-missing`
 */
export async function checkEach(job: SaveJob, platforms: readonly Platform[]): Promise<void> {
  for (const image of job.images()) {
    job.checkInterrupted();
    const images = await job.runnable(image);
    const want = platforms.find((platform) => matchPlatform(platform, images).length === 0);
    if (want === undefined || images.length === 0) continue;
    const got = images.map(({ platform }) => formatPlatform(platform)).join(', ');
    throw new AirliftError(
      'platform-missing',
      `save ${formatReference(image.reference)}: platform missing; got ${got}, want ${formatPlatform(want)}`,
      { hint: '`skipMissingPlatforms` saves the other images' },
    );
  }
}

/** The name of a platform in file names, as k3s releases have it: `amd64`, `arm64`, `arm`, `s390x`, `windows-10.0.17763.1-amd64`. */
function nodePlatformName({ os, architecture, variant, osVersion }: Platform): string {
  const isUsual = variant === undefined || (architecture === 'arm' && variant === 'v7');
  const system = [os, osVersion].filter((part) => part !== undefined && part !== 'linux');
  const name = [...system, `${architecture}${isUsual ? '' : variant}`].join('-');
  // A config may say anything: what is no part of a file name stays out of it.
  return name.replace(/[^\w.-]+/g, '-');
}

/**
 * The platforms by what they are called in file names.
 * @throws AirliftError `conflict` where two would share a name
 */
export function platformsByName(platforms: readonly Platform[]): Map<string, Platform> {
  const byName = new Map<string, Platform>();
  for (const platform of platforms) {
    const name = nodePlatformName(platform);
    const [mine, other] = [platform, byName.get(name) ?? platform].map(formatPlatform);
    if (other !== mine)
      throw new AirliftError(
        'conflict',
        `save: two platforms for one file ${name}; got ${other} and ${mine}`,
        {
          hint: 'save one of them at a time with `platforms`',
        },
      );
    byName.set(name, platform);
  }
  return byName;
}
