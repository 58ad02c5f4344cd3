import type { LockedImage } from './lock.js';
import { formatLock } from './lock.js';
import { oneLine } from '../oci/printable.js';
import { formatReference } from '../oci/reference.js';
import type { ListedReference } from './listed.js';

/** A failed image, and why it failed. */
export interface RerunImage {
  readonly listed: Pick<ListedReference, 'reference' | 'platforms' | 'pinned' | 'referrers'>;
  readonly reason: string;
}

/** Maximum number of characters in a comment. */
const maxComment = 1000;

/**
 * Formats a list of failed images for the next run: a text list with the reasons as comments. If the original list specified
 * more than names, the result is a lock, without digests for images that had none.
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
