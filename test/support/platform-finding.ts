import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { openArchive, type OpenOptions } from '../../src/archive/read/open.js';
import type { PlatformFinding } from '../../src/archive/platform/decide-platform.js';
import { elfFile } from './elf.js';
import { imageOf, layer, type LayerOptions, type TestImage } from './images.js';
import { tarOf, type TarMember } from './tar.js';
import { temp } from './temp.js';

/** Writes an archive, opens it, and returns the platform finding of its only image. */
export async function finding(
  t: TestContext,
  members: readonly TarMember[],
  file: string,
  options: OpenOptions = {},
): Promise<PlatformFinding | undefined> {
  const path = join(temp(t), file);
  await writeFile(path, tarOf(members));
  const archive = await openArchive(path, options);
  t.after(() => archive.close());
  for await (const { children } of archive.images()) return children[0]?.platform;
  return undefined;
}

export const at = (name: string, platform: string, mode = 0o755): TarMember => ({
  name,
  content: elfFile(platform),
  mode,
});
export const link = (name: string, target: string): TarMember => ({ name, type: 'symlink', target });
export const script = (name: string, first: string): TarMember => ({
  name,
  content: `${first}\necho hello\n`,
  mode: 0o755,
});

/** Returns an image whose config states linux/amd64. */
export function image(
  layers: readonly TarMember[][],
  run: Record<string, unknown>,
  options: LayerOptions = {},
): TestImage {
  return imageOf({
    platform: 'linux/amd64',
    layers: layers.map((members) => layer(members, { compression: 'none', ...options })),
    config: { config: run },
  });
}
