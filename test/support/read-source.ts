import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import type { Source } from '../../src/oci/source.js';
import type { DescriptorJson, PlatformJson } from './images.js';

const anywhere = { registry: 'example.test', repository: 'any' };

/** Reads the content of a descriptor, and checks its digest and size independently of airlift's code. */
export async function contentOf(
  source: Source,
  descriptor: Pick<DescriptorJson, 'mediaType' | 'digest' | 'size'>,
): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of (await source.fetch(anywhere, descriptor)) as AsyncIterable<Buffer>)
    chunks.push(chunk);
  const bytes = Buffer.concat(chunks);
  const [algorithm = '', hex] = descriptor.digest.split(':');
  assert.equal(createHash(algorithm).update(bytes).digest('hex'), hex, `content of ${descriptor.digest}`);
  assert.equal(bytes.length, descriptor.size, `size of ${descriptor.digest}`);
  return bytes;
}

/** A manifest or index in JSON. */
export interface ManifestJson {
  readonly mediaType: string;
  readonly config: DescriptorJson;
  readonly layers: readonly DescriptorJson[];
  readonly manifests?: readonly DescriptorJson[];
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface ConfigJson extends PlatformJson {
  readonly rootfs: { readonly diff_ids: readonly string[] };
}

export async function manifestOf(
  source: Source,
  descriptor: Pick<DescriptorJson, 'mediaType' | 'digest' | 'size'>,
): Promise<ManifestJson> {
  return JSON.parse((await contentOf(source, descriptor)).toString()) as ManifestJson;
}

export async function configOf(source: Source, manifest: ManifestJson): Promise<ConfigJson> {
  return JSON.parse((await contentOf(source, manifest.config)).toString()) as ConfigJson;
}
