import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { createGzip } from 'node:zlib';
import { encoderOf } from '../archive/compression/compress.js';
import { contentOf } from '../archive/write/entry-writer.js';
import { OciLayoutWriter } from '../archive/write/oci-layout-writer.js';
import { TarWriter } from '../archive/write/tar-writer.js';
import { AirliftError } from '../errors.js';
import { isObject, type Descriptor } from '../oci/descriptor.js';
import { digestOf, type Digest } from '../oci/digest.js';
import { parseJsonObject, type Manifest } from '../oci/manifest.js';
import * as mediaTypes from '../oci/media-types.js';
import { formatPlatform, matchPlatform, parsePlatform, type Platform } from '../oci/platform.js';
import { readContent } from '../oci/read.js';
import { formatReference, type Reference } from '../oci/reference.js';
import { loadManifest, type Loaded } from '../plan/choose-platforms.js';
import type { OnEvent } from '../progress.js';
import { Registry, type RegistryHooks, type RegistryOptions } from '../registry/registry.js';
import { saveImages } from '../save/save.js';
import { encodeHeader, endLength, paddedLength } from '../tar/header.js';

export interface KitImageOptions {
  /** The image to add airlift to: glibc 2.28, libstdc++ and libgcc for each platform. */
  readonly base: Reference;
  /** How to reach its registry. */
  readonly registry?: RegistryOptions | undefined;
  readonly hooks?: RegistryHooks | undefined;
}

/** An image for one platform before it is written. */
interface Draft {
  readonly platform: Platform;
  readonly config: Buffer;
  readonly layers: readonly { readonly descriptor: Descriptor; readonly content: readonly Buffer[] }[];
}

/** The largest layer of a base image, which is kept in memory. */
const maxLayer = 512 * 1024 * 1024;
/** The path of airlift in the image, and the directory that commands start in: the medium is mounted there. */
const programPath = 'usr/local/bin/airlift';
const workingDirectory = '/media';

/** File names in the kit's directory. */
const imageName = 'image.tar';
const dockerName = (platform: string): string => `image-${platform.replaceAll('/', '-')}.tar.gz`;

/** Makes the layer that holds airlift. */
async function programLayer(
  parts: readonly Buffer[],
): Promise<{ descriptor: Descriptor; content: Buffer[]; diffId: Digest }> {
  const size = parts.reduce((sum, { byteLength }) => sum + byteLength, 0);
  const padding = Buffer.alloc(paddedLength(size) - size + endLength);
  const plain = createHash('sha256');
  const packed = createHash('sha256');
  const content: Buffer[] = [];
  const tar = function* (): Generator<Buffer> {
    for (const part of [encodeHeader(programPath, size, 0, 0o755), ...parts, padding]) {
      plain.update(part);
      yield part;
    }
  };
  for await (const chunk of Readable.from(tar()).pipe(createGzip({ level: 6 })) as AsyncIterable<Buffer>) {
    packed.update(chunk);
    content.push(chunk);
  }
  const digest = `sha256:${packed.digest('hex')}` as Digest;
  const bytes = content.reduce((sum, { byteLength }) => sum + byteLength, 0);
  return {
    descriptor: { mediaType: mediaTypes.ociLayerGzip, digest, size: bytes },
    content,
    diffId: `sha256:${plain.digest('hex')}` as Digest,
  };
}

const ociTypes = new Map([
  [mediaTypes.dockerLayer, mediaTypes.ociLayer],
  [mediaTypes.dockerLayerGzip, mediaTypes.ociLayerGzip],
]);

/** Returns the config of the image: that of the base with airlift as the program. */
function configOf(base: Buffer, what: string, diffId: Digest): Buffer {
  const json = parseJsonObject(base, what);
  const rootfs = isObject(json['rootfs']) ? json['rootfs'] : {};
  const diffIds: unknown = rootfs['diff_ids'];
  if (!Array.isArray(diffIds))
    throw new AirliftError('input', `parse ${what}: rootfs.diff_ids is not a list`);
  const history: unknown[] = Array.isArray(json['history']) ? json['history'] : [];
  const config: Record<string, unknown> = {
    ...(isObject(json['config']) ? json['config'] : {}),
    Entrypoint: [`/${programPath}`],
    WorkingDir: workingDirectory,
  };
  delete config['Cmd'];
  return Buffer.from(
    JSON.stringify({
      ...json,
      config,
      rootfs: { type: 'layers', diff_ids: [...(diffIds as unknown[]), diffId] },
      history: [...history, { created_by: 'airlift kit' }],
    }),
  );
}

/** Adds airlift to a base image for several platforms, and writes the result to a kit. */
export class KitImage {
  readonly #drafts: Draft[] = [];
  readonly #registry: Registry;
  readonly #base: Reference;
  #root: Loaded | undefined;

  constructor(
    { base, registry, hooks }: KitImageOptions,
    private readonly signal: AbortSignal | undefined,
  ) {
    this.#base = base;
    this.#registry = new Registry(registry, hooks);
  }

  close(): Promise<void> {
    return this.#registry.close();
  }

  /**
   * Adds a platform.
   * @param parts the executable
   * @throws AirliftError `platform-missing` if the base lacks the platform; errors of reading it
   */
  async add(platform: string, parts: readonly Buffer[]): Promise<void> {
    const want = parsePlatform(platform);
    const { manifest, config } = await this.#baseFor(want);
    const what = `config of ${formatReference(this.#base)}`;
    if (config === undefined) throw new AirliftError('input', `read ${what}: not an image config`);
    const layers = [];
    for (const layer of manifest.layers) {
      const mediaType = ociTypes.get(layer.mediaType) ?? layer.mediaType;
      const bytes = await readContent(this.#registry, this.#base, layer, {
        signal: this.signal,
        limit: maxLayer,
      });
      layers.push({ descriptor: { mediaType, digest: layer.digest, size: layer.size }, content: [bytes] });
    }
    const own = await programLayer(parts);
    this.#drafts.push({
      platform: want,
      config: configOf(config, what, own.diffId),
      layers: [...layers, own],
    });
  }

  /** Returns the base image for one platform. */
  async #baseFor(want: Platform): Promise<{ manifest: Manifest; config: Buffer | undefined }> {
    const load = (descriptor: Descriptor): Promise<Loaded> =>
      loadManifest(this.#registry, this.#base, descriptor, this.signal);
    this.#root ??= await this.#resolve(load);
    const { manifest, config } = this.#root;
    if (manifest.kind === 'manifest') {
      const json = config === undefined ? {} : parseJsonObject(config, 'config');
      if (json['os'] === want.os && json['architecture'] === want.architecture) return { manifest, config };
    } else {
      const [child] = matchPlatform(want, manifest.manifests);
      const found = child === undefined ? undefined : await load(child);
      if (found?.manifest.kind === 'manifest') return { manifest: found.manifest, config: found.config };
    }
    throw new AirliftError(
      'platform-missing',
      `read ${formatReference(this.#base)}: the base image lacks ${formatPlatform(want)}`,
      { hint: 'choose another base image with `base`, or fewer platforms' },
    );
  }

  async #resolve(load: (descriptor: Descriptor) => Promise<Loaded>): Promise<Loaded> {
    try {
      return await load(await this.#registry.resolve(this.#base, { signal: this.signal }));
    } catch (error) {
      if (!(error instanceof AirliftError) || error.code === 'interrupted') throw error;
      throw new AirliftError(error.code, `read the base image: ${error.message}`, {
        cause: error,
        status: error.status,
        hint:
          error.hint ??
          'choose a base image of a registry that this machine reaches, with glibc and libstdc++ for each platform, with `base`',
      });
    }
  }

  /**
   * Writes an OCI archive with all platforms, and an archive for docker per platform.
   * @returns the names of the files
   */
  async write(directory: string, name: Reference, onEvent: OnEvent | undefined): Promise<string[]> {
    const path = join(directory, imageName);
    const tar = await TarWriter.create(path, encoderOf('none'));
    try {
      await this.#writeLayout(await OciLayoutWriter.begin(tar), name);
      await tar.finish();
    } catch (error) {
      await tar.discard();
      throw error;
    }
    const names = [imageName];
    for (const { platform } of this.#drafts) {
      const file = dockerName(formatPlatform(platform));
      await saveImages({
        from: { files: [path] },
        format: 'docker-archive',
        output: join(directory, file),
        platforms: [platform],
        compression: 'gzip',
        force: true,
        onEvent: (event) => (event.event === 'warning' ? onEvent?.(event) : undefined),
        signal: this.signal,
      });
      names.push(file);
    }
    return names;
  }

  async #writeLayout(writer: OciLayoutWriter, name: Reference): Promise<void> {
    const addJson = async (mediaType: string, bytes: Buffer): Promise<Descriptor> => {
      const descriptor = { mediaType, digest: digestOf(bytes), size: bytes.byteLength };
      await writer.addBlob(descriptor, contentOf(bytes));
      return descriptor;
    };
    const manifests = [];
    for (const { platform, config, layers } of this.#drafts) {
      for (const { descriptor, content } of layers) await writer.addBlob(descriptor, Readable.from(content));
      const manifest = {
        schemaVersion: 2,
        mediaType: mediaTypes.ociManifest,
        config: await addJson(mediaTypes.ociConfig, config),
        layers: layers.map(({ descriptor }) => descriptor),
      };
      const { os, architecture } = platform;
      const descriptor = await addJson(mediaTypes.ociManifest, Buffer.from(JSON.stringify(manifest)));
      manifests.push({ ...descriptor, platform: { os, architecture } });
    }
    const index = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests };
    writer.addImage(name, await addJson(mediaTypes.ociIndex, Buffer.from(JSON.stringify(index))));
    await writer.end();
  }
}
