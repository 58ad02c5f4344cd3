/** The list of a bundle's volumes, `NAME.volumes`: docs/bundle-format.md, "Volumes". */
import { AirliftError, messageOf } from '../../../errors.js';
import { isDigest, type Digest } from '../../../oci/digest.js';
import { parseJson } from '../../../oci/json.js';
import { quoted } from '../../../oci/quoted.js';

/** One file of a bundle that is split into several. */
export interface Volume {
  /** File name, `NAME.001` for the first volume. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  readonly digest: Digest;
}

/** The volumes of a bundle, in order: joined, they are the bundle. */
export interface VolumeList {
  /** File name of the joined bundle. */
  readonly name: string;
  /** Bytes of the joined bundle. */
  readonly size: number;
  /** Digest of the joined bundle. */
  readonly digest: Digest;
  readonly volumes: readonly Volume[];
}

/** The most volumes of a bundle: names have three digits, so that `cat NAME.[0-9]*` joins them in order. */
export const maxVolumes = 999;

/** Limits of a list that is read; 999 volumes with names of 255 bytes stay below. */
export const listLimits = { bytes: 1024 * 1024, values: 10_000, depth: 8 };

const format = 'airlift-volumes';
const version = 1;

/** Returns the file name or path of a volume, which counts from 1. */
export function volumeName(bundle: string, number: number): string {
  return `${bundle}.${String(number).padStart(3, '0')}`;
}

/** Returns the file name or path of the list. */
export function listName(bundle: string): string {
  return `${bundle}.volumes`;
}

/** Returns the number and size of the volumes of a bundle: all are `volumeSize` bytes, except the last. */
export function volumeSizes(size: number, volumeSize: number): number[] {
  const count = Math.ceil(size / volumeSize);
  return Array.from({ length: count }, (_, at) => Math.min(volumeSize, size - at * volumeSize));
}

/**
 * Checks the size of volumes.
 * @throws AirliftError `usage` unless it is a whole number of at least 512 bytes; with `size`, if more than 999 volumes result
 */
export function checkVolumeSize(volumeSize: number, size = 0): void {
  if (!Number.isSafeInteger(volumeSize) || volumeSize < 512)
    throw new AirliftError('usage', `volume size: got ${volumeSize} bytes, want at least 512`);
  const count = Math.ceil(size / volumeSize);
  if (count <= maxVolumes) return;
  throw new AirliftError(
    'usage',
    `volume size: ${size} bytes in volumes of ${volumeSize} bytes are ${count} volumes; want at most ${maxVolumes}`,
    { hint: `set \`volumeSize\` to at least ${Math.ceil(size / maxVolumes / 512) * 512}` },
  );
}

/** Formats a list, with one volume a line. */
export function formatVolumeList({ name, size, digest, volumes }: VolumeList): string {
  const lines = volumes.map(
    (volume) =>
      `    {"name": ${JSON.stringify(volume.name)}, "size": ${volume.size}, "digest": "${volume.digest}"}`,
  );
  return [
    '{',
    `  "format": "${format}",`,
    `  "version": ${version},`,
    `  "name": ${JSON.stringify(name)},`,
    `  "size": ${size},`,
    `  "digest": "${digest}",`,
    '  "volumes": [',
    lines.join(',\n'),
    '  ]',
    '}',
    '',
  ].join('\n');
}

/**
 * Reads a list. It is untrusted input: names have to be file names of the same bundle, in order, and sizes have to add up.
 * @param path of the list, for messages
 * @throws AirliftError `damaged`, `unsupported` if a newer airlift wrote it
 */
export function parseVolumeList(text: string, path: string): VolumeList {
  const fail = (happened: string): never => {
    throw new AirliftError('damaged', `read ${path}: ${happened}`, {
      hint: `copy ${path} again from its source`,
    });
  };
  let value: unknown;
  try {
    value = parseJson(text, path, listLimits);
  } catch (error) {
    return fail(`not JSON, or cut short (${messageOf(error)})`);
  }
  if (!isObject(value) || value['format'] !== format) return fail(`not a list of volumes of airlift`);
  if (value['version'] !== version) {
    throw new AirliftError(
      'unsupported',
      `read ${path}: version of the list; got ${quoted(JSON.stringify(value['version'] ?? null).slice(0, 20))}, want ${version}`,
      { hint: 'use the airlift that wrote the volumes, or a newer one' },
    );
  }
  const { name, size, digest, volumes } = value;
  if (!isFileName(name)) return fail('"name" is not a file name');
  if (!isSize(size)) return fail('"size" is not a size');
  if (!isSha256(digest)) return fail('"digest" is not a sha256 digest');
  if (!Array.isArray(volumes) || volumes.length === 0 || volumes.length > maxVolumes)
    return fail(`"volumes" is not a list of 1 to ${maxVolumes} volumes`);
  const read = (volumes as unknown[]).map((volume, at): Volume => {
    const want = volumeName(name, at + 1);
    if (!isObject(volume) || volume['name'] !== want)
      return fail(`volume ${at + 1} is not named ${quoted(want)}`);
    if (!isSize(volume['size']) || volume['size'] === 0) return fail(`the size of volume ${at + 1} is wrong`);
    if (!isSha256(volume['digest'])) return fail(`the digest of volume ${at + 1} is wrong`);
    return { name: want, size: volume['size'], digest: volume['digest'] };
  });
  const sum = read.reduce((total, volume) => total + volume.size, 0);
  if (sum !== size) return fail(`the sizes of the volumes add up to ${sum}, want ${size}`);
  return { name, size, digest, volumes: read };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isSha256(value: unknown): value is Digest {
  return typeof value === 'string' && value.startsWith('sha256:') && isDigest(value);
}

function isFileName(value: unknown): value is string {
  if (typeof value !== 'string' || value === '' || value === '.' || value === '..') return false;
  return value.length <= 250 && !/[/\\\u0000-\u001f\u007f]/.test(value);
}
