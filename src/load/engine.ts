import type { Writable } from 'node:stream';
import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import type { Platform } from '../oci/platform.js';
import type { Reference } from '../oci/reference.js';

/** Container engines and Kubernetes distributions that images are loaded into. */
export type EngineName = 'containerd' | 'docker' | 'podman' | 'k3s' | 'rke2' | 'k0s' | 'microk8s' | 'kind';

/** An image for one platform, as engines need to know it. */
export interface ImageToLoad {
  /** The name with a tag, or by digest if the image has no tag. */
  readonly name: Reference;
  /** `REPOSITORY@DIGEST` for each digest that a pod may pin. */
  readonly pinned: readonly Reference[];
  /** The manifest for the platform. */
  readonly manifest: Descriptor;
  readonly config: Descriptor;
  /** Digests of the uncompressed layers. */
  readonly diffIds: readonly Digest[];
  readonly layers: readonly Descriptor[];
  /** The index that names the manifest: the publisher's if the source has it, else the filtered one. */
  readonly index: Descriptor | undefined;
}

/** A name in an archive, and the content that it points at. */
export interface ArchiveEntry {
  readonly name: Reference;
  readonly target: Descriptor;
}

/**
 * How an engine holds an image: `complete`, under all names; `by-tag`, under its tag but not by the digest of its index; `unpinned`,
 * complete but not protected from garbage collection; `uncertain`, maybe without the content of this platform; `absent` in all other
 * cases.
 */
export type Presence = 'complete' | 'by-tag' | 'unpinned' | 'uncertain' | 'absent';

/** A container engine to load images into. */
export interface Engine {
  /** The engine in messages, such as `docker` or `containerd on kind-worker`. */
  readonly label: string;
  /** The platform of the machine that the engine runs on. */
  readonly platform: Platform;
  /**
   * Reads which of the images the engine has.
   * @throws AirliftError `engine`
   */
  list(images: readonly ImageToLoad[]): Promise<(image: ImageToLoad) => Presence>;
  /**
   * Returns the names to write for an image; none if the engine has no name for it.
   * @throws AirliftError `unsupported` if the engine cannot read the image
   */
  entriesOf(image: ImageToLoad, platform: Platform): ArchiveEntry[];
  /**
   * Sends an archive of one image to the engine. The engine names the image only after it has read the whole archive.
   * @throws AirliftError `engine`; errors of `write`
   */
  send(platform: Platform, write: (to: Writable) => Promise<void>): Promise<void>;
  /**
   * Protects an image from the kubelet's garbage collection, if the engine knows such protection.
   * @throws AirliftError `engine`
   */
  pin?(image: ImageToLoad): Promise<void>;
}

/** Options that say how to reach an engine. */
export interface EngineOptions {
  readonly engine: EngineName;
  /** Path of the engine's socket; with docker and podman also a URL. Default: the engine's own. */
  readonly address?: string | undefined;
  /** The namespace of containerd. Default `k8s.io`. */
  readonly namespace?: string | undefined;
  /** The snapshotter that unpacks images in containerd. Default: containerd's own. */
  readonly snapshotter?: string | undefined;
  /** The name of the kind cluster. Default `kind`. */
  readonly cluster?: string | undefined;
  /** The data directory of k3s, RKE2 or k0s. Default: the one of the distribution. */
  readonly dataDir?: string | undefined;
  /** Protect images from the kubelet's garbage collection. Default true. */
  readonly pin?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}
