import { AirliftError, isAirliftError } from '../errors.js';
import { isObject, parseAnnotations, parseDescriptor, type Descriptor } from './descriptor.js';
import { documentLimits, htmlHint, isHtmlText, parseJson, type JsonLimits } from './json.js';
import { isDigest, type Digest } from './digest.js';
import * as mediaTypes from './media-types.js';
import { decodePlatform, type Platform } from './platform.js';

/** Maximum size of a manifest or index in bytes (distribution-spec, "Pushing Manifests", asks registries for at least this). */
export const maxManifestSize = 4 * 1024 * 1024;

/** Maximum number of children of an index, and of layers of a manifest. */
export const maxDescriptors = 8192;

/** A parsed image manifest or artifact manifest (OCI image-spec, manifest.md). */
export interface Manifest {
  readonly kind: 'manifest';
  readonly mediaType: string;
  readonly artifactType: string | undefined;
  /** Undefined only for the withdrawn OCI artifact manifest. */
  readonly config: Descriptor | undefined;
  readonly layers: readonly Descriptor[];
  readonly subject: Descriptor | undefined;
  readonly annotations: Readonly<Record<string, string>> | undefined;
}

/** A parsed image index or Docker manifest list (OCI image-spec, image-index.md). */
export interface Index {
  readonly kind: 'index';
  readonly mediaType: string;
  readonly artifactType: string | undefined;
  readonly manifests: readonly Descriptor[];
  readonly subject: Descriptor | undefined;
  readonly annotations: Readonly<Record<string, string>> | undefined;
}

/** Returns the blobs of a manifest: its config, if it has one, and its layers. */
export function blobsOf({ config, layers }: Manifest): readonly Descriptor[] {
  return config === undefined ? layers : [config, ...layers];
}

/** BuildKit's annotation of an attestation: the digest of the image that it describes. */
export const attestationSubject = 'vnd.docker.reference.digest';

/**
 * Parses an untrusted JSON object that is not secret.
 * @throws AirliftError `input` that quotes the first bytes if they are not a JSON object, or names the limit that they exceed
 */
export function parseJsonObject(
  bytes: Uint8Array,
  what: string,
  limits: JsonLimits = documentLimits,
): Record<string, unknown> {
  let value: unknown;
  try {
    value = parseJson(bytes, what, limits);
  } catch (error) {
    if (!isAirliftError(error) || error.cause === undefined) throw error;
    const text = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(1000, bytes.byteLength)).toString(
      'utf8',
    );
    const start = JSON.stringify(text.trimStart().slice(0, 40));
    const html = isHtmlText(text);
    throw new AirliftError(
      'input',
      `parse ${what}: ${html ? 'got an HTML page' : 'not JSON'}; it begins with ${start}`,
      { cause: error.cause, hint: html ? htmlHint : undefined },
    );
  }
  if (!isObject(value)) throw new AirliftError('input', `parse ${what}: not a JSON object`);
  return value;
}

/** Derives the media type of a manifest without `mediaType` from its fields. */
function typeOfShape(json: Record<string, unknown>): string {
  if ('fsLayers' in json || json['schemaVersion'] === 1) return mediaTypes.dockerSchema1;
  if ('manifests' in json) return mediaTypes.ociIndex;
  if ('blobs' in json && !('config' in json)) return mediaTypes.ociArtifactManifest;
  return mediaTypes.ociManifest;
}

/**
 * Returns the media type of a manifest or index: its own `mediaType`; else the label, if it fits the fields; else the type that the
 * fields imply. Registries and static file servers may label manifests as text, JSON or bytes.
 */
function mediaTypeOf(json: Record<string, unknown>, label: string | undefined, what: string): string {
  const own = json['mediaType'];
  if (own !== undefined && typeof own !== 'string')
    throw new AirliftError('input', `parse ${what}: mediaType is not a string`);
  const shape = typeOfShape(json);
  const fits =
    label !== undefined &&
    mediaTypes.isManifest(label) &&
    mediaTypes.isIndex(label) === mediaTypes.isIndex(shape);
  const type = own !== undefined && own !== '' ? own : fits ? label : shape;
  if (json['schemaVersion'] === 1 || mediaTypes.isSchema1(type)) {
    throw new AirliftError('unsupported', `parse ${what}: Docker schema 1 manifests are not supported`, {
      hint: 'pull and push the image with a current docker to convert it, or ask its publisher for a newer build',
    });
  }
  if (!mediaTypes.isManifest(type))
    throw new AirliftError(
      'unsupported',
      `parse ${what}: unknown manifest media type ${JSON.stringify(type)}`,
    );
  return type;
}

/**
 * Returns the media type of a manifest or index by its content, even if the label is wrong.
 * @throws AirliftError as `parseManifest`
 */
export function manifestTypeOf(bytes: Uint8Array, label: string | undefined, what: string): string {
  return mediaTypeOf(parseJsonObject(bytes, what), label, what);
}

/** Marks a config or layer as a blob, even if its media type is that of a manifest. */
function asBlob(descriptor: Descriptor): Descriptor {
  return mediaTypes.livesUnderManifests(descriptor) ? { ...descriptor, isBlob: true } : descriptor;
}

function descriptors(value: unknown, what: string): Descriptor[] {
  if (value === null || value === undefined) return [];
  if (!Array.isArray(value)) throw new AirliftError('input', `parse ${what}: not a list`);
  return parseDescriptors(value, what);
}

/**
 * Parses a list of descriptors.
 * @param most the maximum number of items
 * @throws AirliftError `input` if the list is longer, or an item is malformed
 */
export function parseDescriptors(
  list: readonly unknown[],
  what: string,
  most = maxDescriptors,
): Descriptor[] {
  refuseMore(list, what, most);
  return list.map((item, at) => parseDescriptor(item, `${what}[${at}]`));
}

/** @throws AirliftError `input` if a list has more than `most` items */
export function refuseMore(list: readonly unknown[], what: string, most = maxDescriptors): void {
  if (list.length > most)
    throw new AirliftError(
      'input',
      `parse ${what}: too many entries; got ${list.length}, want at most ${most}`,
    );
}

/**
 * Parses a manifest or index. Only its original bytes are ever transferred, never this copy.
 * @param mediaType the label from the registry or the parent descriptor; the document's own `mediaType` takes precedence
 * @param what the document, for messages
 * @throws AirliftError `input` if it is malformed or ambiguous (both layers and children), `unsupported` for Docker schema 1
 */
export function parseManifest(
  bytes: Uint8Array,
  mediaType: string | undefined,
  what: string,
): Manifest | Index {
  if (bytes.byteLength > maxManifestSize) {
    throw new AirliftError(
      'input',
      `parse ${what}: too large; got ${bytes.byteLength} bytes, want at most ${maxManifestSize}`,
    );
  }
  const json = parseJsonObject(bytes, what);
  const type = mediaTypeOf(json, mediaType, what);
  const shared = {
    mediaType: type,
    artifactType:
      typeof json['artifactType'] === 'string' && json['artifactType'] !== ''
        ? json['artifactType']
        : undefined,
    subject:
      json['subject'] === undefined || json['subject'] === null
        ? undefined
        : parseDescriptor(json['subject'], `${what} subject`),
    annotations: parseAnnotations(json['annotations'], what),
  };
  const ambiguous = (): never => {
    throw new AirliftError('input', `parse ${what}: ambiguous, has both layers and manifests`);
  };
  if (mediaTypes.isIndex(type)) {
    if ('layers' in json || 'config' in json || 'fsLayers' in json) ambiguous();
    if (!Array.isArray(json['manifests']))
      throw new AirliftError('input', `parse ${what}: index has no manifests`);
    return { kind: 'index', ...shared, manifests: descriptors(json['manifests'], `${what} manifests`) };
  }
  if ('manifests' in json || 'fsLayers' in json) ambiguous();
  if (type === mediaTypes.ociArtifactManifest) {
    return {
      kind: 'manifest',
      ...shared,
      config: undefined,
      layers: descriptors(json['blobs'], `${what} blobs`).map(asBlob),
    };
  }
  if (!isObject(json['config'])) throw new AirliftError('input', `parse ${what}: manifest has no config`);
  const config = asBlob(parseDescriptor(json['config'], `${what} config`));
  return {
    kind: 'manifest',
    ...shared,
    config,
    layers: descriptors(json['layers'], `${what} layers`).map(asBlob),
  };
}

/**
 * Returns the platform in an image config (OCI image-spec, config.md, `os`, `architecture`, `variant`); undefined if it names none,
 * as with artifacts.
 */
export function platformOfConfig(bytes: Uint8Array, what: string): Platform | undefined {
  const json = parseJsonObject(bytes, what);
  const platform = decodePlatform(json, what);
  return platform.os === '' || platform.architecture === '' ? undefined : platform;
}

/**
 * Returns the digests of an image's uncompressed layers, lowest first (OCI image-spec, config.md, `rootfs.diff_ids`). A config
 * without layers may leave the list out.
 * @param what names the config in messages
 * @throws AirliftError `input` where the config has no valid list
 */
export function diffIdsOf(config: Uint8Array, what: string): Digest[] {
  const { rootfs } = parseJsonObject(config, what);
  if (isObject(rootfs)) {
    const list = rootfs['diff_ids'] ?? [];
    if (Array.isArray(list) && list.every(isDigest)) return list;
  }
  throw new AirliftError('input', `parse ${what}: no valid rootfs.diff_ids`);
}
