import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { digestOf } from '../../src/oci/digest.js';
import { StoreLayout } from '../../src/registry-server/store-layout.js';
import { bytesOf } from '../support/content.js';
import { imageOf, indexOf, plainBlob, types, type TestImage } from '../support/images.js';

/** Tags per repository: real lists contain several versions of one image. */
const tagsOfRepository = 10;
const platforms = ['linux/amd64', 'linux/arm64'];
const layersOfPlatform = 4;

/** Blobs per image, which no other image shares: a config and layers for each platform. */
export const blobsOfImage = platforms.length * (1 + layersOfPlatform);

const nameOf = (number: number): { repository: string; tag: string } => ({
  repository: `scale/team-${Math.floor(number / 1000)}/app-${Math.floor(number / tagsOfRepository)}`,
  tag: `1.${number % tagsOfRepository}`,
});

function imageNumber(number: number): TestImage {
  const layerOf = (platform: string, at: number) =>
    plainBlob(`layer ${at} of image ${number} for ${platform}\n`, types.oci.gzip);
  const children = platforms.map((platform) =>
    imageOf({
      platform,
      layers: Array.from({ length: layersOfPlatform }, (_, at) => layerOf(platform, at)),
      config: { created: '2024-01-01T00:00:00Z', author: `image ${number}` },
    }),
  );
  return indexOf({ children });
}

/** Writes an image directly to a store: the benchmark does not measure these uploads. */
function writeImage(layout: StoreLayout, number: number): string {
  const { repository, tag } = nameOf(number);
  const write = (path: string, content: string | Uint8Array): void => {
    if (!folders.has(dirname(path))) mkdirSync(dirname(path), { recursive: true });
    folders.add(dirname(path));
    writeFileSync(path, content);
  };
  const { root, manifests, blobs } = imageNumber(number);
  for (const content of blobs.values()) {
    write(layout.content(content.digest), bytesOf(content));
    write(layout.blob(repository, content.digest), '');
  }
  for (const content of manifests.values()) {
    write(layout.content(content.digest), bytesOf(content));
    write(layout.manifest(repository, content.digest), content.mediaType);
  }
  write(layout.tag(repository, tag), root.digest);
  return `${repository}:${tag}`;
}
const folders = new Set<string>();

export interface ScaleCorpus {
  /** Path of the store. */
  readonly store: string;
  readonly images: readonly string[];
}

/** Creates a store with this many images. Reuses a store that an earlier run created in `dir`. */
export function makeScaleCorpus(dir: string, images: number): ScaleCorpus {
  const store = join(dir, 'corpus');
  const note = join(dir, 'corpus.json');
  const shape = digestOf(Buffer.from(JSON.stringify([images, imageNumber(0).root.digest, nameOf(0)])));
  if (existsSync(note)) {
    const made = JSON.parse(readFileSync(note, 'utf8')) as { shape: string; images: string[] };
    if (made.shape === shape) return { store, images: made.images };
  }
  rmSync(note, { force: true });
  rmSync(store, { recursive: true, force: true });
  const layout = new StoreLayout(store);
  const names = Array.from({ length: images }, (_, number) => writeImage(layout, number));
  writeFileSync(note, JSON.stringify({ shape, images: names }));
  return { store, images: names };
}
