/** Makes a vendor's tarballs: one `docker save` archive per platform, as k3s and RKE2 publish them. */
import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { testDigest } from '../support/content.js';
import { commonPlatforms } from '../support/image-sets.js';
import { platformJson } from '../support/images.js';
import { tarHeader, tarPadding } from '../support/tar.js';
import { entrypointLayer, mixedLayer, programLayers, type Bytes, type RawLayer } from './tarball-layers.js';

/** An image in a tarball. */
export interface SavedImage {
  /** `REPOSITORY:TAG`, without a registry. */
  readonly name: string;
  readonly platform: string;
  readonly file: string;
  readonly config: string;
  readonly diffIds: readonly string[];
}

export interface Tarballs {
  readonly files: readonly string[];
  readonly images: readonly SavedImage[];
  /** Size of all files. */
  readonly bytes: number;
}

/** Content of an image for one platform. Images share a layer if it is the same object. */
interface ImageContent {
  readonly name: string;
  readonly platform: string;
  readonly layers: readonly RawLayer[];
}

/** Composition of mixed tarballs: sizes of layers that all images of a platform share, and of those that an image has alone. */
interface MixedShape {
  readonly images: number;
  readonly base: readonly number[];
  readonly own: readonly number[];
}

const megabyte = 1_000_000;
export const fullMixed: MixedShape = {
  images: 8,
  base: [60 * megabyte, 50 * megabyte],
  own: [70 * megabyte, 40 * megabyte, 20 * megabyte],
};
export const smallMixed: MixedShape = { images: 2, base: [megabyte], own: [2 * megabyte, megabyte] };

function mixedContents(shape: MixedShape): ImageContent[] {
  return commonPlatforms.flatMap((platform) => {
    const base = shape.base.map((bytes, at) => mixedLayer(bytes, `base ${at} ${platform}`));
    return Array.from({ length: shape.images }, (_, number) => ({
      name: `vendor/app-${number}:1`,
      platform,
      layers: [...base, ...shape.own.map((bytes, at) => mixedLayer(bytes, `${number} ${at} ${platform}`))],
    }));
  });
}

/** Composition of tarballs with real programs: bytes of all layers together. */
interface RealShape {
  readonly images: number;
  readonly bytes: number;
}

export const fullReal: RealShape = { images: 8, bytes: 1200 * megabyte };
export const smallReal: RealShape = { images: 2, bytes: 6 * megabyte };

function realContents({ images, bytes }: RealShape): ImageContent[] {
  const layers = programLayers(bytes, images * commonPlatforms.length * 2);
  return commonPlatforms.flatMap((platform, which) =>
    Array.from({ length: images }, (_, number) => {
      const from = (which * images + number) * 2;
      return { name: `vendor/app-${number}:1`, platform, layers: layers.slice(from, from + 2) };
    }),
  );
}

/** Writes members of a tar as they come. */
class TarFile {
  readonly #fd: number;

  constructor(path: string) {
    this.#fd = openSync(path, 'w');
  }

  /** Writes a file, and returns its digest. */
  add(name: string, content: Bytes): string {
    const hash = createHash('sha256');
    writeSync(this.#fd, tarHeader({ name }, content.size));
    for (const chunk of content.open()) {
      hash.update(chunk);
      writeSync(this.#fd, chunk);
    }
    writeSync(this.#fd, Buffer.alloc(tarPadding(content.size)));
    return `sha256:${hash.digest('hex')}`;
  }

  addText(name: string, text: string): void {
    const bytes = Buffer.from(text);
    this.add(name, { size: bytes.length, open: () => [bytes] });
  }

  addOther(name: string, type: 'directory' | 'symlink', target?: string): void {
    writeSync(this.#fd, tarHeader({ name, type, ...(target === undefined ? {} : { target }) }, 0));
  }

  end(): void {
    writeSync(this.#fd, Buffer.alloc(1024));
    closeSync(this.#fd);
  }
}

/** Writes the images of one platform as `docker save` of Docker 20 does: shared layers are links. */
function writeTarball(file: string, contents: readonly ImageContent[]): SavedImage[] {
  const tar = new TarFile(file);
  const written = new Map<RawLayer, { readonly id: string; readonly diffId: string }>();
  const manifest: unknown[] = [];
  const saved = contents.map(({ name, platform, layers }): SavedImage => {
    const added = [...layers, entrypointLayer(platform, name)].map((layer, at) => {
      const id = hexOf(testDigest(`${platform} ${name} ${at}`));
      tar.addOther(`${id}/`, 'directory');
      tar.addText(`${id}/VERSION`, '1.0');
      tar.addText(`${id}/json`, JSON.stringify({ id }));
      const first = written.get(layer);
      if (first === undefined) written.set(layer, { id, diffId: tar.add(`${id}/layer.tar`, layer) });
      else tar.addOther(`${id}/layer.tar`, 'symlink', `../${first.id}/layer.tar`);
      return { path: `${id}/layer.tar`, diffId: written.get(layer)?.diffId ?? '' };
    });
    const diffIds = added.map(({ diffId }) => diffId);
    const config = JSON.stringify({
      created: '2024-01-02T03:04:05Z',
      ...platformJson(platform),
      config: { Entrypoint: ['/bin/app'] },
      rootfs: { type: 'layers', diff_ids: diffIds },
      history: diffIds.map((_, at) => ({ created: '2024-01-02T03:04:05Z', created_by: `layer ${at}` })),
    });
    const digest = testDigest(config);
    tar.addText(`${hexOf(digest)}.json`, config);
    manifest.push({
      Config: `${hexOf(digest)}.json`,
      RepoTags: [name],
      Layers: added.map(({ path }) => path),
    });
    return { name, platform, file, config: digest, diffIds };
  });
  tar.addText('manifest.json', JSON.stringify(manifest));
  tar.end();
  return saved;
}

const hexOf = (digest: string): string => digest.slice('sha256:'.length);

/** Names of tarballs as k3s has them. */
const nameOf = (platform: string): string => `airgap-images-${platform.split('/')[1] ?? ''}.tar`;

/** Makes one tarball per platform in `dir`. Reuses tarballs that an earlier run made there. */
export function makeTarballs(dir: string, shape: MixedShape | RealShape): Tarballs {
  const note = join(dir, 'tarballs.json');
  const wanted = JSON.stringify({ ...shape, dir });
  if (existsSync(note)) {
    const made = JSON.parse(readFileSync(note, 'utf8')) as { shape: string; tarballs: Tarballs };
    if (made.shape === wanted) return made.tarballs;
  }
  rmSync(dir, { recursive: true, force: true });
  mkdirSync(dir, { recursive: true });
  const contents = 'own' in shape ? mixedContents(shape) : realContents(shape);
  const files = commonPlatforms.map((platform) => join(dir, nameOf(platform)));
  const images = commonPlatforms.flatMap((platform, at) =>
    writeTarball(
      files[at] ?? '',
      contents.filter((content) => content.platform === platform),
    ),
  );
  const bytes = files.reduce((total, file) => total + statSync(file).size, 0);
  const tarballs = { files, images, bytes };
  writeFileSync(note, JSON.stringify({ shape: wanted, tarballs }));
  return tarballs;
}
