/** The media types airlift tells apart. Everything else is carried as it is. */

export const ociManifest = 'application/vnd.oci.image.manifest.v1+json';
export const ociIndex = 'application/vnd.oci.image.index.v1+json';
export const ociConfig = 'application/vnd.oci.image.config.v1+json';
export const ociLayer = 'application/vnd.oci.image.layer.v1.tar';
export const ociLayerGzip = 'application/vnd.oci.image.layer.v1.tar+gzip';
export const ociLayerZstd = 'application/vnd.oci.image.layer.v1.tar+zstd';
export const ociEmpty = 'application/vnd.oci.empty.v1+json';
/** Withdrawn from the image-spec before 1.1, still met in registries. */
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

/** What a registry is asked for when a manifest is wanted, most telling first. */
export const manifestAccept: readonly string[] = [
  ociIndex,
  dockerManifestList,
  ociManifest,
  dockerManifest,
  ociArtifactManifest,
  dockerSchema1Signed,
  dockerSchema1,
];

/** An image index, or a Docker manifest list. */
export function isIndex(mediaType: string): boolean {
  return indexTypes.has(mediaType);
}

/** Anything that lives under `/manifests/` in a registry: manifests and indexes. */
export function isManifest(mediaType: string): boolean {
  return manifestTypes.has(mediaType);
}

/** A descriptor, as far as it tells where its content is kept. */
interface Placed {
  readonly mediaType: string;
  readonly isBlob?: true | undefined;
}

/** Whether a registry keeps what a descriptor names under `/manifests/`, not under `/blobs/`. */
export function livesUnderManifests({ mediaType, isBlob }: Placed): boolean {
  return isBlob !== true && (isManifest(mediaType) || isSchema1(mediaType));
}

/** Docker schema 1, which airlift refuses by name. */
export function isSchema1(mediaType: string): boolean {
  return mediaType === dockerSchema1 || mediaType === dockerSchema1Signed;
}

/** The config of a runnable image, which names its platform. */
export function isImageConfig(mediaType: string): boolean {
  return mediaType === ociConfig || mediaType === dockerConfig;
}

/** A layer that its publisher forbids (or once forbade) to redistribute: it may be found only under its `urls`. */
export function isForeignLayer(mediaType: string): boolean {
  return mediaType.includes('.foreign.') || mediaType.includes('.nondistributable.');
}
