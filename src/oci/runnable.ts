import { isObject } from './descriptor.js';
import { parseJsonObject, platformOfConfig, type Manifest } from './manifest.js';
import { isImageConfig } from './media-types.js';

/** Layers of root file systems: of OCI, of Docker, and of formats that containerd mounts as they are. */
const layerType = /^application\/vnd\.(?:oci\.image\.layer|docker\.image\.rootfs|erofs)\b/;

/**
 * Whether a manifest may be an image that a machine runs, as far as the manifest says. Signatures, attestations, SBOMs, charts, Wasm
 * modules and other artifacts are none; cosign gives its own the media type of an image's config, so the layers count too.
 */
export function mayRun(manifest: Manifest): boolean {
  const { config, layers, artifactType } = manifest;
  if (config === undefined || !isImageConfig(config.mediaType)) return false;
  // Some tools repeat the config's media type as the artifact type.
  if (artifactType !== undefined && !isImageConfig(artifactType)) return false;
  return layers.length === 0 || layers.some(({ mediaType }) => layerType.test(mediaType));
}

/**
 * Whether a manifest that `mayRun` has a config that describes an image: one that names a platform, or a root file system.
 * @param what names the config, for messages
 */
export function describesImage(config: Uint8Array, layers: number, what: string): boolean {
  if (platformOfConfig(config, what) !== undefined) return true;
  return layers > 0 && isObject(parseJsonObject(config, what)['rootfs']);
}
