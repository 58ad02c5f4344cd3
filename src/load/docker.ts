import type { Writable } from 'node:stream';
import { AirliftError, isAirliftError } from '../errors.js';
import { isObject } from '../oci/descriptor.js';
import { listLimits, parseJson } from '../oci/json.js';
import { normalisePlatform, type Platform } from '../oci/platform.js';
import { formatReference, formatRepository, parseReference } from '../oci/reference.js';
import type { ArchiveEntry, Engine, ImageToLoad, Presence } from './engine.js';
import type { Program } from './program.js';

/** Names in one call of `docker image inspect`. */
const maxNames = 100;
/** The first release of docker that reads layers compressed with zstd. */
const firstWithZstd = 23;

/** docker, through its command line program, which also reaches engines on other hosts. */
export class Docker implements Engine {
  readonly label = 'docker';

  private constructor(
    private readonly docker: Program,
    readonly platform: Platform,
    private readonly release: number,
    /** Whether docker keeps images in containerd, by their digests; else in its own store, by tag only. */
    private readonly keepsDigests: boolean,
  ) {}

  /**
   * Asks the engine for its release, platform and image store.
   * @throws AirliftError `engine`
   */
  static async open(docker: Program): Promise<Docker> {
    const format = '{{.Server.Version}} {{.Server.Os}} {{.Server.Arch}}';
    const answer = await docker.ask(['version', '--format', format]);
    const [version = '', os = 'linux', architecture = 'amd64'] = answer.trim().split(/\s+/);
    const store = await docker.ask(['info', '--format', '{{json .DriverStatus}}']);
    return new Docker(
      docker,
      normalisePlatform({ os, architecture }),
      Number.parseInt(version, 10),
      store.includes('io.containerd.snapshotter'),
    );
  }

  async list(images: readonly ImageToLoad[]): Promise<(image: ImageToLoad) => Presence> {
    const names = images.map(({ name }) => formatReference(name));
    const layers = new Map<string, string>();
    const digests = new Set<string>();
    for (let at = 0; at < names.length; at += maxNames) {
      const args = ['image', 'inspect', ...names.slice(at, at + maxNames)];
      // docker reports missing names after it has printed the images that it found.
      for (const found of parseList(await this.docker.ask(args, true))) {
        for (const name of [...found.tags, ...found.digests]) layers.set(name, found.layers);
        for (const name of found.digests) digests.add(name);
      }
    }
    return (image) => {
      if (layers.get(formatReference(image.name)) === image.diffIds.join(' ')) return 'complete';
      // Of an index with several platforms in containerd's store, docker shows the one of the machine.
      const pin = `${formatRepository(image.name)}@${image.index?.digest ?? image.manifest.digest}`;
      return digests.has(pin) ? 'uncertain' : 'absent';
    };
  }

  entriesOf(image: ImageToLoad): ArchiveEntry[] {
    if (image.name.tag === undefined && !this.keepsDigests) return [];
    if (this.release < firstWithZstd && image.layers.some(({ mediaType }) => mediaType.endsWith('zstd'))) {
      throw new AirliftError(
        'unsupported',
        `load ${formatReference(image.name)} into docker: release ${this.release} cannot read zstd layers; want ${firstWithZstd} or later`,
        { hint: "write what it reads with airlift save and `format: 'docker-archive'`, then docker load" },
      );
    }
    return [{ name: image.name, target: image.index ?? image.manifest }];
  }

  send(_platform: Platform, write: (to: Writable) => Promise<void>): Promise<void> {
    return this.docker.feed(['load', '--quiet'], write);
  }
}

interface InspectedImage {
  readonly tags: readonly string[];
  readonly digests: readonly string[];
  /** Digests of the uncompressed layers, joined by spaces. */
  readonly layers: string;
}

/** Parses the answer of `docker image inspect`. */
function parseList(text: string): InspectedImage[] {
  return objectsIn(text, 'docker image inspect').map(({ RepoTags, RepoDigests, RootFS }) => {
    const layers = isObject(RootFS) && Array.isArray(RootFS['Layers']) ? RootFS['Layers'] : [];
    return { tags: referencesIn(RepoTags), digests: referencesIn(RepoDigests), layers: layers.join(' ') };
  });
}

/** Parses the list of objects that an engine prints as JSON. */
export function objectsIn(text: string, what: string): Record<string, unknown>[] {
  const list = parseJson(text, what, listLimits);
  return (Array.isArray(list) ? list : []).filter(isObject);
}

/** Returns the full names in a list of names as an engine shows them, without those that airlift never writes, such as `<none>`. */
export function referencesIn(list: unknown): string[] {
  return (Array.isArray(list) ? list : []).flatMap((name) => {
    try {
      return typeof name === 'string' ? [formatReference(parseReference(name))] : [];
    } catch (error) {
      if (isAirliftError(error, 'usage')) return [];
      throw error;
    }
  });
}
