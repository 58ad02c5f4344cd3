import type { BundleWriter, Failure } from '../bundle/write/writer.js';
import type { LockedImage } from '../lists/lock.js';
import { subjectOfTag } from '../oci/companion-tag.js';
import type { Digest } from '../oci/digest.js';
import { formatReference } from '../oci/reference.js';
import type { PlanSink, PlannedImage } from '../plan/planner.js';
import type { FilteredIndexSigner } from './sign-filtered.js';

/** The destination of a plan. Positions are those of the list of images. */
export interface PlanBookOptions {
  /** Receives the graphs of the images. */
  readonly sink: PlanSink;
  /** Records a planned image: the image of the list first, then the signatures under tags that come with it. */
  readonly addImages: (position: number, images: readonly PlannedImage[]) => void;
  /** Returns content that an interrupted run fetched. */
  readonly fetched?: ((digest: Digest) => Buffer | undefined) | undefined;
}

/** The result of planning a list of images: passes on what succeeds, and collects what fails. */
export class PlanBook {
  readonly #failures = new Map<string, Failure>();

  constructor(private readonly options: PlanBookOptions) {}

  /**
   * The book of a bundle that is being planned; the images go to the bundle's journal.
   * @param signer adds signatures of the filtered images. The lock does not list them: no registry has them.
   */
  static of(writer: BundleWriter, signer?: FilteredIndexSigner): PlanBook {
    return new PlanBook({
      sink: writer,
      addImages: (position, images) => {
        for (const [at, image] of images.entries()) {
          // A signature that the list itself names counts as an image.
          const companionOf = at === 0 ? undefined : subjectOfTag(image.reference.tag);
          writer.addImage(image, { companionOf });
          writer.forgetFailure(formatReference(image.reference));
        }
        for (const image of images) signer?.sign(image);
        writer.addNote(position, JSON.stringify(images.map(lockedImage)));
      },
      fetched: (digest) => writer.content(digest),
    });
  }

  get sink(): PlanSink {
    return this.options.sink;
  }

  addImages(position: number, images: readonly PlannedImage[]): void {
    this.options.addImages(position, images);
  }

  addFailure(failure: Failure): void {
    this.#failures.set(failure.image, failure);
  }

  /** Lists the failures by position. */
  failures(): Failure[] {
    return [...this.#failures.values()].sort((a, b) => a.position - b.position);
  }

  /** Returns content that an interrupted run fetched. */
  fetched(digest: Digest): Buffer | undefined {
    return this.options.fetched?.(digest);
  }
}

/** The lock entry of an image: the digest that its name resolved to, and the platforms and referrers that were included. */
function lockedImage({ reference, root, original, platforms, referrers = [] }: PlannedImage): LockedImage {
  return { reference, digest: (original ?? root).digest, platforms, referrers };
}

/** Lists the lock entries of a bundle's images in the order of the list. */
export function lockedImages(writer: BundleWriter): LockedImage[] {
  const noted = [...writer.notes()].flatMap((note) => JSON.parse(note) as LockedImage[]);
  return noted.filter(({ reference }) => writer.hasImage(formatReference(reference)));
}
