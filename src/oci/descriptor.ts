import { AirliftError } from '../errors.js';
import { isDigest, type Digest } from './digest.js';
import { decodePlatform, type Platform } from './platform.js';

/** Points at content by digest, size and media type (OCI image-spec, descriptor.md). */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  /** The size of the content in bytes. */
  readonly size: number;
  readonly urls?: readonly string[] | undefined;
  readonly annotations?: Readonly<Record<string, string>> | undefined;
  /** The content itself in base64, if the descriptor embeds it. */
  readonly data?: string | undefined;
  readonly platform?: Platform | undefined;
  readonly artifactType?: string | undefined;
  /**
   * Set for a config or layer whose media type is that of a manifest: registries store it as a blob. The place of a descriptor
   * decides what its content is; the media type is only a label.
   */
  readonly isBlob?: true | undefined;
}

/** Maximum number of annotations of one descriptor or manifest; the highest known number is 40. */
const maxAnnotations = 1024;

function fail(what: string, happened: string): never {
  throw new AirliftError('input', `parse ${what}: ${happened}`);
}

/** Reports whether a value is a JSON object (not null, not an array). */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Parses `annotations`, a map of strings; rejects values of other types. */
export function parseAnnotations(value: unknown, what: string): Record<string, string> | undefined {
  if (value === undefined || value === null) return undefined;
  if (!isObject(value)) fail(what, 'annotations are not an object');
  const count = Object.keys(value).length;
  if (count > maxAnnotations)
    fail(what, `too many annotations; got ${count}, want at most ${maxAnnotations}`);
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== 'string') fail(what, `annotation ${JSON.stringify(key)} is not a string`);
  }
  return value as Record<string, string>;
}

/**
 * Parses a descriptor. This copy drops fields that airlift does not know; the manifest's bytes, which are what airlift transfers,
 * keep them.
 * @param what the document and the place in it, for messages
 * @throws AirliftError `input` if a field is missing or has the wrong type
 */
export function parseDescriptor(value: unknown, what: string): Descriptor {
  if (!isObject(value)) fail(what, 'descriptor is not an object');
  const { mediaType, digest, size, urls, data, artifactType } = value;
  if (typeof mediaType !== 'string' || mediaType === '' || mediaType.length > 255)
    fail(what, 'descriptor has no media type');
  if (!isDigest(digest))
    fail(what, `descriptor has no sha256 or sha512 digest; got ${JSON.stringify(digest)?.slice(0, 160)}`);
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0)
    fail(what, `descriptor ${digest} has no valid size`);
  const list = Array.isArray(urls) ? urls.filter((url): url is string => typeof url === 'string') : [];
  return {
    mediaType,
    digest,
    size,
    urls: list.length > 0 ? list : undefined,
    annotations: parseAnnotations(value['annotations'], what),
    data: typeof data === 'string' ? data : undefined,
    platform:
      value['platform'] === undefined || value['platform'] === null
        ? undefined
        : decodePlatform(value['platform'], what),
    artifactType: typeof artifactType === 'string' ? artifactType : undefined,
  };
}
