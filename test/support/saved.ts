/** Builds archives as programs save them, including programs that are not installed or no longer exist. */
import { gzipSync } from 'node:zlib';
import { bytesOf, testDigest } from './content.js';
import type { DescriptorJson, TestImage } from './images.js';
import type { TarMember } from './tar.js';

/**
 * - `docker-20`: directories with a `layer.tar` each, links between equal ones, `repositories`
 * - `podman`: `<diff_id>.tar`, and directories with links to them
 * - `crane`: config named `sha256:…`, gzipped layers
 * - `jib`: `config.json`, gzipped layers
 * - `docker-25`: an OCI layout with uncompressed layers, and `manifest.json`
 * - `docker-25.0`: the same, but the manifests have no layers
 * - `docker-25.0-by-digest`: the same, but with `"manifests": null`
 */
export type SavedShape =
  'docker-20' | 'podman' | 'crane' | 'jib' | 'docker-25' | 'docker-25.0' | 'docker-25.0-by-digest';

export const savedShapes: readonly SavedShape[] = [
  'docker-20',
  'podman',
  'crane',
  'jib',
  'docker-25',
  'docker-25.0',
  'docker-25.0-by-digest',
];

/** An image of one platform with uncompressed layers, and its names as a program writes them. */
export interface Saved {
  readonly tags: readonly string[];
  readonly image: TestImage;
}

interface Opened {
  readonly tags: readonly string[];
  readonly config: Buffer;
  readonly configHex: string;
  readonly layers: readonly { readonly hex: string; readonly tar: Buffer }[];
}

const hexOf = (digest: string): string => digest.slice(digest.indexOf(':') + 1);

function open({ tags, image }: Saved): Opened {
  const manifest = image.manifests.get(image.root.digest);
  if (manifest === undefined) throw new Error('no manifest');
  const json = JSON.parse(bytesOf(manifest).toString()) as {
    config: DescriptorJson;
    layers: DescriptorJson[];
  };
  const blob = (digest: DescriptorJson['digest']): Buffer => {
    const content = image.blobs.get(digest);
    if (content === undefined) throw new Error(`no blob ${digest}`);
    return bytesOf(content);
  };
  return {
    tags,
    config: blob(json.config.digest),
    configHex: hexOf(json.config.digest),
    layers: json.layers.map(({ digest }) => ({ hex: hexOf(digest), tar: blob(digest) })),
  };
}

function file(name: string, content: string | Uint8Array): TarMember {
  return { name, content };
}

/** Removes repeated members; the first one stays. */
function unique(members: readonly TarMember[]): TarMember[] {
  return [...new Map(members.toReversed().map((member) => [member.name, member])).values()].toReversed();
}

function legacy(images: readonly Opened[], isPodman: boolean): TarMember[] {
  const members: TarMember[] = [];
  const manifest: unknown[] = [];
  const repositories: Record<string, Record<string, string>> = {};
  const holders = new Map<string, string>();
  for (const { tags, config, configHex, layers } of images) {
    const ids = layers.map((_, at) => hexOf(testDigest(`${configHex} ${at}`)));
    for (const [at, { hex, tar }] of layers.entries()) {
      const id = ids[at] ?? '';
      const holder = holders.get(hex);
      members.push(
        { name: `${id}/`, type: 'directory' },
        file(`${id}/VERSION`, '1.0'),
        file(`${id}/json`, JSON.stringify({ id })),
      );
      if (isPodman) members.push(file(`${hex}.tar`, tar));
      const target = isPodman ? `../${hex}.tar` : `../${holder}/layer.tar`;
      if (isPodman || holder !== undefined)
        members.push({ name: `${id}/layer.tar`, type: 'symlink', target });
      else members.push(file(`${id}/layer.tar`, tar));
      if (holder === undefined) holders.set(hex, id);
    }
    members.push(file(`${configHex}.json`, config));
    const paths = layers.map(({ hex }, at) => (isPodman ? `${hex}.tar` : `${ids[at]}/layer.tar`));
    manifest.push({ Config: `${configHex}.json`, RepoTags: tags.length === 0 ? null : tags, Layers: paths });
    for (const tag of tags) {
      const colon = tag.lastIndexOf(':');
      repositories[tag.slice(0, colon)] = { [tag.slice(colon + 1)]: ids.at(-1) ?? '' };
    }
  }
  members.push(file('manifest.json', JSON.stringify(manifest)));
  members.push(file('repositories', JSON.stringify(repositories)));
  return members;
}

function gzipped(images: readonly Opened[], configName: (hex: string, at: number) => string): TarMember[] {
  const members: TarMember[] = [];
  const manifest = images.map(({ tags, config, configHex, layers }, at) => {
    const files = layers.map(({ tar }) => gzipSync(tar));
    const names = files.map((bytes) => `${hexOf(testDigest(bytes))}.tar.gz`);
    members.push(file(configName(configHex, at), config));
    for (const [which, bytes] of files.entries()) members.push(file(names[which] ?? '', bytes));
    return { Config: configName(configHex, at), RepoTags: tags, Layers: names };
  });
  return [...members, file('manifest.json', JSON.stringify(manifest))];
}

function modern(images: readonly Opened[], shape: SavedShape): TarMember[] {
  const members: TarMember[] = [
    { name: 'blobs/', type: 'directory' },
    { name: 'blobs/sha256/', type: 'directory' },
  ];
  const blob = (bytes: Uint8Array | string): string => {
    const path = `blobs/sha256/${hexOf(testDigest(bytes))}`;
    members.push(file(path, bytes));
    return path;
  };
  const entries: unknown[] = [];
  const manifest = images.map(({ tags, config, layers }) => {
    const paths = layers.map(({ tar }) => blob(tar));
    const layerDescriptors = layers.map(({ hex, tar }) => ({
      mediaType: 'application/vnd.oci.image.layer.v1.tar',
      digest: `sha256:${hex}`,
      size: tar.length,
    }));
    const type = 'application/vnd.oci.image.config.v1+json';
    const bytes = JSON.stringify({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      config: { mediaType: type, digest: testDigest(config), size: config.length },
      layers: shape === 'docker-25' ? layerDescriptors : [],
    });
    blob(bytes);
    for (const tag of tags) {
      const name = tag.includes('/') ? tag : `library/${tag}`;
      entries.push({
        mediaType: 'application/vnd.oci.image.manifest.v1+json',
        digest: testDigest(bytes),
        size: bytes.length,
        annotations: {
          'io.containerd.image.name': /^[^/]+[.:][^/]*\//.test(name) ? name : `docker.io/${name}`,
          'org.opencontainers.image.ref.name': tag.slice(tag.lastIndexOf(':') + 1),
        },
      });
    }
    return { Config: blob(config), RepoTags: tags, Layers: paths };
  });
  const index = {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.index.v1+json',
    manifests: shape === 'docker-25.0-by-digest' ? null : entries,
  };
  return [
    ...members,
    file('index.json', JSON.stringify(index)),
    file('manifest.json', JSON.stringify(manifest)),
    file('oci-layout', '{"imageLayoutVersion": "1.0.0"}'),
    file('repositories', '{}'),
  ];
}

/** The members of an archive of images in the given shape. */
export function savedMembers(shape: SavedShape, images: readonly Saved[]): TarMember[] {
  const opened = images.map(open);
  switch (shape) {
    case 'docker-20':
      return legacy(opened, false);
    case 'podman':
      return unique(legacy(opened, true));
    case 'crane':
      return unique(gzipped(opened, (hex) => `sha256:${hex}`));
    case 'jib':
      return unique(gzipped(opened, (_, at) => (at === 0 ? 'config.json' : `config${at}.json`)));
    case 'docker-25':
    case 'docker-25.0':
    case 'docker-25.0-by-digest':
      return unique(modern(opened, shape));
  }
}

/** Returns the members of an OCI layout with these images, each with its name (if any), and only the blobs that `isIncluded` selects. */
export function layoutMembers(
  images: readonly {
    readonly name: string | undefined;
    readonly image: TestImage;
    readonly annotations?: Readonly<Record<string, string>>;
  }[],
  isIncluded: (digest: string) => boolean = () => true,
): TarMember[] {
  const members: TarMember[] = [file('oci-layout', '{"imageLayoutVersion":"1.0.0"}')];
  for (const { image } of images) {
    for (const content of [...image.blobs.values(), ...image.manifests.values()]) {
      if (isIncluded(content.digest))
        members.push(file(`blobs/${content.digest.replace(':', '/')}`, bytesOf(content)));
    }
  }
  const manifests = images.map(({ name, image: { root }, annotations }) => ({
    mediaType: root.mediaType,
    digest: root.digest,
    size: root.size,
    ...(name === undefined && annotations === undefined
      ? {}
      : {
          annotations: {
            ...(name === undefined ? {} : { 'io.containerd.image.name': name }),
            ...annotations,
          },
        }),
  }));
  members.push(file('index.json', JSON.stringify({ schemaVersion: 2, manifests })));
  return unique(members);
}
