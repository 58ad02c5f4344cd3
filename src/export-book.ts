import { writerSink } from './bundle-sink.js';
import type { BundleWriter } from './bundle/writer.js';
import type { FailedImage, PlanBook } from './export-plan.js';
import type { Digest } from './oci/digest.js';
import type { LockedImage } from './lists/lock.js';
import type { PlannedImage } from './plan.js';
import { subjectOfTag } from './referrers.js';

/** What a lock says of an image: what its name pointed at, and what was taken along; nothing else is, another time. */
function lockedOf({ reference, root, original, platforms, referrers = [] }: PlannedImage): LockedImage {
  return { reference, digest: (original ?? root).digest, platforms, referrers };
}

/** A bundle's journal as the book of a plan, with what it takes to plan the same again. */
export class WriterBook implements PlanBook {
  readonly sink;
  readonly #locked = new Map<number, readonly LockedImage[]>();

  constructor(private readonly writer: BundleWriter) {
    this.sink = writerSink(writer);
  }

  addImages(at: number, images: readonly PlannedImage[]): void {
    for (const image of images)
      this.writer.addImage(image, { companionOf: subjectOfTag(image.reference.tag) });
    this.#locked.set(at, images.map(lockedOf));
  }

  addFailure(at: number, { image, error }: FailedImage): void {
    this.writer.addFailure(at, image, error);
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

  /** What was planned, in the order of the list. */
  get locked(): LockedImage[] {
    return [...this.#locked].sort(([a], [b]) => a - b).flatMap(([, images]) => images);
  }
}
