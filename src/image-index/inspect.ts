import { AirliftError } from '../errors.js';
import type { Descriptor } from '../oci/descriptor.js';
import type { Digest } from '../oci/digest.js';
import { verdictOf } from '../oci/guess.js';
import { attestationSubject } from '../oci/manifest.js';
import { formatPlatform } from '../oci/platform.js';
import { readManifest } from '../oci/read.js';
import { formatReference, type Reference } from '../oci/reference.js';
import { Registry, type RegistryHooks, type RegistryOptions } from '../registry/registry.js';

/** Options of `inspectIndex`. */
export interface InspectIndexOptions {
  readonly reference: Reference;
  /** How to reach registries; default: the system's certificates, no credentials, no proxy. */
  readonly registry?: RegistryOptions | undefined;
  readonly hooks?: RegistryHooks | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A child of an index. */
export interface IndexChildReport {
  readonly digest: Digest;
  readonly mediaType: string;
  /** Size of its manifest in bytes. */
  readonly size: number;
  readonly platform?: string | undefined;
  readonly artifactType?: string | undefined;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
  /** Digest of the image that this attestation describes. */
  readonly describes?: string | undefined;
  /** Whether the registry holds its manifest; a sparse index names children that the registry lacks. */
  readonly held: boolean;
}

/** An index and its children; plain data. */
export interface IndexReport {
  readonly reference: string;
  readonly digest: Digest;
  readonly mediaType: string;
  /** Size of the index itself in bytes. */
  readonly size: number;
  readonly artifactType?: string | undefined;
  readonly subject?: Digest | undefined;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
  readonly children: readonly IndexChildReport[];
}

/** Reports whether the registry holds a child of an index. */
async function isHeld(
  registry: Registry,
  repository: Reference,
  child: Descriptor,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  try {
    return await registry.exists(repository, child, { signal });
  } catch (error) {
    if (verdictOf(error) === 'absent') return false;
    throw error;
  }
}

/**
 * Reads an index from a registry and describes it.
 * @returns the description, and the bytes of the index as the registry serves them
 * @throws AirliftError `usage` if the reference is not an index; errors of the registry
 */
export async function inspectIndex(
  options: InspectIndexOptions,
): Promise<{ readonly report: IndexReport; readonly bytes: Buffer }> {
  const { reference, signal } = options;
  const registry = new Registry(options.registry, options.hooks);
  try {
    const root = await registry.resolve(reference, { signal });
    const name = formatReference(reference);
    const { manifest, bytes } = await readManifest(registry, reference, root, { signal });
    if (manifest.kind !== 'index')
      throw new AirliftError('usage', `inspect index ${name}: not an index; got ${root.mediaType}`);
    const children: IndexChildReport[] = [];
    for (const child of manifest.manifests)
      children.push(reportOf(child, await isHeld(registry, reference, child, signal)));
    const report = {
      reference: name,
      digest: root.digest,
      mediaType: root.mediaType,
      size: root.size,
      artifactType: manifest.artifactType,
      subject: manifest.subject?.digest,
      annotations: manifest.annotations,
      children,
    };
    return { report, bytes };
  } finally {
    await registry.close();
  }
}

function reportOf(child: Descriptor, held: boolean): IndexChildReport {
  const { digest, mediaType, size, platform, artifactType, annotations } = child;
  return {
    digest,
    mediaType,
    size,
    platform: platform === undefined ? undefined : formatPlatform(platform),
    artifactType,
    annotations,
    describes: annotations?.[attestationSubject],
    held,
  };
}
