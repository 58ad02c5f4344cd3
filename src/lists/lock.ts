import { isDigest, parseDigest, type Digest } from '../oci/digest.js';
import { formatPlatform, parsePlatform, type Platform } from '../oci/platform.js';
import { formatReference, type Reference } from '../oci/reference.js';
import type { Collector } from './collector.js';
import { itemsOf, textOf, valueOf, type YamlNode } from './yaml.js';

/** One image of a lock. */
export interface LockedImage {
  readonly reference: Reference;
  /**
   * The digest that the reference resolved to in its registry: the publisher's index, not a filtered one. Undefined if the
   * reference is to be resolved again.
   */
  readonly digest?: Digest | undefined;
  /** The selected platforms; undefined means all. */
  readonly platforms?: readonly Platform[] | undefined;
  /** The included referrers; undefined means that the lock does not fix them. */
  readonly referrers?: readonly Digest[] | undefined;
  /** A comment of one line. */
  readonly remark?: string | undefined;
}

const lockKind = 'AirliftLock';
const lockVersion = '1';

/** Formats a text so that every version of YAML reads it unchanged. */
function scalar(text: string): string {
  return /^[a-z0-9][A-Za-z0-9._-]*[/:][A-Za-z0-9._/:@-]*[A-Za-z0-9]$/.test(text)
    ? text
    : JSON.stringify(text);
}

const lockHead =
  '# The images of an export, with their digests. To export them again: airlift export --images FILE';

/**
 * Formats a lock. The same images give the same bytes.
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

/** Reports whether a document is a lock of airlift. */
export function isLock(document: YamlNode): boolean {
  return textOf(valueOf(document, 'kind')) === lockKind;
}

function readEntry(item: YamlNode, into: Collector): void {
  const reference = textOf(valueOf(item, 'reference'));
  const digest = textOf(valueOf(item, 'digest'));
  if (reference === undefined || (digest !== undefined && !isDigest(digest))) {
    into.problem(
      item.line,
      'an entry of the lock without a reference, or with an invalid digest; want sha256 or sha512',
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

/** Reads the images of a lock with their digests, platforms and referrers. */
export function readLock(document: YamlNode, into: Collector): void {
  const version = textOf(valueOf(document, 'version'));
  if (version !== lockVersion) {
    into.problem(
      document.line,
      `this version of airlift cannot read the lock's version; got ${version?.slice(0, 20) ?? 'none'}, want ${lockVersion}`,
    );
    return;
  }
  for (const item of itemsOf(valueOf(document, 'images'))) readEntry(item, into);
}
