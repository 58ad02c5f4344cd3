import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startDockerRegistry, type DockerRegistry } from '../support/docker-registry.js';
import { commonPlatforms, programLayer, rootfs, type NamedImage } from '../support/image-sets.js';
import { bigLayer, imageOf, indexOf, layer, type Layer, type TestImage } from '../support/images.js';
import { pushImage } from '../support/push-image.js';

/** Composition of a corpus; sizes in bytes. */
export interface CorpusShape {
  readonly images: number;
  readonly platforms: readonly string[];
  /** Sizes of the layers that all images share, for each platform. */
  readonly base: readonly number[];
  /** Sizes of the layers that every second image shares, for each platform. */
  readonly runtime: readonly number[];
  /** Sizes of the layers that only one image has, for each platform. */
  readonly own: readonly number[];
  /** Size of a layer that only the first platform of the first image has. */
  readonly largest?: number;
}

const megabyte = 1_000_000;

export const fullShape: CorpusShape = {
  images: 8,
  platforms: commonPlatforms,
  base: [30 * megabyte],
  runtime: [48 * megabyte],
  own: [28 * megabyte, 16 * megabyte, 9 * megabyte, 900_000, 20_000],
  largest: 290 * megabyte,
};

export const smallShape: CorpusShape = {
  images: 3,
  platforms: commonPlatforms,
  base: [2 * megabyte],
  runtime: [3 * megabyte],
  own: [2 * megabyte, 900_000, 20_000],
  largest: 8 * megabyte,
};

function corpusImages(shape: CorpusShape): NamedImage[] {
  const shared = new Map<string, Layer>();
  const big = (bytes: number, seed: string): Layer => {
    const sharedLayer = shared.get(seed) ?? bigLayer(bytes, seed);
    shared.set(seed, sharedLayer);
    return sharedLayer;
  };
  const single = (number: number, platform: string): TestImage =>
    imageOf({
      platform,
      layers: [
        layer(rootfs('base')),
        ...shape.base.map((bytes, at) => big(bytes, `base ${at} ${platform}`)),
        ...(number % 2 === 0
          ? []
          : shape.runtime.map((bytes, at) => big(bytes, `runtime ${at} ${platform}`))),
        ...(number > 0 || platform !== shape.platforms[0] || shape.largest === undefined
          ? []
          : [big(shape.largest, 'largest')]),
        // Layer sizes differ slightly from image to image.
        ...shape.own.map((bytes, at) =>
          big(Math.round(bytes * (1 + number / (6 * shape.images))), `own ${number} ${at} ${platform}`),
        ),
        programLayer(platform, `app-${number}`),
      ],
    });
  return Array.from({ length: shape.images }, (_, number) => ({
    repository: `bench/app-${number}`,
    tag: '1',
    image: indexOf({ children: shape.platforms.map((platform) => single(number, platform)) }),
  }));
}

export interface Corpus {
  readonly images: readonly string[];
  /** Number of distinct blobs and manifests. */
  readonly blobs: number;
  /** Their size in bytes. */
  readonly bytes: number;
}

/** Starts a docker-registry with a corpus. Reuses a corpus that an earlier run created in `dir`. */
export async function serveCorpus(
  dir: string,
  shape: CorpusShape,
): Promise<{ readonly registry: DockerRegistry; readonly corpus: Corpus }> {
  mkdirSync(dir, { recursive: true });
  const storage = join(dir, 'corpus');
  const note = join(dir, 'corpus.json');
  const wanted = JSON.stringify(shape);
  if (existsSync(note)) {
    const { shape: made, corpus } = JSON.parse(readFileSync(note, 'utf8')) as {
      shape: string;
      corpus: Corpus;
    };
    if (made === wanted) return { registry: await startDockerRegistry({ storage }), corpus };
  }
  rmSync(note, { force: true });
  rmSync(storage, { recursive: true, force: true });
  const registry = await startDockerRegistry({ storage });
  const sizes = new Map<string, number>();
  const images = corpusImages(shape);
  for (const { repository, tag, image } of images) {
    await pushImage(registry.host, repository, tag, image);
    for (const { digest, size } of [...image.blobs.values(), ...image.manifests.values()])
      sizes.set(digest, size);
  }
  const corpus = {
    images: images.map(({ repository, tag }) => `${repository}:${tag}`),
    blobs: sizes.size,
    bytes: [...sizes.values()].reduce((total, size) => total + size, 0),
  };
  writeFileSync(note, JSON.stringify({ shape: wanted, corpus }));
  return { registry, corpus };
}
