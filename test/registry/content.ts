import { Readable } from 'node:stream';
import type { Descriptor } from '../../src/oci/descriptor.js';
import { digestOf, type DigestAlgorithm } from '../../src/oci/digest.js';
import { ociConfig, ociIndex, ociLayer, ociManifest } from '../../src/oci/media-types.js';
import type { Registry } from '../../src/registry/registry.js';
import type { Repository } from '../../src/oci/reference.js';
import type { OpenContent } from '../../src/oci/target.js';

/** Bytes with their descriptor. */
export interface Content {
  readonly descriptor: Descriptor;
  readonly bytes: Buffer;
}

export function content(
  bytes: Buffer | string,
  mediaType = 'application/octet-stream',
  algorithm: DigestAlgorithm = 'sha256',
): Content {
  const buffer = Buffer.from(bytes);
  return {
    bytes: buffer,
    descriptor: { mediaType, digest: digestOf(buffer, algorithm), size: buffer.byteLength },
  };
}

/** Opens bytes as a stream of chunks. */
export function opener(bytes: Buffer, chunkSize = 64 * 1024): OpenContent {
  return (offset) => {
    const chunks: Buffer[] = [];
    for (let at = offset; at < bytes.byteLength; at += chunkSize)
      chunks.push(bytes.subarray(at, at + chunkSize));
    return Promise.resolve(Readable.from(chunks, { objectMode: false }));
  };
}

/** Reads all bytes of a stream. */
export async function collect(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** A manifest with one layer, and an index of it. */
export interface SmallImage {
  readonly layer: Content;
  readonly config: Content;
  readonly manifest: Content;
  readonly index: Content;
}

export function smallImage(name: string, layerBytes: Buffer = Buffer.from(`layer of ${name}`)): SmallImage {
  const layer = content(layerBytes, ociLayer);
  const config = content(JSON.stringify({ os: 'linux', architecture: 'amd64', name }), ociConfig);
  const manifest = content(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: ociManifest,
      config: config.descriptor,
      layers: [layer.descriptor],
    }),
    ociManifest,
  );
  const platform = { os: 'linux', architecture: 'amd64' };
  const index = content(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: ociIndex,
      manifests: [{ ...manifest.descriptor, platform }],
    }),
    ociIndex,
  );
  return { layer, config, manifest, index };
}

/** Pushes an image and sets its tag. */
export async function pushImage(
  registry: Registry,
  repository: Repository,
  tag: string,
  image: SmallImage,
): Promise<void> {
  for (const { descriptor, bytes } of [image.layer, image.config, image.manifest, image.index])
    await registry.push(repository, descriptor, opener(bytes));
  await registry.tag({ ...repository, tag }, image.index.descriptor, opener(image.index.bytes));
}
