/** Complete images for tests, built from the files below `testdata/rootfs`. */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { attestationOf, artifactOf, cosignOf, sbomOf } from './artifacts.js';
import { elfFile } from './elf.js';
import {
  bigLayer,
  imageOf,
  indexOf,
  layer,
  plainBlob,
  type Flavour,
  type ImageOptions,
  type Layer,
  type TestImage,
} from './images.js';
import type { TarMember } from './tar.js';

/** Path of the `testdata` directory, relative to `dist/test/support`. */
const testdata = fileURLToPath(new URL('../../../testdata/', import.meta.url));

/** Default platforms of the images below. */
export const commonPlatforms = ['linux/amd64', 'linux/arm64', 'linux/arm/v7'] as const;

/** Returns the files below `testdata/rootfs/<name>`, in a fixed order. */
export function rootfs(name: string): TarMember[] {
  const top = `${testdata}rootfs/${name}`;
  const members: TarMember[] = [];
  const visit = (folder: string): void => {
    const entries = readdirSync(`${top}/${folder}`, { withFileTypes: true });
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const path = `${folder}${entry.name}`;
      if (entry.isDirectory()) {
        members.push({ name: `${path}/`, type: 'directory' });
        visit(`${path}/`);
      } else members.push({ name: path, content: readFileSync(`${top}/${path}`) });
    }
  };
  visit('');
  return members;
}

/** Returns a layer with the entrypoint for `platform`: a file with its ELF header and a line that names image and platform. */
export function programLayer(platform: string, name: string, flavour: Flavour = 'oci'): Layer {
  const program = elfFile(platform, `\n${name} for ${platform}\n`);
  return layer(
    [
      { name: 'bin/', type: 'directory' },
      { name: 'bin/app', content: program, mode: 0o755 },
    ],
    { flavour },
  );
}

export interface MultiPlatformOptions {
  readonly name: string;
  readonly flavour?: Flavour;
  readonly platforms?: readonly string[];
  /** Add a BuildKit attestation for each platform's image. */
  readonly attestations?: boolean;
  /** Directories of `testdata/rootfs` that become layers of all platforms (default: `base`). */
  readonly roots?: readonly string[];
  /** Size of an additional layer with incompressible bytes for each platform. */
  readonly bigBytes?: number;
  /** Further options for one platform's image: a wrong config, annotations, … */
  readonly image?: (platform: string) => Partial<ImageOptions>;
}

/** Returns the image of one platform, identical to the child in `multiPlatform`. */
export function singlePlatform(platform: string, options: MultiPlatformOptions): TestImage {
  const { name, flavour = 'oci', roots = ['base'], bigBytes } = options;
  const layers = [
    ...roots.map((root) => layer(rootfs(root), { flavour })),
    programLayer(platform, name, flavour),
    ...(bigBytes === undefined ? [] : [bigLayer(bigBytes, `${name} ${platform}`, flavour)]),
  ];
  return imageOf({ flavour, platform, layers, ...options.image?.(platform) });
}

/** Returns an image index with an image for each platform. Images with the same `roots` share layers. */
export function multiPlatform(options: MultiPlatformOptions): TestImage {
  const { flavour = 'oci', platforms = commonPlatforms } = options;
  const images = platforms.map((platform) => singlePlatform(platform, options));
  const attestations = options.attestations === true ? images.map(attestationOf) : [];
  return indexOf({ flavour, children: [...images, ...attestations] });
}

/** An image and its name in a registry. */
export interface NamedImage {
  readonly repository: string;
  /** The tag; undefined for an image that is named by digest, such as a referrer. */
  readonly tag: string | undefined;
  readonly image: TestImage;
}

/** Returns an image with a zstd layer, an uncompressed layer, one with a sha512 digest and one inside its descriptor. */
function oddLayers(): TestImage {
  const base = rootfs('base');
  return imageOf({
    platform: 'linux/amd64',
    layers: [
      layer(base, { compression: 'zstd' }),
      layer(rootfs('web'), { compression: 'none' }),
      layer(rootfs('tools'), { algorithm: 'sha512' }),
      layer([{ name: 'inline', content: 'here' }], { inline: true, annotations: { note: 'inline' } }),
      programLayer('linux/amd64', 'odd'),
    ],
  });
}

/**
 * Returns an image of every kind that a registry such as docker-registry 2.8 accepts: `web`, `pause`, `tools`, `single`,
 * `docker-single`, `odd`, `nested`, `artifact`, `foreign`, `signed`.
 */
export function assortment(): Record<string, NamedImage> {
  const web = multiPlatform({ name: 'web', roots: ['base', 'web'], attestations: true });
  const pause = multiPlatform({
    name: 'pause',
    flavour: 'docker',
    platforms: ['linux/amd64', 'linux/arm64', 'linux/arm/v7', 'linux/arm/v6'],
  });
  const tools = multiPlatform({ name: 'tools', roots: ['base', 'tools'], bigBytes: 3_000_000 });
  const signed = multiPlatform({ name: 'signed' });
  const artifact = artifactOf({
    artifactType: 'application/vnd.example.chart',
    blobs: [plainBlob('', 'text/plain'), plainBlob('apiVersion: v2\n', 'application/yaml')],
  });
  const foreign = imageOf({
    flavour: 'docker',
    platform: { architecture: 'amd64', os: 'windows', 'os.version': '10.0.17763.1999' },
    layers: [
      layer(rootfs('tools'), { flavour: 'docker', urls: ['https://registry.invalid/layers/base.tar.gz'] }),
      layer(rootfs('web'), { flavour: 'docker' }),
    ],
  });
  const named = (repository: string, tag: string | undefined, image: TestImage): NamedImage => ({
    repository,
    tag,
    image,
  });
  return {
    web: named('acme/web', '1.0', web),
    pause: named('rancher/pause', '3.1', pause),
    tools: named('acme/tools', 'v2', tools),
    single: named('acme/single', 'latest', singlePlatform('linux/arm64', { name: 'single' })),
    'docker-single': named(
      'library/single',
      'latest',
      singlePlatform('linux/amd64', { name: 'single', flavour: 'docker' }),
    ),
    odd: named('acme/odd', '1', oddLayers()),
    nested: named('acme/nested', '1', indexOf({ children: [multiPlatform({ name: 'inner' }), oddLayers()] })),
    artifact: named('acme/chart', '1.2.3', artifact),
    foreign: named('acme/windows', '1809', foreign),
    signed: named('acme/signed', '1', signed),
  };
}

/** Returns the companions of an image: an SBOM that refers to it, and a cosign signature under cosign's tag. */
export function companionsOf({ repository, image }: NamedImage): NamedImage[] {
  const signature = cosignOf(image, 'sig');
  return [
    { repository, tag: undefined, image: sbomOf(image) },
    { repository, tag: signature.tag, image: signature.image },
  ];
}
