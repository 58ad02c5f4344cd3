import { AirliftError } from '../errors.js';
import { formatPlatform, matchPlatform, type Platform } from '../oci/platform.js';
import { formatReference } from '../oci/reference.js';
import type { SaveJob } from './job.js';

/** Returns the platform of the nodes that run an image: on arm, v7, whose containerd falls back to lesser variants. */
function nodePlatformOf({ os, architecture }: Platform): Platform {
  return { os, architecture, variant: architecture === 'arm' ? 'v7' : undefined };
}

/**
 * Returns the Linux platforms of nodes that at least one image is for, sorted by name.
 * @throws AirliftError `platform-missing` if no image is for Linux
 */
export async function nodePlatforms(job: SaveJob): Promise<Platform[]> {
  const found = new Map<string, Platform>();
  const all = new Set<string>();
  for (const image of job.images()) {
    job.checkInterrupted();
    const images = await job.runnable(image);
    for (const { platform } of images) {
      all.add(formatPlatform(platform));
      const want = nodePlatformOf(platform);
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
 * Rejects a platform that no image has, for which nothing would be saved.
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
    `${job.doing}: no image for the platform; got ${listOf(all)}, want ${want}`,
    {
      hint: 'choose among these platforms with `platforms`',
    },
  );
}

/**
 * Rejects an image that lacks one of the platforms, before the files for the other platforms are written.
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
      `${job.doing} ${formatReference(image.reference)}: platform missing; got ${got}, want ${formatPlatform(want)}`,
      { hint: `\`skipMissingPlatforms\` ${job.doing}s the other images` },
    );
  }
}

/** Returns the name of a platform in file names, as in k3s releases: `amd64`, `arm64`, `arm`, `s390x`, `windows-10.0.17763.1-amd64`. */
function nodePlatformName({ os, architecture, variant, osVersion }: Platform): string {
  const isUsual = variant === undefined || (architecture === 'arm' && variant === 'v7');
  const system = [os, osVersion].filter((part) => part !== undefined && part !== 'linux');
  const name = [...system, `${architecture}${isUsual ? '' : variant}`].join('-');
  // A config may contain any text; only characters that are safe in a file name remain.
  return name.replace(/[^\w.-]+/g, '-');
}

/**
 * Returns the platforms by their names in file names.
 * @throws AirliftError `conflict` if two platforms have the same name
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
