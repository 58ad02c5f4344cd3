/** Plans and fills bundles from test images, as an export does. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { BundleFile } from '../../src/bundle/format/file.js';
import { BundleWriter, type BundleOptions } from '../../src/bundle/write/writer.js';
import type { Digest } from '../../src/oci/digest.js';
import { parseManifest } from '../../src/oci/manifest.js';
import { decodePlatform, isUnknown, type Platform } from '../../src/oci/platform.js';
import { parseReference, type Repository } from '../../src/oci/reference.js';
import { edgesOf } from '../../src/plan/planner.js';
import { bytesOf, type Content } from '../support/content.js';
import { assortment, companionsOf, singlePlatform, type NamedImage } from '../support/image-sets.js';
import type { TestImage } from '../support/images.js';
import { temp, type Cleanup } from '../support/temp.js';

/** Content of a bundle: images by reference, and referrers without a name of their own. */
export interface Cargo {
  readonly reference: string | undefined;
  readonly image: TestImage;
  /** The index that `image` is a filtered copy of. */
  readonly original?: TestImage;
  /** The manifest that a tag like cosign's belongs to. */
  readonly companionOf?: Digest;
}

export const options: BundleOptions = { created: new Date('2024-05-06T07:08:09Z'), fingerprint: 'test' };

/** Returns one image of every kind, with a signature and an SBOM, and one that is named by digest only. */
export function everyKind(): Cargo[] {
  const images = assortment();
  const named = ({ repository, tag, image }: NamedImage): Cargo => ({
    reference: tag === undefined ? undefined : `registry.example/${repository}:${tag}`,
    image,
  });
  const signed = images['signed'] as NamedImage;
  const companions = companionsOf(signed).map((companion) => ({
    ...named(companion),
    companionOf: signed.image.root.digest,
  }));
  const pinned = singlePlatform('linux/amd64', { name: 'pinned' });
  return [
    ...Object.values(images).map(named),
    ...companions,
    { reference: `registry.example/acme/pinned@${pinned.root.digest}`, image: pinned },
  ];
}

function planImage(writer: BundleWriter, image: TestImage, repository: Repository): void {
  const platforms = new Map<Digest, Platform>();
  const parsed = [...image.manifests.values()].map((content) => ({
    content,
    manifest: parseManifest(bytesOf(content), content.mediaType, content.digest),
  }));
  for (const { manifest } of parsed) {
    if (manifest.kind !== 'index') continue;
    for (const child of manifest.manifests)
      if (child.platform !== undefined) platforms.set(child.digest, child.platform);
  }
  for (const { content, manifest } of parsed) {
    const { digest, size, mediaType } = content;
    const own = image.platform === undefined ? undefined : decodePlatform(image.platform, digest);
    const platform = platforms.get(digest) ?? (manifest.kind === 'index' ? undefined : own);
    writer.addManifest({
      descriptor: { digest, size, mediaType },
      bytes: bytesOf(content),
      platform: platform === undefined || isUnknown(platform) ? undefined : platform,
      manifest,
      edges: edgesOf(manifest),
    });
    if (manifest.kind === 'index') continue;
    const { config, layers } = manifest;
    if (config !== undefined) {
      writer.addBlob({
        descriptor: config,
        role: 'config',
        repository,
        bytes: contentOf(image, config.digest),
      });
    }
    for (const layer of layers) {
      const node = { descriptor: layer, role: 'layer', repository } as const;
      if (image.blobs.has(layer.digest)) writer.addBlob(node);
      else writer.leaveOut(node);
    }
  }
}

function contentOf(image: TestImage, digest: Digest): Buffer | undefined {
  const content = image.blobs.get(digest);
  return content === undefined ? undefined : bytesOf(content);
}

/** Adds everything to a plan. */
export function plan(writer: BundleWriter, cargo: readonly Cargo[]): void {
  for (const { reference, image, original, companionOf } of cargo) {
    const named = parseReference(reference ?? 'registry.example/unnamed');
    planImage(writer, image, named);
    if (original !== undefined) planImage(writer, { ...original, manifests: indexOnly(original) }, named);
    if (reference === undefined) continue;
    writer.addImage({ reference: named, root: image.root, original: original?.root }, { companionOf });
  }
}

/** Returns the manifests of an image without the children of its index. */
function indexOnly(image: TestImage): TestImage['manifests'] {
  return new Map([...image.manifests].filter(([digest]) => digest === image.root.digest));
}

/** Returns all contents by digest. */
export function contentsOf(cargo: readonly Cargo[]): Map<Digest, Content> {
  const contents = new Map<Digest, Content>();
  for (const { image } of cargo)
    for (const content of [...image.blobs.values(), ...image.manifests.values()])
      contents.set(content.digest, content);
  return contents;
}

export interface FillOptions {
  readonly reverse?: boolean;
  /** Number of blobs after which writing stops. */
  readonly limit?: number;
  /** Called after each chunk is written and marked, with its bytes. */
  readonly onChunk?: (bytes: number) => Promise<void> | void;
}

/**
 * Writes the pending blobs as a transfer does: compares what an earlier run left, and "downloads" only the rest.
 * @returns bytes downloaded
 */
export async function fill(
  writer: BundleWriter,
  cargo: readonly Cargo[],
  { reverse = false, limit = Number.MAX_SAFE_INTEGER, onChunk }: FillOptions = {},
): Promise<number> {
  const contents = contentsOf(cargo);
  const pending = [...writer.pending()];
  if (reverse) pending.reverse();
  const file = await BundleFile.open(writer.partial, 'r+');
  let fetched = 0;
  for (const { descriptor, position, have } of pending.slice(0, limit)) {
    const { digest } = descriptor;
    const content = contents.get(digest);
    assert.ok(content !== undefined, digest);
    const bytes = bytesOf(content);
    const left = await file.read(position, have);
    const from = left.equals(bytes.subarray(0, have)) ? have : 0;
    for (let at = from; at < bytes.length; at += 64 * 1024) {
      const chunk = bytes.subarray(at, at + 64 * 1024);
      file.writevSync([chunk], position + at);
      fetched += chunk.length;
      writer.progress(digest, at + chunk.length);
      await onChunk?.(chunk.length);
    }
    writer.complete(digest);
  }
  await file.close();
  return fetched;
}

/** Writes a complete bundle to `path`. */
export async function writeBundle(
  path: string,
  cargo: readonly Cargo[],
  more: Partial<BundleOptions> & { reverse?: boolean } = {},
): Promise<void> {
  const writer = await BundleWriter.open(path, { ...options, ...more });
  plan(writer, more.reverse === true ? [...cargo].reverse() : cargo);
  await writer.layOut();
  await fill(writer, cargo, more);
  await writer.finish();
}

/** Writes a complete bundle without interruption, and returns its bytes. */
export async function freshBundle(t: Cleanup, cargo: readonly Cargo[]): Promise<Buffer> {
  const path = join(temp(t), 'whole.tar');
  await writeBundle(path, cargo);
  return readFileSync(path);
}
