import { isObject } from './descriptor.js';
import { parseJsonObject, platformOfConfig, type Manifest } from './manifest.js';
import { isImageConfig } from './media-types.js';

/** Media types of root file system layers: of OCI, of Docker, and of formats that containerd mounts directly. */
const layerType = /^application\/vnd\.(?:oci\.image\.layer|docker\.image\.rootfs|erofs)\b/;

/**
 * Reports whether a manifest may be a runnable image, as far as the manifest tells. Signatures, attestations, SBOMs, charts, Wasm
 * modules and other artifacts are not; cosign's have the config media type of images, so the layers are checked, too.
 */
export function mayRun(manifest: Manifest): boolean {
  const { config, layers, artifactType } = manifest;
  if (config === undefined || !isImageConfig(config.mediaType)) return false;
  // Some tools repeat the config's media type as the artifact type.
  if (artifactType !== undefined && !isImageConfig(artifactType)) return false;
  return layers.length === 0 || layers.some(({ mediaType }) => layerType.test(mediaType));
}

/**
 * Reports whether the config of a manifest that `mayRun` describes an image: it names a platform or a root file system.
 * @param what the config, for messages
 */
export function describesImage(config: Uint8Array, layers: number, what: string): boolean {
  if (platformOfConfig(config, what) !== undefined) return true;
  return layers > 0 && isObject(parseJsonObject(config, what)['rootfs']);
}
