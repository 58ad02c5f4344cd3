import type { Writable } from 'node:stream';
import { hexOf } from '../oci/digest.js';
import { normalisePlatform, samePlatform, type Platform } from '../oci/platform.js';
import { formatReference, formatRepository } from '../oci/reference.js';
import { objectsIn, referencesIn } from './docker.js';
import type { ArchiveEntry, Engine, ImageToLoad, Presence } from './engine.js';
import type { Program } from './program.js';

/** podman, through its command line program. */
export class Podman implements Engine {
  readonly label = 'podman';

  private constructor(
    private readonly podman: Program,
    readonly platform: Platform,
  ) {}

  /**
   * Asks the engine for its platform.
   * @throws AirliftError `engine`
   */
  static async open(podman: Program): Promise<Podman> {
    const answer = await podman.ask(['info', '--format', '{{.Host.OS}} {{.Host.Arch}}']);
    const [os = 'linux', architecture = 'amd64'] = answer.trim().split(/\s+/);
    return new Podman(podman, normalisePlatform({ os, architecture }));
  }

  async list(): Promise<(image: ImageToLoad) => Presence> {
    const answer = await this.podman.ask(['image', 'ls', '--format', 'json']);
    const found = objectsIn(answer, 'podman image ls').map((image) => ({
      id: image['Id'],
      names: new Set(referencesIn(image['Names'])),
      digests: new Set(referencesIn(image['RepoDigests'])),
    }));
    return (image) => {
      const same = found.filter(({ id }) => id === hexOf(image.config.digest));
      const name = formatReference(image.name);
      const named = same.filter(({ names, digests }) => names.has(name) || digests.has(name));
      if (named.length === 0) return 'absent';
      const { digest } = image.index ?? image.manifest;
      const pin = `${formatRepository(image.name)}@${digest}`;
      return named.some(({ digests }) => digests.has(pin)) ? 'complete' : 'by-tag';
    };
  }

  entriesOf(image: ImageToLoad, platform: Platform): ArchiveEntry[] {
    // podman chooses from an index by its own platform: the index of a foreign image would hide the image.
    const isForeign = !samePlatform(platform, this.platform);
    return [{ name: image.name, target: isForeign ? image.manifest : (image.index ?? image.manifest) }];
  }

  send(_platform: Platform, write: (to: Writable) => Promise<void>): Promise<void> {
    return this.podman.feed(['load', '--quiet'], write);
  }
}
