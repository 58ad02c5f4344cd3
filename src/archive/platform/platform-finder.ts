import { platformFieldsOfConfig } from '../../oci/index-child.js';
import { attestationSubject, platformOfConfig } from '../../oci/manifest.js';
import { isUnknown, type Platform } from '../../oci/platform.js';
import type { Digest } from '../../oci/digest.js';
import type { Descriptor } from '../../oci/descriptor.js';
import type { ByteRange } from '../../io/byte-range.js';
import { readLayerFiles, type LayerFiles } from './layer-files.js';
import {
  agreedArchitecture,
  decidePlatform,
  type PlatformFinding,
  platformOfFileName,
  type NamedPlatform,
} from './decide-platform.js';
import { programEvidence, type ProgramEvidence } from './program.js';

/** A layer whose files can be read; layers are ordered lowest first. */
export interface FoundLayer {
  readonly digest: Digest;
  /** Opens its tar, compressed or not; undefined where the archive does not hold it. */
  readonly open: () => Promise<ByteRange | undefined>;
  /** Returns its files where it was read already. */
  readonly knownFiles?: (() => LayerFiles | undefined) | undefined;
  /** Finds its files in a worker thread; undefined where that cannot. */
  readonly scan?: (() => Promise<LayerFiles> | undefined) | undefined;
}

/** A manifest whose platform is to be found. */
export interface PlatformSubject {
  readonly descriptor: Descriptor;
  /** Its config if it is an image that a machine runs; else undefined. */
  readonly configBytes: Buffer | undefined;
  readonly layers: readonly FoundLayer[];
}

/** Rules that find a platform in the names of an image. */
export interface PlatformNameRules {
  platformOf(names: readonly string[]): NamedPlatform | undefined;
}

export interface FindPlatformOptions {
  /** The platform of the archive's images as stated by the user (`--arch`). */
  readonly platform?: Platform | undefined;
  /** Rules that find platforms in names. */
  readonly nameRules?: PlatformNameRules | undefined;
  /** Whether to compare the claims with the programs of an image (default: true). */
  readonly checkPrograms?: boolean | undefined;
}

/** The most files of layers that are cached for other images with the same layers. */
const maxRemembered = 500_000;

/** Finds the platforms of an archive's images. A layer that several images share is scanned once. */
export class PlatformFinder {
  readonly #fileName: NamedPlatform | undefined;
  readonly #layers = new Map<Digest, Promise<LayerFiles>>();
  #remembered = 0;

  constructor(
    file: string,
    private readonly options: FindPlatformOptions,
  ) {
    this.#fileName = platformOfFileName(file);
  }

  /**
   * Finds the platform of an image.
   * @param entryPlatform the platform in the index entry of the child
   * @param isAlone whether it is the only image below its root, so that `--arch` applies to it
   * @param names the image's names in the archive
   * @returns undefined where the child is not a runnable image, or nothing shows its platform
   */
  async find(
    child: PlatformSubject,
    entryPlatform: Platform | undefined,
    isAlone: boolean,
    names: readonly string[],
  ): Promise<PlatformFinding | undefined> {
    const { configBytes } = child;
    const isAttestation = child.descriptor.annotations?.[attestationSubject] !== undefined;
    if (isAttestation || (entryPlatform !== undefined && isUnknown(entryPlatform))) return undefined;
    // --arch and the file's name apply to runnable images only.
    if (configBytes === undefined) return undefined;
    const flag = isAlone ? this.options.platform : undefined;
    const what = `config of ${child.descriptor.digest}`;
    const platform = platformOfConfig(configBytes, what);
    const fields = platformFieldsOfConfig(configBytes, what);
    const config = platform === undefined || fields === undefined ? undefined : { platform, fields };
    if (config !== undefined && isUnknown(config.platform)) return undefined;
    const fileName = entryPlatform === undefined ? this.#fileName : undefined;
    const imageName = entryPlatform === undefined ? this.options.nameRules?.platformOf(names) : undefined;
    const claims = { flag, entry: entryPlatform, config, imageName, fileName };
    const claimed = agreedArchitecture(claims);
    return decidePlatform(claims, await this.#evidence(child, configBytes, config?.platform.os, claimed));
  }

  async #evidence(
    child: PlatformSubject,
    config: Buffer,
    os: string | undefined,
    claimed: string | undefined,
  ): Promise<ProgramEvidence | undefined> {
    if (this.options.checkPrograms === false || (os !== undefined && os !== 'linux')) return undefined;
    return programEvidence(config, child.layers.length, (at) => this.#filesOf(child, at), claimed);
  }

  #filesOf(child: PlatformSubject, at: number): Promise<LayerFiles> {
    const layer = child.layers[at];
    if (layer === undefined) throw new RangeError(`no layer ${at}`);
    const known = layer.knownFiles?.();
    if (known !== undefined) return Promise.resolve(known);
    let reading = this.#layers.get(layer.digest);
    if (reading === undefined) {
      reading = layer.scan?.() ?? layer.open().then(readLayerFiles);
      this.#layers.set(layer.digest, reading);
      void reading.then(
        ({ files }) => this.#forget(files.size),
        () => undefined,
      );
    }
    return reading;
  }

  /** Empties the cache when it is too large. */
  #forget(added: number): void {
    this.#remembered += added;
    if (this.#remembered <= maxRemembered) return;
    this.#layers.clear();
    this.#remembered = 0;
  }
}
