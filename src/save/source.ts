import { openInputs, type ArchiveOptions } from '../merge/open-inputs.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import type { Platform } from '../oci/platform.js';
import { formatReference, type Reference } from '../oci/reference.js';
import type { Image, Source } from '../oci/source.js';
import type { OnEvent } from '../progress.js';
import { Registry, type RegistryHooks, type RegistryOptions } from '../registry/registry.js';

/** Images of one bundle, or of archives that are merged by the names of their images. */
export interface SaveFromFiles {
  /** Paths; `-` reads `archives.stdin`. */
  readonly files: readonly string[];
  readonly archives?: ArchiveOptions | undefined;
}

/** Images of registries. */
export interface SaveFromRegistries {
  readonly references: readonly Reference[];
  /** How to reach registries; default: the system's certificates, no credentials, no proxy. */
  readonly registry?: RegistryOptions | undefined;
  readonly hooks?: RegistryHooks | undefined;
}

/** The source of images to save. */
export type SaveFrom = SaveFromFiles | SaveFromRegistries;

/** An image that can be saved. */
export interface SourceImage extends Image {
  /** Of what belongs to another image, such as its signature: that image's manifest. */
  readonly companionOf?: Digest | undefined;
  /** What the images below the root are, where that was found out by more than what index and config say. */
  readonly children?: readonly { readonly descriptor: Descriptor; readonly platform: Platform }[] | undefined;
}

/** Images to save, open. */
export interface SaveSource {
  readonly source: Source;
  readonly images: Iterable<SourceImage>;
  /** Whether the content of a foreign layer is there. */
  hasForeign(digest: Digest): boolean;
  /** The error to tell instead of one that damage of the input is behind. */
  explain?(error: unknown): Promise<unknown>;
  close(): Promise<void>;
}

export interface OpenSaveOptions {
  readonly onEvent?: OnEvent | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Opens what images are saved from. What tags of registries point at is looked up once, here.
 * @throws AirliftError what opening, merging and looking up throw
 */
export async function openSaveSource(from: SaveFrom, options: OpenSaveOptions): Promise<SaveSource> {
  if ('files' in from) return openInputs({ inputs: from.files, archives: from.archives, ...options });
  const { signal, onEvent } = options;
  const registry = new Registry(from.registry, from.hooks);
  try {
    const images: SourceImage[] = [];
    for (const reference of from.references) {
      images.push({ reference, root: await registry.resolve(reference, { signal }) });
      const position = images.length;
      onEvent?.({
        event: 'resolved',
        image: formatReference(reference),
        position,
        images: from.references.length,
      });
    }
    return { source: registry, images, hasForeign: () => true, close: () => registry.close() };
  } catch (error) {
    await registry.close();
    throw error;
  }
}
