/** Images of a site in two months, which share layers, and the registries at both ends. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { airlift } from './airlift.js';
import { startDockerRegistry, type DockerRegistry } from './docker-registry.js';
import { multiPlatform } from './image-sets.js';
import type { TestImage } from './images.js';
import { pushImage } from './push-image.js';
import { temp, type Cleanup } from './temp.js';
import { sameContent, walkImage, walkRegistry } from './walk.js';

const platforms = ['linux/amd64', 'linux/arm64'];

/** Images of the first month, by `repository:tag`. */
export const firstMonth: Readonly<Record<string, TestImage>> = {
  'acme/web:1': multiPlatform({ name: 'web 1', roots: ['base', 'web'], platforms }),
  'acme/latest:now': multiPlatform({ name: 'now 1', roots: ['base', 'tools'], platforms }),
  'rancher/pause:3.1': multiPlatform({ name: 'pause', platforms, flavour: 'docker', bigBytes: 200_000 }),
};

/** Images of the second month: one unchanged, one under a new tag, one whose tag has moved, one new. */
export const secondMonth: Readonly<Record<string, TestImage>> = {
  'acme/web:2': multiPlatform({ name: 'web 2', roots: ['base', 'web'], platforms }),
  'acme/latest:now': multiPlatform({ name: 'now 2', roots: ['base', 'tools'], platforms }),
  'rancher/pause:3.1': multiPlatform({ name: 'pause', platforms, flavour: 'docker', bigBytes: 200_000 }),
  'acme/new:1': multiPlatform({ name: 'new', roots: ['base'], platforms }),
};

export interface Year {
  readonly source: DockerRegistry;
  readonly site: DockerRegistry;
  /** Directory for files. */
  readonly dir: string;
  /** Pushes images to the source. */
  push(images: Readonly<Record<string, TestImage>>): Promise<void>;
  /** Returns references at the source. */
  names(images: Readonly<Record<string, TestImage>>): string[];
  /** Exports images of the source to a file in `dir`, and returns its path. */
  export(
    images: Readonly<Record<string, TestImage>>,
    name: string,
    ...flags: readonly string[]
  ): Promise<string>;
}

/** Asserts that a registry has images, byte for byte. */
export async function holds(
  registry: DockerRegistry,
  images: Readonly<Record<string, TestImage>>,
): Promise<void> {
  for (const [name, image] of Object.entries(images)) {
    const [repository = '', tag = ''] = name.split(':');
    const { root, content } = await walkRegistry(registry.host, repository, tag);
    assert.equal(root.digest, image.root.digest, name);
    sameContent(content, await walkImage(image));
  }
}

/** Counts the requests that changed a registry. */
export function countWrites(registry: DockerRegistry): number {
  return registry.log().match(/"http\.request\.method":"(?:PUT|POST|PATCH)"/g)?.length ?? 0;
}

/** Environment with a fixed creation time. */
const monthEnv = { SOURCE_DATE_EPOCH: '1700000000' };

/** Starts two registries, and pushes the first month to the source. */
export async function startYear(t: Cleanup): Promise<Year> {
  const source = await startDockerRegistry();
  t.after(() => source.stop());
  const site = await startDockerRegistry();
  t.after(() => site.stop());
  const dir = temp(t);
  const push: Year['push'] = async (images) => {
    for (const [name, image] of Object.entries(images)) {
      const [repository = '', tag] = name.split(':');
      await pushImage(source.host, repository, tag, image);
    }
  };
  const names: Year['names'] = (images) => Object.keys(images).map((name) => `${source.host}/${name}`);
  await push(firstMonth);
  return {
    source,
    site,
    dir,
    push,
    names,
    export: async (images, name, ...flags) => {
      const path = join(dir, name);
      await airlift(['export', ...names(images), '-o', path, ...flags], { env: monthEnv });
      return path;
    },
  };
}
