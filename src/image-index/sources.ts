import { AirliftError } from '../errors.js';
import type { Digest } from '../oci/digest.js';
import {
  childOf,
  childrenOf,
  platformFields,
  platformFieldsOfConfig,
  type ExistingIndex,
  type IndexChild,
  type Json,
} from '../oci/index-child.js';
import { attestationSubject } from '../oci/manifest.js';
import { isImageConfig } from '../oci/media-types.js';
import { formatPlatform, matchPlatform, type Platform } from '../oci/platform.js';
import { readContent, readManifest, type LoadedManifest } from '../oci/read.js';
import { formatReference, type Reference, type Repository } from '../oci/reference.js';
import type { Source } from '../oci/source.js';

/** A source for children of an index: an image, an artifact, or an index that provides its children. */
export interface IndexSource {
  readonly reference: Reference;
  /** For an image: the platform to record. For an index: the child to select. `none` records no platform. Default: read from the source. */
  readonly platform?: Platform | 'none' | undefined;
  /** Annotations for the entry of the image, or for each child of an index except attestations. */
  readonly annotations?: Readonly<Record<string, string>> | undefined;
}

/** A resolved source, and the children that it provides. */
export interface LoadedSource {
  readonly source: IndexSource;
  /** The index, if the source is one. */
  readonly index: ExistingIndex | undefined;
  readonly children: readonly IndexChild[];
}

export interface LoadOptions {
  /** Use an index as one child, instead of its children. */
  readonly nest?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Resolves the sources of an index, and remembers the repository of each child. */
export class IndexSources {
  readonly #homes = new Map<Digest, Repository>();

  constructor(
    private readonly registry: Source,
    private readonly options: LoadOptions = {},
  ) {}

  /** Returns the repository of a child. */
  homeOf(child: IndexChild): Repository | undefined {
    return this.#homes.get(child.descriptor.digest);
  }

  /**
   * Resolves a source.
   * @throws AirliftError `usage` if an artifact has no platform and the source sets none; `platform-missing` if an index has no
   *   child for the platform; what the registry throws
   */
  async load(source: IndexSource): Promise<LoadedSource> {
    const { reference } = source;
    const from = formatReference(reference);
    const { signal, nest } = this.options;
    const root = await this.registry.resolve(reference, { signal });
    const loaded = await readManifest(this.registry, reference, root, { signal });
    if (loaded.manifest.kind === 'index' && nest !== true) {
      const index = { descriptor: root, bytes: loaded.bytes, from };
      return this.#loaded(source, index, chosen(source, index));
    }
    return this.#loaded(source, undefined, [await this.#single(source, loaded)]);
  }

  #loaded(
    source: IndexSource,
    index: ExistingIndex | undefined,
    children: readonly IndexChild[],
  ): LoadedSource {
    const { registry, repository } = source.reference;
    for (const { descriptor } of children) this.#homes.set(descriptor.digest, { registry, repository });
    return { source, index, children };
  }

  async #single(source: IndexSource, { descriptor, manifest }: LoadedManifest): Promise<IndexChild> {
    const from = formatReference(source.reference);
    const child = (platform: Json | undefined): IndexChild =>
      childOf({ ...descriptor, artifactType: manifest.artifactType }, from, platform);
    if (source.platform === 'none') return child(undefined);
    if (source.platform !== undefined) return child(platformFields(source.platform));
    if (manifest.kind === 'index') return child(undefined);
    const { config } = manifest;
    const platform =
      config === undefined || !isImageConfig(config.mediaType)
        ? undefined
        : platformFieldsOfConfig(
            await readContent(this.registry, source.reference, config, { signal: this.options.signal }),
            `config of ${from}`,
          );
    if (platform !== undefined) return child(platform);
    const kind = manifest.artifactType ?? config?.mediaType ?? manifest.mediaType;
    throw new AirliftError('usage', `compose index: ${from} has no platform; got ${kind}`, {
      hint: `state it with \`platform\` ${from}=linux/arm64, or list it without a platform with \`platform\` ${from}=none`,
    });
  }
}

/** Returns the children that an index provides: all, or those for the platform with their attestations. */
function chosen({ platform }: IndexSource, index: ExistingIndex): readonly IndexChild[] {
  const all = childrenOf(index);
  if (platform === undefined) return all;
  if (platform === 'none') {
    throw new AirliftError(
      'usage',
      `compose index: ${index.from} is an index: its children have platforms of their own`,
    );
  }
  const descriptors = matchPlatform(
    platform,
    all.map(({ descriptor }) => descriptor),
  );
  const kept = new Set<string>(descriptors.map(({ digest }) => digest));
  if (kept.size === 0) {
    const available = all.flatMap(({ descriptor: { platform: own } }) =>
      own === undefined ? [] : [formatPlatform(own)],
    );
    throw new AirliftError(
      'platform-missing',
      `compose index: ${index.from} has no image for the platform; got ${available.join(', ')}, want ${formatPlatform(platform)}`,
    );
  }
  return all.filter(
    ({ descriptor }) =>
      kept.has(descriptor.digest) || kept.has(descriptor.annotations?.[attestationSubject] ?? ''),
  );
}
