/** The media types that airlift handles specially. It transfers all others unchanged. */

export const ociManifest = 'application/vnd.oci.image.manifest.v1+json';
export const ociIndex = 'application/vnd.oci.image.index.v1+json';
export const ociConfig = 'application/vnd.oci.image.config.v1+json';
export const ociLayer = 'application/vnd.oci.image.layer.v1.tar';
export const ociLayerGzip = 'application/vnd.oci.image.layer.v1.tar+gzip';
export const ociLayerZstd = 'application/vnd.oci.image.layer.v1.tar+zstd';
export const ociEmpty = 'application/vnd.oci.empty.v1+json';
/** Withdrawn from the image-spec before 1.1; some registries still hold it. */
export const ociArtifactManifest = 'application/vnd.oci.artifact.manifest.v1+json';

export const dockerManifest = 'application/vnd.docker.distribution.manifest.v2+json';
export const dockerManifestList = 'application/vnd.docker.distribution.manifest.list.v2+json';
export const dockerConfig = 'application/vnd.docker.container.image.v1+json';
export const dockerLayer = 'application/vnd.docker.image.rootfs.diff.tar';
export const dockerLayerGzip = 'application/vnd.docker.image.rootfs.diff.tar.gzip';

export const dockerSchema1 = 'application/vnd.docker.distribution.manifest.v1+json';
export const dockerSchema1Signed = 'application/vnd.docker.distribution.manifest.v1+prettyjws';

const indexTypes: ReadonlySet<string> = new Set([ociIndex, dockerManifestList]);
const manifestTypes: ReadonlySet<string> = new Set([
  ociManifest,
  ociIndex,
  ociArtifactManifest,
  dockerManifest,
  dockerManifestList,
]);

/** The media types to accept in a request for a manifest, in order of preference. */
export const manifestAccept: readonly string[] = [
  ociIndex,
  dockerManifestList,
  ociManifest,
  dockerManifest,
  ociArtifactManifest,
  dockerSchema1Signed,
  dockerSchema1,
];

/** Reports whether a media type is that of an image index or a Docker manifest list. */
export function isIndex(mediaType: string): boolean {
  return indexTypes.has(mediaType);
}

/** Reports whether a media type is that of a manifest or an index. */
export function isManifest(mediaType: string): boolean {
  return manifestTypes.has(mediaType);
}

/** The fields of a descriptor that tell where a registry stores its content. */
interface Placed {
  readonly mediaType: string;
  readonly isBlob?: true | undefined;
}

/** Reports whether a registry stores the content of a descriptor under `/manifests/`, not under `/blobs/`. */
export function livesUnderManifests({ mediaType, isBlob }: Placed): boolean {
  return isBlob !== true && (isManifest(mediaType) || isSchema1(mediaType));
}

/** Reports whether a media type is Docker schema 1, which airlift does not support. */
export function isSchema1(mediaType: string): boolean {
  return mediaType === dockerSchema1 || mediaType === dockerSchema1Signed;
}

/** Reports whether a media type is that of an image config, which names the platform of a runnable image. */
export function isImageConfig(mediaType: string): boolean {
  return mediaType === ociConfig || mediaType === dockerConfig;
}

/** Reports whether a layer's publisher forbids (or once forbade) to redistribute it: it may be available only at its `urls`. */
export function isForeignLayer(mediaType: string): boolean {
  return mediaType.includes('.foreign.') || mediaType.includes('.nondistributable.');
}
