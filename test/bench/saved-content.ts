/** Checks, independently of airlift, that a registry has the images of a vendor's tarballs. */
import assert from 'node:assert/strict';
import { gunzipSync } from 'node:zlib';
import { testDigest } from '../support/content.js';
import { getContent } from '../support/registry-http.js';
import type { SavedImage } from './tarballs.js';

interface ManifestJson {
  readonly manifests?: readonly { readonly digest: string }[];
  readonly config?: { readonly digest: string };
  readonly layers?: readonly { readonly mediaType: string; readonly digest: string }[];
}

/** Reads the images of one registry. */
class SavedReader {
  /** The digests of unpacked layers, by the digests of the layers. */
  readonly #diffIds = new Map<string, string>();

  constructor(private readonly host: string) {}

  async #diffId(repository: string, layer: { mediaType: string; digest: string }): Promise<string> {
    const known = this.#diffIds.get(layer.digest);
    if (known !== undefined) return known;
    const bytes = await getContent(this.host, `/v2/${repository}/blobs/${layer.digest}`);
    assert.equal(testDigest(bytes), layer.digest);
    const diffId = testDigest(/gzip$/.test(layer.mediaType) ? gunzipSync(bytes) : bytes);
    this.#diffIds.set(layer.digest, diffId);
    return diffId;
  }

  /** Returns the digests of the unpacked layers of the images that a tag or digest names, by the digest of the config. */
  async images(repository: string, reference: string): Promise<Map<string, string[]>> {
    const bytes = await getContent(this.host, `/v2/${repository}/manifests/${reference}`);
    const { manifests, config, layers } = JSON.parse(bytes.toString()) as ManifestJson;
    const found = new Map<string, string[]>();
    for (const { digest } of manifests ?? [])
      for (const [name, diffIds] of await this.images(repository, digest)) found.set(name, diffIds);
    if (config !== undefined) {
      const content = await getContent(this.host, `/v2/${repository}/blobs/${config.digest}`);
      assert.equal(testDigest(content), config.digest);
      const diffIds: string[] = [];
      for (const layer of layers ?? []) diffIds.push(await this.#diffId(repository, layer));
      found.set(config.digest, diffIds);
    }
    return found;
  }
}

/**
 * Asserts that a registry has all images, byte for byte: the same configs, and layers that unpack to the same tars.
 * @param tagOf returns the tag under which an image is in the registry
 */
export async function checkSaved(
  host: string,
  images: readonly SavedImage[],
  tagOf: (image: SavedImage) => string,
): Promise<void> {
  const reader = new SavedReader(host);
  const wanted = new Map<string, Map<string, readonly string[]>>();
  for (const image of images) {
    const name = tagOf(image);
    wanted.set(name, (wanted.get(name) ?? new Map()).set(image.config, image.diffIds));
  }
  for (const [name, want] of wanted) {
    const [repository = '', tag = ''] = name.split(':');
    assert.deepEqual(await reader.images(repository, tag), want, name);
  }
}
