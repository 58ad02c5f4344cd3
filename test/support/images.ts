/**
 * Builds images independently of airlift's code: layers, manifests, indexes, attestations, artifacts, signatures. The same
 * arguments give the same bytes (except that layers with compression `gzip` depend on Node's zlib).
 */
import { gzipSync } from 'node:zlib';
import type { Descriptor } from '../../src/oci/descriptor.js';
import type { Digest } from '../../src/oci/digest.js';
import { bigContent, inMemory, testDigest, type Algorithm, type Content } from './content.js';
import { storedGzip, storedZstd } from './stored.js';
import { tarOf, type TarMember } from './tar.js';

export type Flavour = 'oci' | 'docker';

/** Media types by flavour. */
export const types = {
  oci: {
    index: 'application/vnd.oci.image.index.v1+json',
    manifest: 'application/vnd.oci.image.manifest.v1+json',
    config: 'application/vnd.oci.image.config.v1+json',
    none: 'application/vnd.oci.image.layer.v1.tar',
    gzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
    zstd: 'application/vnd.oci.image.layer.v1.tar+zstd',
    foreign: 'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip',
  },
  docker: {
    index: 'application/vnd.docker.distribution.manifest.list.v2+json',
    manifest: 'application/vnd.docker.distribution.manifest.v2+json',
    config: 'application/vnd.docker.container.image.v1+json',
    none: 'application/vnd.docker.image.rootfs.diff.tar',
    gzip: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
    zstd: 'application/vnd.docker.image.rootfs.diff.tar.zstd',
    foreign: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip',
  },
} as const;

/** A platform in JSON. */
export interface PlatformJson {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
  readonly 'os.version'?: string;
  readonly 'os.features'?: readonly string[];
}

/** A descriptor in JSON. */
export interface DescriptorJson {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly size: number;
  readonly urls?: readonly string[];
  readonly annotations?: Readonly<Record<string, string>>;
  readonly data?: string;
  readonly platform?: PlatformJson;
  readonly artifactType?: string;
}

export interface ManifestContent extends Content {
  readonly mediaType: string;
}

/** An image, image index or artifact with everything below it. */
export interface TestImage {
  readonly root: Descriptor;
  /** Children before parents, the root last. */
  readonly manifests: ReadonlyMap<Digest, ManifestContent>;
  /** Configs and layers, without foreign layers that exist only at their `urls`. */
  readonly blobs: ReadonlyMap<Digest, Content>;
  /** The config's platform, if it is a single image. */
  readonly platform?: PlatformJson | undefined;
}

/** A layer: its descriptor, its content (undefined if only its `urls` have it), and the digest of its tar. */
export interface Layer {
  readonly descriptor: DescriptorJson;
  readonly content: Content | undefined;
  readonly diffId: Digest;
}

/** Parses a platform such as `linux/arm/v7`. */
export function platformJson(text: string): PlatformJson {
  const [os = '', architecture = '', variant] = text.split('/');
  return { architecture, os, ...(variant === undefined ? {} : { variant }) };
}

export interface LayerOptions {
  readonly flavour?: Flavour;
  readonly compression?: 'gzip' | 'stored-gzip' | 'zstd' | 'none';
  readonly algorithm?: Algorithm;
  readonly annotations?: Readonly<Record<string, string>>;
  /** Embed the content in the descriptor too. */
  readonly inline?: boolean;
  /** URLs that make it a foreign layer. Its content is part of the image only with `foreignHeld`. */
  readonly urls?: readonly string[];
  readonly foreignHeld?: boolean;
}

/** Returns a layer with these files. */
export function layer(members: readonly TarMember[], options: LayerOptions = {}): Layer {
  const { flavour = 'oci', compression = 'gzip', algorithm = 'sha256' } = options;
  const tar = tarOf(members);
  const bytes = {
    gzip: () => gzipSync(tar, { level: 9 }),
    'stored-gzip': () => Buffer.concat([...storedGzip([tar])]),
    zstd: () => storedZstd(tar),
    none: () => tar,
  }[compression]();
  const content = inMemory(bytes, algorithm);
  const kind =
    options.urls === undefined ? (compression === 'stored-gzip' ? 'gzip' : compression) : 'foreign';
  return {
    descriptor: {
      mediaType: types[flavour][kind],
      digest: content.digest,
      size: content.size,
      ...(options.urls === undefined ? {} : { urls: options.urls }),
      ...(options.annotations === undefined ? {} : { annotations: options.annotations }),
      ...(options.inline === true ? { data: bytes.toString('base64') } : {}),
    },
    content: options.urls !== undefined && options.foreignHeld !== true ? undefined : content,
    diffId: testDigest(tar),
  };
}

/** Returns a gzipped layer with one file of `bytes` incompressible bytes, generated while it is read. */
export function bigLayer(bytes: number, seed: string, flavour: Flavour = 'oci'): Layer {
  const { content, diffId } = bigContent(bytes, seed);
  const { digest, size } = content;
  return { descriptor: { mediaType: types[flavour].gzip, digest, size }, content, diffId };
}

/** Returns bytes as a blob of any media type, for artifacts. The blob may be empty. */
export function plainBlob(
  bytes: Uint8Array | string,
  mediaType: string,
  annotations?: Readonly<Record<string, string>>,
  algorithm: Algorithm = 'sha256',
): Layer {
  const content = inMemory(Buffer.from(bytes), algorithm);
  const { digest, size } = content;
  const descriptor = { mediaType, digest, size, ...(annotations === undefined ? {} : { annotations }) };
  return { descriptor, content, diffId: digest };
}

export interface ImageOptions {
  readonly flavour?: Flavour;
  readonly platform?: PlatformJson | string;
  readonly layers: readonly Layer[];
  /** Fields that override those of the config: a wrong `architecture`, an `Entrypoint` under `config`, … */
  readonly config?: Readonly<Record<string, unknown>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly artifactType?: string;
  readonly subject?: Descriptor | DescriptorJson;
  /** Digest algorithm of the manifest and its config. */
  readonly algorithm?: Algorithm;
}

/** Returns a descriptor with only the fields that identify the content. */
export function pointerTo(descriptor: Descriptor | DescriptorJson): DescriptorJson {
  return { mediaType: descriptor.mediaType, digest: descriptor.digest, size: descriptor.size };
}

/** Combines a manifest's JSON with the content that it refers to. */
export function assemble(
  json: Readonly<Record<string, unknown>> & { readonly mediaType: string },
  parts: {
    readonly blobs?: readonly (Content | undefined)[];
    readonly children?: readonly TestImage[];
    readonly algorithm?: Algorithm | undefined;
    readonly platform?: PlatformJson | undefined;
    readonly artifactType?: string | undefined;
  },
): TestImage {
  const bytes = Buffer.from(JSON.stringify(json, undefined, 2));
  const own: ManifestContent = { ...inMemory(bytes, parts.algorithm), mediaType: json.mediaType };
  const manifests = new Map<Digest, ManifestContent>();
  const blobs = new Map<Digest, Content>();
  for (const child of parts.children ?? []) {
    for (const [digest, content] of child.manifests) manifests.set(digest, content);
    for (const [digest, content] of child.blobs) blobs.set(digest, content);
  }
  for (const blob of parts.blobs ?? []) if (blob !== undefined) blobs.set(blob.digest, blob);
  manifests.set(own.digest, own);
  const root = { mediaType: json.mediaType, digest: own.digest, size: own.size };
  return { root, manifests, blobs, platform: parts.platform };
}

/** Returns a single image. */
export function imageOf(options: ImageOptions): TestImage {
  const { flavour = 'oci', platform = 'linux/amd64', layers } = options;
  const named = typeof platform === 'string' ? platformJson(platform) : platform;
  const config = {
    created: '2024-01-02T03:04:05Z',
    ...named,
    config: { Env: ['PATH=/bin'], Entrypoint: ['/bin/app'] },
    rootfs: { type: 'layers', diff_ids: layers.map((item) => item.diffId) },
    history: layers.map((_, at) => ({ created: '2024-01-02T03:04:05Z', created_by: `layer ${at}` })),
    ...options.config,
  };
  const content = inMemory(Buffer.from(JSON.stringify(config)), options.algorithm);
  return assemble(
    {
      schemaVersion: 2,
      mediaType: types[flavour].manifest,
      ...(options.artifactType === undefined ? {} : { artifactType: options.artifactType }),
      config: { mediaType: types[flavour].config, digest: content.digest, size: content.size },
      layers: layers.map((item) => item.descriptor),
      ...(options.subject === undefined ? {} : { subject: pointerTo(options.subject) }),
      ...(options.annotations === undefined ? {} : { annotations: options.annotations }),
    },
    {
      blobs: [content, ...layers.map((item) => item.content)],
      algorithm: options.algorithm,
      platform: named,
    },
  );
}

/** A child of an index, with fields of its descriptor. */
export interface Child {
  readonly image: TestImage;
  /** Platform in the descriptor (default: that of the config); `null` for none. */
  readonly platform?: PlatformJson | string | null;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly artifactType?: string;
  /** Embed the manifest in the descriptor too. */
  readonly inline?: boolean;
}

export interface IndexOptions {
  readonly flavour?: Flavour;
  readonly children: readonly (TestImage | Child)[];
  readonly annotations?: Readonly<Record<string, string>>;
  readonly artifactType?: string;
  readonly subject?: Descriptor | DescriptorJson;
  readonly algorithm?: Algorithm;
}

/** Returns an image index or a Docker manifest list. Children may be indexes too. */
export function indexOf(options: IndexOptions): TestImage {
  const flavour = options.flavour ?? 'oci';
  const children = options.children.map((child): Child => ('image' in child ? child : { image: child }));
  const manifests = children.map(({ image, platform, annotations, artifactType, inline }) => {
    const named = typeof platform === 'string' ? platformJson(platform) : platform;
    const platformField = named === undefined ? image.platform : named;
    const embedded = inline === true ? image.manifests.get(image.root.digest) : undefined;
    return {
      ...pointerTo(image.root),
      ...(artifactType === undefined ? {} : { artifactType }),
      ...(platformField === undefined || platformField === null ? {} : { platform: platformField }),
      ...(annotations === undefined ? {} : { annotations }),
      ...(embedded === undefined ? {} : { data: Buffer.concat([...embedded.open()]).toString('base64') }),
    };
  });
  return assemble(
    {
      schemaVersion: 2,
      mediaType: types[flavour].index,
      ...(options.artifactType === undefined ? {} : { artifactType: options.artifactType }),
      manifests,
      ...(options.subject === undefined ? {} : { subject: pointerTo(options.subject) }),
      ...(options.annotations === undefined ? {} : { annotations: options.annotations }),
    },
    { children: children.map((child) => child.image), algorithm: options.algorithm },
  );
}
