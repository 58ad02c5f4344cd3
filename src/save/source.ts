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

/** Images in registries. */
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
  /** The manifest that this image belongs to, if it is a signature or the like. */
  readonly companionOf?: Digest | undefined;
  /** The platforms of the images below the root, if more evidence than index and config determined them. */
  readonly children?: readonly { readonly descriptor: Descriptor; readonly platform: Platform }[] | undefined;
}

/** An open source of images. */
export interface SaveSource {
  readonly source: Source;
  readonly images: Iterable<SourceImage>;
  /** Reports whether the source has the content of a foreign layer. */
  hasForeign(digest: Digest): boolean;
  /** Returns the damage of the input that caused an error, if there is any, else the error. */
  explain?(error: unknown): Promise<unknown>;
  close(): Promise<void>;
}

export interface OpenSaveOptions {
  readonly onEvent?: OnEvent | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Opens the source of the images to save. Tags in registries are resolved once, here.
 * @throws AirliftError what opening, merging and resolving throw
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
