import { AirliftError, firstNames, isAirliftError, messageOf } from '../errors.js';
import { mergeWithTag } from './merge-existing-tag.js';
import type { ComposedIndex } from '../oci/compose.js';
import type { Descriptor } from '../oci/descriptor.js';
import { digestOf, type Digest } from '../oci/digest.js';
import { isNo, isRefusedReading, isWithheld, verdictOf } from '../oci/guess.js';
import { platformName } from '../oci/index-child.js';
import { isForeignLayer } from '../oci/media-types.js';
import { readContent, readManifest } from '../oci/read.js';
import { readableOf } from '../oci/readable.js';
import { formatReference, formatRepository, type Reference, type Repository } from '../oci/reference.js';
import type { Image, Source } from '../oci/source.js';
import type { OpenContent } from '../oci/target.js';
import type { BlobNode, ManifestNode } from '../plan/graph.js';
import { Planner } from '../plan/planner.js';
import type { Leniency } from '../plan/referrers.js';
import { BlobPublisher, type BlobOptions, type BlobTotals, type SiteRegistry } from './blob-publisher.js';

/** Policies for a tag that exists at the site and points at another digest; `merge` keeps platforms that only the site has. */
export type OnExistingTag = 'overwrite' | 'skip' | 'error' | 'merge';

/**
 * Which index to publish for an image that lacks some of its platforms. `auto` tags an index of the platforms that are present and
 * also pushes the publisher's index by digest if the registry accepts it; `filtered` pushes only the first; `original` tags the
 * publisher's index and fails if the registry refuses it.
 */
export type OriginalIndex = 'auto' | 'filtered' | 'original';

/** Result of publishing one name: `unchanged` if the tag already pointed at the digest, `skipped` if `onExistingTag` kept it. */
export type PublishOutcome = 'published' | 'merged' | 'unchanged' | 'skipped';

export interface PublishOptions extends Omit<BlobOptions, 'onUnread'>, Leniency {
  readonly onExistingTag: OnExistingTag;
  readonly originalIndex: OriginalIndex;
  /** Whether the source has the content of a foreign layer; all of it unless told. */
  readonly hasForeign?: ((digest: Digest) => boolean) | undefined;
  /** Publish what refers to an image along with it; unless told, it is. */
  readonly referrers?: boolean | undefined;
  /** Push the index and its tag alone: everything below it has to be there. */
  readonly indexOnly?: boolean | undefined;
  /** Called before an image is moved with the bytes of its blobs that no image before it has. */
  readonly onPlanned?: ((image: Image, bytes: number) => void) | undefined;
}

function statusOf(error: unknown): number | undefined {
  return isAirliftError(error) ? error.status : undefined;
}

/** Adds a hint where a registry refused to change a tag: ECR, Harbor and Quay have a setting that makes tags immutable. */
function withKeptTagHint(error: unknown): unknown {
  if (!isAirliftError(error) || error.hint !== undefined || !isNo(error.status ?? 500)) return error;
  return new AirliftError(error.code, error.message, {
    ...{ status: error.status, reason: error.reason, cause: error },
    hint: "the registry may keep tags from changing: `onExistingTag: 'skip'` leaves what is there",
  });
}

/** How many names a warning shows. */
const shownNames = 5;

/** What publishing has moved so far. */
export interface PublishTotals extends BlobTotals {
  images: number;
  skippedImages: number;
  manifests: number;
}

/** What became of one image. */
export interface Published {
  readonly reference: Reference;
  /** What the name points at now. */
  readonly digest: Digest;
  readonly outcome: PublishOutcome;
  /** The publisher's index digest that the site could not take, where there was one. */
  readonly lostPin?: Digest | undefined;
  /** The manifests of the image: signatures may be kept under tags that name one of them. */
  readonly manifests: ReadonlySet<Digest>;
}

/** The graph of one image, children before parents. */
interface ImagePlan {
  readonly blobs: BlobNode[];
  readonly manifests: ManifestNode[];
  /** The digests of the image itself, without what refers to it. */
  readonly subjects: ReadonlySet<Digest>;
}

/** What became of an image that is all there and not tagged yet. */
export type Prepared = Pick<Published, 'lostPin' | 'manifests'>;
/** What became of a name. */
export type Pointed = Omit<Published, 'manifests'>;

/** What a name points at before it is published, and whether it is to stay so. */
type Before =
  | { readonly there: Descriptor | undefined; readonly isKept: false }
  | { readonly there: Descriptor; readonly isKept: boolean };

/** What of an image is at the site, ready to be tagged. */
interface Pushed extends Prepared {
  readonly root: ComposedIndex;
  readonly original: ComposedIndex | undefined;
}

function openBytes(bytes: Buffer): OpenContent {
  return (offset) => Promise.resolve(readableOf(bytes, offset));
}

/**
 * Publishes images to a site: blobs first, each once, mounted where another repository has them; then manifests by digest,
 * children first; then the tag; then it is read back. A tag never points at half an image.
 */
export class Publisher {
  readonly #blobs: BlobPublisher;
  readonly #counts = { images: 0, skippedImages: 0, manifests: 0 };
  /** What the site accepted and refuses to show, with what it said. */
  readonly #unread = new Map<string, string>();

  constructor(
    private readonly source: Source,
    private readonly site: SiteRegistry,
    private readonly options: PublishOptions,
  ) {
    const onUnread = (name: string, error: unknown): void => void this.#unread.set(name, messageOf(error));
    this.#blobs = new BlobPublisher(source, site, { ...options, onUnread });
  }

  get totals(): Readonly<PublishTotals> {
    return { ...this.#counts, ...this.#blobs.totals };
  }

  /** The names of what the site accepted and refuses to show. */
  get unread(): string[] {
    return [...this.#unread.keys()];
  }

  /** Warns once of all that the site accepted and refuses to show. To be called at the end. */
  warnOfUnread(): void {
    const [first] = this.#unread.values();
    if (first === undefined) return;
    this.options.warn?.(
      `pushed, but not read back, because the registry accepted it and does not show it (Harbor, for one, until it has scanned an ` +
        `image): ${firstNames(this.unread, shownNames)}; it said: ${first}`,
    );
  }

  /**
   * Publishes one image under `name`.
   * @param wanted the referrers to publish along, whatever others there are
   * @throws AirliftError `exists` where the tag is taken and `onExistingTag` is `error`; `not-found` where only the index is to
   *   be pushed and something below it is missing; `registry` where the original index is to be tagged and the site does not take
   *   it; what source and site throw
   */
  async publish(image: Image, name: Reference, wanted?: readonly Digest[]): Promise<Published> {
    const tagged = this.#taggedOf(image);
    const before = await this.#before(tagged, name);
    if (before.isKept) return { ...this.#skipped(name, before.there), manifests: new Set() };
    const pushed = await this.#bring(image, tagged, name, wanted);
    return { ...(await this.#point(name, tagged, before.there, pushed)), manifests: pushed.manifests };
  }

  /**
   * The first half of `publish`: all of the image is there, and no tag is changed.
   * @throws AirliftError as `publish`
   */
  async prepare(image: Image, name: Reference, wanted?: readonly Digest[]): Promise<Prepared> {
    const tagged = this.#taggedOf(image);
    const before = await this.#before(tagged, name);
    if (before.isKept) return { manifests: new Set() };
    const { root, lostPin, manifests } = await this.#bring(image, tagged, name, wanted);
    if (this.options.indexOnly === true) await this.#pushManifest(root, name);
    return { lostPin, manifests };
  }

  /**
   * The second half: lets `name` point at an image that was prepared. What it points at is read from the site.
   * @throws AirliftError as `publish`
   */
  async point(image: Image, name: Reference, lostPin: Digest | undefined): Promise<Pointed> {
    const { onExistingTag, signal } = this.options;
    const tagged = this.#taggedOf(image);
    const before = await this.#before(tagged, name);
    if (before.isKept) return this.#skipped(name, before.there);
    const root = await this.#readPrepared(image, tagged, name);
    const isWanted = onExistingTag === 'merge' && image.original !== undefined;
    const original = isWanted
      ? await readManifest(this.source, image.reference, image.original, { signal })
      : undefined;
    return this.#point(name, tagged, before.there, { root, original, lostPin });
  }

  /** What was prepared, from the site; from the source where the site does not show it. */
  async #readPrepared(image: Image, tagged: Descriptor, name: Reference): Promise<ComposedIndex> {
    const { signal } = this.options;
    try {
      return await readManifest(this.site, name, tagged, { signal });
    } catch (error) {
      if (!isRefusedReading(error)) throw error;
      return readManifest(this.source, image.reference, tagged, { signal });
    }
  }

  #taggedOf(image: Image): Descriptor {
    return (this.options.originalIndex === 'original' ? image.original : undefined) ?? image.root;
  }

  /** What the name points at, and whether that is to stay so. */
  async #before(tagged: Descriptor, name: Reference): Promise<Before> {
    const { onExistingTag } = this.options;
    const there = await this.#current(name, tagged);
    if (there === undefined || there.digest === tagged.digest) return { there, isKept: false };
    if (onExistingTag !== 'error') return { there, isKept: onExistingTag === 'skip' };
    throw new AirliftError(
      'exists',
      `publish ${formatReference(name)}: tag is taken; got ${there.digest}, want ${tagged.digest}`,
      { hint: "`onExistingTag: 'overwrite'` replaces it, skip keeps it, merge adds to it" },
    );
  }

  #skipped(name: Reference, there: Descriptor): Pointed {
    this.#counts.skippedImages++;
    return { reference: name, digest: there.digest, outcome: 'skipped' };
  }

  /** Lets the name point at what was pushed. */
  async #point(
    name: Reference,
    tagged: Descriptor,
    there: Descriptor | undefined,
    { root, original, lostPin }: Omit<Pushed, 'manifests'>,
  ): Promise<Pointed> {
    const { site } = this;
    const { signal } = this.options;
    const isTaken = there !== undefined && there.digest !== tagged.digest;
    const top =
      isTaken && this.options.onExistingTag === 'merge'
        ? await mergeWithTag({ site, name, there, root, original, signal })
        : root;
    const { digest } = top.descriptor;
    if (name.tag !== undefined && there?.digest !== digest)
      await site.tag(name, top.descriptor, openBytes(top.bytes), { signal }).catch((error: unknown) => {
        throw there === undefined && !isWithheld(statusOf(error)) ? error : withKeptTagHint(error);
      });
    await this.#readBack(name, top).catch((error: unknown) => {
      if (!isRefusedReading(error)) throw error;
      this.#unread.set(formatReference(name), messageOf(error));
    });
    this.#counts.images++;
    const outcome =
      there?.digest === digest ? 'unchanged' : digest === tagged.digest ? 'published' : 'merged';
    // What could not be kept for want of platforms may have become whole.
    const lost = lostPin === digest ? undefined : lostPin;
    return { reference: name, digest, outcome, lostPin: lost };
  }

  #bring(
    image: Image,
    tagged: Descriptor,
    name: Reference,
    wanted: readonly Digest[] | undefined,
  ): Promise<Pushed> {
    return this.options.indexOnly === true
      ? this.#check(image, tagged, name)
      : this.#push(image, tagged, name, wanted);
  }

  /** Pushes everything of an image, and tags nothing. */
  async #push(
    image: Image,
    tagged: Descriptor,
    name: Reference,
    wanted: readonly Digest[] | undefined,
  ): Promise<Pushed> {
    const plan = await this.#plan(image, wanted);
    this.options.onPlanned?.(image, this.#blobs.plannedBytes(plan.blobs));
    await this.#blobs.push(plan.blobs, name);
    const isOriginal = tagged.digest !== image.root.digest;
    let lostPin: Digest | undefined;
    for (const node of plan.manifests) {
      if (node.isOriginal === true) {
        // Where one below it can't be kept, it would lead nowhere.
        const isKept = lostPin === undefined && (await this.#pushOriginal(node, name));
        if (!isKept) lostPin = image.original?.digest;
      } else if (!isOriginal || node.descriptor.digest !== image.root.digest) {
        await this.#pushManifest(node, name);
      }
    }
    const find = (digest: Digest | undefined): ManifestNode | undefined =>
      plan.manifests.find((node) => node.descriptor.digest === digest);
    const root = find(tagged.digest);
    if (root === undefined)
      throw new AirliftError(
        'damaged',
        `publish ${formatReference(name)}: root manifest ${tagged.digest} is not there`,
      );
    return { root, original: find(image.original?.digest), lostPin, manifests: plan.subjects };
  }

  /** Looks whether everything that an index names is there. */
  async #check(image: Image, tagged: Descriptor, name: Reference): Promise<Pushed> {
    const { signal } = this.options;
    const root = await readManifest(this.source, image.reference, tagged, { signal });
    const children = root.manifest.kind === 'index' ? root.manifest.manifests : [tagged];
    for (const child of children) {
      if (await this.site.exists(name, child, { signal })) continue;
      throw new AirliftError(
        'not-found',
        `publish ${formatReference(name)}: ${child.digest} (${platformName(child)}) is not there`,
        { hint: 'leave out `indexOnly` to send it' },
      );
    }
    return { root, original: undefined, manifests: new Set([tagged.digest]) };
  }

  /** Whether the list of tags has a tag that the site does not show, so that it is not overwritten against the user's word. */
  async #isListed(name: Reference): Promise<boolean> {
    const { site } = this;
    if (site.tags === undefined) return false;
    try {
      for await (const tag of site.tags(name, { signal: this.options.signal }))
        if (tag === name.tag) return true;
    } catch (error) {
      if (verdictOf(error) !== 'absent') throw error;
    }
    return false;
  }

  /** @throws AirliftError `exists` where the site withholds what it must be compared with */
  async #current(name: Reference, tagged: Descriptor): Promise<Descriptor | undefined> {
    if (name.tag === undefined) return undefined;
    try {
      const tagOnly = { registry: name.registry, repository: name.repository, tag: name.tag };
      return await this.site.resolve(tagOnly, { signal: this.options.signal, isGuess: true });
    } catch (error) {
      if (!isAirliftError(error, 'not-found')) throw error;
      if (this.options.onExistingTag === 'overwrite') return undefined;
      if (isWithheld(error.status)) {
        // A rerun, before the image was scanned.
        if (await this.site.exists(name, tagged, { signal: this.options.signal })) return tagged;
      } else if (error.status === undefined || error.status === 404 || !(await this.#isListed(name)))
        return undefined;
      throw new AirliftError(
        'exists',
        `publish ${formatReference(name)}: the tag is taken, and the registry does not show by what (${error.status})`,
        { cause: error, status: error.status, hint: "`onExistingTag: 'overwrite'` replaces it" },
      );
    }
  }

  async #plan(image: Image, wanted: readonly Digest[] | undefined): Promise<ImagePlan> {
    const plan = { blobs: [] as BlobNode[], manifests: [] as ManifestNode[] };
    const seen = new Set<Digest>();
    const { signal, hasForeign, referrers = true, warn, lenient } = this.options;
    const sink = {
      has: (digest: Digest) => seen.has(digest),
      addBlob: (node: BlobNode) => {
        if (isForeignLayer(node.descriptor.mediaType) && hasForeign?.(node.descriptor.digest) === false)
          return;
        seen.add(node.descriptor.digest);
        plan.blobs.push(node);
      },
      addManifest: (node: ManifestNode) => {
        seen.add(node.descriptor.digest);
        plan.manifests.push(node);
      },
    };
    const subjects = await new Planner(this.source, sink, { referrers, signal, warn, lenient }).planImage(
      image,
      wanted,
    );
    return { ...plan, subjects };
  }

  async #pushManifest(node: ComposedIndex, name: Repository): Promise<void> {
    const { signal } = this.options;
    if (await this.site.exists(name, node.descriptor, { isGuess: true, signal })) return;
    const pushed = await this.site.push(name, node.descriptor, openBytes(node.bytes), {
      signal: this.options.signal,
    });
    if (pushed !== 'existed') this.#counts.manifests++;
  }

  /** Pushes the publisher's index, whose other children are not carried; not every registry takes that. */
  async #pushOriginal(node: ManifestNode, name: Repository): Promise<boolean> {
    if (this.options.originalIndex === 'filtered') return true;
    try {
      await this.#pushManifest(node, name);
      return true;
    } catch (error) {
      if (!isAirliftError(error, 'registry', 'not-found') || (error.status ?? 500) >= 500) throw error;
      if (this.options.originalIndex === 'auto') return false;
      throw new AirliftError(
        'registry',
        `publish ${formatRepository(name)}: ${name.registry} takes no index whose other platforms are missing`,
        {
          cause: error,
          status: error.status,
          hint: "`originalIndex: 'filtered'` publishes an index of what is there",
        },
      );
    }
  }

  /** Compares what the site now gives for the name with what was carried. */
  async #readBack(name: Reference, root: ComposedIndex): Promise<void> {
    const { signal } = this.options;
    const want = root.descriptor.digest;
    const got = await this.site.resolve(
      name.tag === undefined ? { ...name, digest: want } : { ...name, digest: undefined },
      { signal },
    );
    if (got.digest !== want) {
      throw new AirliftError(
        'digest-mismatch',
        `read back ${formatReference(name)}: digest mismatch; got ${got.digest}, want ${want}`,
        {
          hint: 'something else pushed to this tag at the same time; run it again',
        },
      );
    }
    const bytes = await readContent(this.site, name, root.descriptor, { signal });
    if (digestOf(bytes) !== digestOf(root.bytes))
      throw new AirliftError('digest-mismatch', `read back ${formatReference(name)}: bytes differ`);
  }
}
