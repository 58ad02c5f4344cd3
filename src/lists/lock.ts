import { isDigest, parseDigest, type Digest } from '../oci/digest.js';
import { formatPlatform, parsePlatform, type Platform } from '../oci/platform.js';
import { formatReference, type Reference } from '../oci/reference.js';
import type { Collector } from './collector.js';
import { itemsOf, textOf, valueOf, type YamlNode } from './yaml.js';

/** What an export took under one name. */
export interface LockedImage {
  readonly reference: Reference;
  /**
   * What the reference pointed at in its registry: the publisher's index, not a filtered one. Undefined where whatever it points
   * at is wanted.
   */
  readonly digest?: Digest | undefined;
  /** The platforms that were taken; undefined where all were. */
  readonly platforms?: readonly Platform[] | undefined;
  /** The referrers that were taken along; undefined where they were not asked for. */
  readonly referrers?: readonly Digest[] | undefined;
  /** For people; one line. */
  readonly remark?: string | undefined;
}

const lockKind = 'AirliftLock';
const lockVersion = '1';

/** A scalar that YAML readers of every version take as this very text. */
function scalar(text: string): string {
  return /^[a-z0-9][A-Za-z0-9._-]*[/:][A-Za-z0-9._/:@-]*[A-Za-z0-9]$/.test(text)
    ? text
    : JSON.stringify(text);
}

const lockHead =
  '# What an export took. Given as a list of images it takes the same again: airlift export --images FILE';

/**
 * Writes a lock: the same images give the same bytes.
 * @param head a comment for its first line
 */
export function formatLock(images: readonly LockedImage[], head = lockHead): string {
  const lines = [
    head,
    `kind: ${lockKind}`,
    `version: ${lockVersion}`,
    images.length === 0 ? 'images: []' : 'images:',
  ];
  for (const image of images) {
    lines.push(`  - reference: ${scalar(formatReference(image.reference))}`);
    if (image.remark !== undefined) lines.push(`    # ${image.remark}`);
    if (image.digest !== undefined) lines.push(`    digest: ${image.digest}`);
    if (image.platforms !== undefined)
      lines.push(
        `    platforms: [${image.platforms.map((platform) => scalar(formatPlatform(platform))).join(', ')}]`,
      );
    if (image.referrers === undefined) continue;
    lines.push(image.referrers.length === 0 ? '    referrers: []' : '    referrers:');
    for (const digest of image.referrers) lines.push(`      - ${digest}`);
  }
  return `${lines.join('\n')}\n`;
}

/** Whether a document is a lock that airlift wrote. */
export function isLock(document: YamlNode): boolean {
  return textOf(valueOf(document, 'kind')) === lockKind;
}

function readEntry(item: YamlNode, into: Collector): void {
  const reference = textOf(valueOf(item, 'reference'));
  const digest = textOf(valueOf(item, 'digest'));
  if (reference === undefined || (digest !== undefined && !isDigest(digest))) {
    into.problem(
      item.line,
      'an entry of the lock without a reference, or with a digest that is no sha256 or sha512',
    );
    return;
  }
  const platforms = valueOf(item, 'platforms');
  const referrers = valueOf(item, 'referrers');
  const details = into.attempt(item.line, () => ({
    pinned: digest,
    platforms: platforms && itemsOf(platforms).map((node) => parsePlatform(textOf(node) ?? '')),
    referrers: referrers && itemsOf(referrers).map((node) => parseDigest(textOf(node) ?? '')),
  }));
  if (details !== undefined) into.reference(reference, item.line, details);
}

/** Takes a lock's images with their digests, platforms and referrers. */
export function readLock(document: YamlNode, into: Collector): void {
  const version = textOf(valueOf(document, 'version'));
  if (version !== lockVersion) {
    into.problem(
      document.line,
      `a lock of a version that this airlift does not read; got ${version?.slice(0, 20) ?? 'none'}, want ${lockVersion}`,
    );
    return;
  }
  for (const item of itemsOf(valueOf(document, 'images'))) readEntry(item, into);
}
