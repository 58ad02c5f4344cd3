import type { BundleWriter } from '../bundle/write/writer.js';
import type { PlanBook } from './plan-images.js';
import type { FailedImage } from '../failed-images.js';
import { subjectOfTag } from '../oci/companion-tag.js';
import type { Digest } from '../oci/digest.js';
import type { LockedImage } from '../lists/lock.js';
import { formatReference } from '../oci/reference.js';
import type { PlanSink } from '../plan/graph.js';
import type { PlannedImage } from '../plan/planner.js';

/** What a lock says of an image: what its name pointed at, and what was taken along; nothing else is, another time. */
function lockedOf({ reference, root, original, platforms, referrers = [] }: PlannedImage): LockedImage {
  return { reference, digest: (original ?? root).digest, platforms, referrers };
}

/** A bundle's journal as the book of a plan, with what it takes to plan the same again. */
export class WriterBook implements PlanBook {
  constructor(private readonly writer: BundleWriter) {}

  get sink(): PlanSink {
    return this.writer;
  }

  addImages(at: number, images: readonly PlannedImage[]): void {
    for (const [position, image] of images.entries()) {
      // A signature that was asked for by its own name counts as an image.
      const companionOf = position === 0 ? undefined : subjectOfTag(image.reference.tag);
      this.writer.addImage(image, { companionOf });
      this.writer.forgetFailure(formatReference(image.reference));
    }
    this.writer.note(at, JSON.stringify(images.map(lockedOf)));
  }

  addFailure(position: number, failed: FailedImage): void {
    this.writer.addFailure({ ...failed, position });
  }

  failures(): readonly FailedImage[] {
    return this.writer.failures();
  }

  kept(digest: Digest): Buffer | undefined {
    return this.writer.content(digest);
  }

  discard(): Promise<void> {
    return this.writer.discardPlan();
  }
}

/** What a bundle was planned from, in the order of the list; without what was dropped since. */
export function lockedImages(writer: BundleWriter): LockedImage[] {
  const noted = [...writer.notes()].flatMap((note) => JSON.parse(note) as LockedImage[]);
  return noted.filter(({ reference }) => writer.hasImage(formatReference(reference)));
}
