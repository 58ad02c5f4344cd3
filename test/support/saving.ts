/** Set-up for tests of `save`: a registry with images, and a bundle of them. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { exportBundle } from '../../src/export/export.js';
import type { Digest } from '../../src/oci/digest.js';
import { parseReference, type Reference } from '../../src/oci/reference.js';
import type { ProgressEvent } from '../../src/progress.js';
import { saveImages, type SaveOptions } from '../../src/save/save.js';
import { bytesOf, testDigest } from './content.js';
import { startDockerRegistry, type DockerRegistry } from './docker-registry.js';
import { assortment, type NamedImage } from './image-sets.js';
import type { TestImage } from './images.js';
import { pushImage } from './push-image.js';
import { temp, type Cleanup } from './temp.js';

/** The result of one save, in a separate directory. */
export interface Saved {
  readonly dir: string;
  /** The path given as output. */
  readonly path: string;
  readonly files: readonly string[];
  readonly events: readonly ProgressEvent[];
}

export class SavingSite {
  readonly #set = assortment();
  readonly images = ['web', 'pause', 'tools', 'docker-single', 'odd', 'artifact'].map((name) =>
    this.named(name),
  );

  /** @param bundle path of a bundle with all images, named `host/repository:tag` */
  constructor(
    private readonly registry: DockerRegistry,
    readonly bundle: string,
    private readonly cleanups: (() => Promise<void> | void)[],
  ) {}

  get host(): string {
    return this.registry.host;
  }

  named(name: string): NamedImage {
    return this.#set[name] ?? assert.fail(name);
  }

  referenceOf({ repository, tag }: NamedImage): string {
    return `${this.host}/${repository}:${tag}`;
  }

  refs(...names: string[]): Reference[] {
    return names.map((name) => parseReference(this.referenceOf(this.named(name))));
  }

  push(repository: string, tag: string, image: TestImage): Promise<void> {
    return pushImage(this.host, repository, tag, image);
  }

  /** Saves images (default: all of the bundle), and checks that no partial file is left. */
  async save(t: Cleanup, options: Partial<SaveOptions> & Pick<SaveOptions, 'format'>): Promise<Saved> {
    const dir = temp(t);
    const path = join(dir, 'out');
    const events: ProgressEvent[] = [];
    const { files } = await saveImages({
      from: { files: [this.bundle] },
      output: path,
      onEvent: (event) => events.push(event),
      ...options,
    });
    const partialFiles = readdirSync(dir).filter((name) => name.endsWith('.partial'));
    assert.deepEqual(partialFiles, []);
    return { dir, path, files: files.map((file) => file.path), events };
  }

  async stop(): Promise<void> {
    for (const work of this.cleanups.reverse()) await work();
  }
}

/** Starts a registry, pushes the images and exports them. */
export async function startSavingSite(): Promise<SavingSite> {
  const cleanups: (() => Promise<void> | void)[] = [];
  const registry = await startDockerRegistry();
  cleanups.push(() => registry.stop());
  const dir = temp({ after: (work) => void cleanups.push(work) });
  const site = new SavingSite(registry, join(dir, 'site.tar'), cleanups);
  for (const { repository, tag, image } of site.images) await site.push(repository, tag ?? '', image);
  await exportBundle({
    images: site.images.map((image) => ({ reference: parseReference(site.referenceOf(image)) })),
    output: site.bundle,
    created: new Date(0),
    registry: {},
  });
  return site;
}

interface ManifestJson {
  config: { digest: Digest };
  manifests?: { digest: Digest; platform?: { architecture: string } }[];
}

function parsed(image: TestImage, digest: Digest): ManifestJson {
  const own = image.manifests.get(digest);
  assert.ok(own !== undefined);
  return JSON.parse(bytesOf(own).toString()) as ManifestJson;
}

/** Returns the digest of the manifest for an architecture: for an index, that of the child. */
export function manifestOf(image: TestImage, architecture: string): Digest {
  const { manifests = [] } = parsed(image, image.root.digest);
  const child = manifests.find(({ platform }) => platform?.architecture === architecture);
  return child?.digest ?? image.root.digest;
}

/** Returns the digest of the config for an architecture, which is docker's image ID, and the digests of the uncompressed layers. */
export function configOf(image: TestImage, architecture: string): { id: Digest; diffIds: Digest[] } {
  const { digest } = parsed(image, manifestOf(image, architecture)).config;
  const config = image.blobs.get(digest);
  assert.ok(config !== undefined);
  const json = JSON.parse(bytesOf(config).toString()) as { rootfs: { diff_ids: Digest[] } };
  return { id: digest, diffIds: json.rootfs.diff_ids };
}

export function digestOfFile(path: string): Digest {
  return testDigest(readFileSync(path));
}
