import type { LockedImage } from './lock.js';
import { formatLock } from './lock.js';
import { oneLine } from '../oci/printable.js';
import { formatReference } from '../oci/reference.js';
import type { ListedReference } from './listed.js';

/** An image to be tried again, and why. */
export interface RerunImage {
  readonly listed: Pick<ListedReference, 'reference' | 'platforms' | 'pinned' | 'referrers'>;
  readonly reason: string;
}

/** The most characters of a comment. */
const maxComment = 1000;

/**
 * Writes a list of images that asks for the same again: a text list with the reasons as comments, or a lock without digests
 * where a list said more of an image than its name.
 */
export function formatRerun(images: readonly RerunImage[], title: string): string {
  const head = `# ${oneLine(title, maxComment)}`;
  const isPlain = images.every(
    ({ listed: { platforms, pinned, referrers } }) =>
      platforms === undefined && pinned === undefined && referrers === undefined,
  );
  if (isPlain)
    return [
      head,
      ...images.map(
        ({ listed, reason }) => `${formatReference(listed.reference)}  # ${oneLine(reason, maxComment)}`,
      ),
      '',
    ].join('\n');
  const locked = images.map(({ listed, reason }): LockedImage => {
    const { reference, pinned, platforms, referrers } = listed;
    return { reference, digest: pinned, platforms, referrers, remark: oneLine(reason, maxComment) };
  });
  return formatLock(locked, head);
}
