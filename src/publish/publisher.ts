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
import { type BlobNode, type ManifestNode, Planner } from '../plan/planner.js';
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
  /** Reports whether the source has the content of a foreign layer; default: it has all of them. */
  readonly hasForeign?: ((digest: Digest) => boolean) | undefined;
  /** Publish the referrers of an image with it; default: true. */
  readonly referrers?: boolean | undefined;
  /** Push only the index and its tag; the site must hold its children. */
  readonly indexOnly?: boolean | undefined;
  /** Called before the blobs of an image are pushed, with the size of those blobs that no earlier image has. */
  readonly onPlanned?: ((image: Image, bytes: number) => void) | undefined;
}

/** Returns the manifest or index that the tag of an image points at: the publisher's index only if `originalIndex` says so. */
export function taggedOf(image: Image, originalIndex: OriginalIndex | undefined): Descriptor {
  return (originalIndex === 'original' ? image.original : undefined) ?? image.root;
}

function statusOf(error: unknown): number | undefined {
  return isAirliftError(error) ? error.status : undefined;
}

/** Adds a hint if a registry refused to change a tag: ECR, Harbor and Quay have a setting that makes tags immutable. */
function withKeptTagHint(error: unknown): unknown {
  if (!isAirliftError(error) || error.hint !== undefined || !isNo(error.status ?? 500)) return error;
  return new AirliftError(error.code, error.message, {
    cause: error,
    status: error.status,
    reason: error.reason,
    hint: "the registry may forbid changing tags: `onExistingTag: 'skip'` keeps the existing tag",
  });
}

/** Number of names in a warning. */
const shownNames = 5;

/** Counts of what a run has published so far. */
export interface PublishTotals extends BlobTotals {
  /** Names that were published; skipped names do not count. */
  images: number;
  skippedImages: number;
  manifests: number;
}

/** The outcome for one image. */
export interface Published {
  readonly reference: Reference;
  /** The digest that the name points at now. */
  readonly digest: Digest;
  readonly outcome: PublishOutcome;
  /** The digest of the publisher's index, if the site rejected that index. */
  readonly lostPin?: Digest | undefined;
  /** The manifests of the image: tags of signatures may name any of them. */
  readonly manifests: ReadonlySet<Digest>;
}

/** The graph of one image, children before parents. */
interface ImagePlan {
  readonly blobs: BlobNode[];
  readonly manifests: ManifestNode[];
  /** The digests of the image itself, without its referrers. */
  readonly subjects: ReadonlySet<Digest>;
}

/** An image that is fully pushed and not tagged yet. */
export type Prepared = Pick<Published, 'lostPin' | 'manifests'>;
/** The outcome for one name. */
export type TagResult = Omit<Published, 'manifests'>;

/** The target of a name before it is published, and whether the name keeps it. */
type Before =
  | { readonly existing: Descriptor | undefined; readonly isKept: false }
  | { readonly existing: Descriptor; readonly isKept: boolean };

/** The target of the name before, and the only referrers to push. */
interface PushContext {
  readonly existing: Descriptor | undefined;
  readonly wanted: readonly Digest[] | undefined;
}

/** An image at the site, ready to be tagged. */
interface Pushed extends Prepared {
  readonly root: ComposedIndex;
  readonly original: ComposedIndex | undefined;
  /** Whether the site held all of it, under its tag too, and showed the manifest that the tag points at. */
  readonly isUnchanged?: boolean | undefined;
}

function openBytes(bytes: Buffer): OpenContent {
  return (offset) => Promise.resolve(readableOf(bytes, offset));
}

/**
 * Publishes images to a site: first the blobs, each uploaded once and mounted in other repositories; then manifests by digest,
 * children first; then the tag, which is read back. A tag never points at half an image.
 */
export class Publisher {
  readonly #blobs: BlobPublisher;
  readonly #counts = { skippedImages: 0, manifests: 0 };
  /** Names that the site accepted and refuses to show, with its error message. */
  readonly #unread = new Map<string, string>();

  constructor(
    private readonly source: Source,
    private readonly site: SiteRegistry,
    private readonly options: PublishOptions,
  ) {
    const onUnread = (name: string, error: unknown): void => void this.#unread.set(name, messageOf(error));
    this.#blobs = new BlobPublisher(source, site, { ...options, onUnread });
  }

  /** All counts except `images`, which the run computes from the outcomes. */
  get totals(): Readonly<Omit<PublishTotals, 'images'>> {
    return { ...this.#counts, ...this.#blobs.totals };
  }

  /** The names that the site accepted and refuses to show. */
  get unread(): string[] {
    return [...this.#unread.keys()];
  }

  /**
   * Pushes a blob before its image is published.
   * @throws AirliftError as `publish`
   */
  async pushBlob(blob: BlobNode, name: Repository): Promise<void> {
    await this.#blobs.push([blob], name);
  }

  /**
   * Reports whether `publish` would leave a name as it is and push nothing.
   * @throws AirliftError `exists` as `publish`
   */
  async keepsTag(image: Image, name: Reference): Promise<boolean> {
    return (await this.#before(taggedOf(image, this.options.originalIndex), name)).isKept;
  }

  /** Warns once about all content that the site accepted and refuses to show. Call it at the end of a run. */
  warnOfUnread(): void {
    const [first] = this.#unread.values();
    if (first === undefined) return;
    this.options.warn?.(
      `pushed, but not read back: the registry accepted the content and does not show it (Harbor, for example, until it has scanned an ` +
        `image): ${firstNames(this.unread, shownNames)}; the registry answered: ${first}`,
    );
  }

  /**
   * Publishes one image under `name`.
   * @param wanted the only referrers to publish; default: all
   * @throws AirliftError `exists` if the tag is taken and `onExistingTag` is `error`; `not-found` if only the index is pushed and
   *   the site lacks a child; `registry` if the site rejects the original index that should be tagged; what source and site throw
   */
  async publish(image: Image, name: Reference, wanted?: readonly Digest[]): Promise<Published> {
    const tagged = taggedOf(image, this.options.originalIndex);
    const before = await this.#before(tagged, name);
    if (before.isKept) return { ...this.#skipped(name, before.existing), manifests: new Set() };
    const pushed = await this.#pushContent(image, tagged, name, { existing: before.existing, wanted });
    return { ...(await this.#setTag(name, tagged, before.existing, pushed)), manifests: pushed.manifests };
  }

  /**
   * Pushes an image without changing a tag: the first half of `publish`.
   * @throws AirliftError as `publish`
   */
  async prepare(image: Image, name: Reference, wanted?: readonly Digest[]): Promise<Prepared> {
    const tagged = taggedOf(image, this.options.originalIndex);
    const before = await this.#before(tagged, name);
    if (before.isKept) return { manifests: new Set() };
    const context = { existing: before.existing, wanted };
    const { root, lostPin, manifests } = await this.#pushContent(image, tagged, name, context);
    if (this.options.indexOnly === true && !(await this.#isHeld(root.descriptor, name)))
      await this.#pushManifest(root, name);
    return { lostPin, manifests };
  }

  /**
   * Sets the tag of an image that `prepare` pushed: the second half of `publish`. Reads the manifest from the site.
   * @throws AirliftError as `publish`
   */
  async setTag(image: Image, name: Reference, lostPin: Digest | undefined): Promise<TagResult> {
    const { onExistingTag, signal } = this.options;
    const tagged = taggedOf(image, this.options.originalIndex);
    const before = await this.#before(tagged, name);
    if (before.isKept) return this.#skipped(name, before.existing);
    const root = await this.#readPrepared(image, tagged, name);
    const isWanted = onExistingTag === 'merge' && image.original !== undefined;
    const original = isWanted
      ? await readManifest(this.source, image.reference, image.original, { signal })
      : undefined;
    return this.#setTag(name, tagged, before.existing, { root, original, lostPin });
  }

  /** Reads a prepared manifest from the site, or from the source if the site refuses to show it. */
  async #readPrepared(image: Image, tagged: Descriptor, name: Reference): Promise<ComposedIndex> {
    const { signal } = this.options;
    try {
      return await readManifest(this.site, name, tagged, { signal });
    } catch (error) {
      if (!isRefusedReading(error)) throw error;
      return readManifest(this.source, image.reference, tagged, { signal });
    }
  }

  /** Reads the present target of a name and decides whether to keep it. */
  async #before(tagged: Descriptor, name: Reference): Promise<Before> {
    const { onExistingTag } = this.options;
    const existing = await this.#current(name, tagged);
    if (existing === undefined || existing.digest === tagged.digest) return { existing, isKept: false };
    if (onExistingTag !== 'error') return { existing, isKept: onExistingTag === 'skip' };
    throw new AirliftError(
      'exists',
      `publish ${formatReference(name)}: tag is taken; got ${existing.digest}, want ${tagged.digest}`,
      { hint: "`onExistingTag: 'overwrite'` replaces it, skip keeps it, merge adds to it" },
    );
  }

  #skipped(name: Reference, existing: Descriptor): TagResult {
    this.#counts.skippedImages++;
    return { reference: name, digest: existing.digest, outcome: 'skipped' };
  }

  /** Points the name at an image that was pushed. */
  async #setTag(
    name: Reference,
    tagged: Descriptor,
    existing: Descriptor | undefined,
    { root, original, lostPin, isUnchanged = false }: Omit<Pushed, 'manifests'>,
  ): Promise<TagResult> {
    const { site } = this;
    const { signal } = this.options;
    const isTaken = existing !== undefined && existing.digest !== tagged.digest;
    const top =
      isTaken && this.options.onExistingTag === 'merge'
        ? await mergeWithTag({ site, name, existing, root, original, signal })
        : root;
    const { digest } = top.descriptor;
    if (name.tag !== undefined && existing?.digest !== digest)
      await site.tag(name, top.descriptor, openBytes(top.bytes), { signal }).catch((error: unknown) => {
        throw existing === undefined && !isWithheld(statusOf(error)) ? error : withKeptTagHint(error);
      });
    if (!isUnchanged)
      await this.#readBack(name, top).catch((error: unknown) => {
        if (!isRefusedReading(error)) throw error;
        this.#unread.set(formatReference(name), messageOf(error));
      });
    const outcome =
      existing?.digest === digest ? 'unchanged' : digest === tagged.digest ? 'published' : 'merged';
    // Merging may have completed the publisher's index, so that its digest is kept after all.
    const lost = lostPin === digest ? undefined : lostPin;
    return { reference: name, digest, outcome, lostPin: lost };
  }

  #pushContent(image: Image, tagged: Descriptor, name: Reference, context: PushContext): Promise<Pushed> {
    return this.options.indexOnly === true
      ? this.#check(image, tagged, name)
      : this.#push(image, tagged, name, context);
  }

  /** Pushes all content of an image without a tag. */
  async #push(
    image: Image,
    tagged: Descriptor,
    name: Reference,
    { existing, wanted }: PushContext,
  ): Promise<Pushed> {
    const plan = await this.#plan(image, wanted);
    this.options.onPlanned?.(image, this.#blobs.plannedBytes(plan.blobs));
    const isOriginal = tagged.digest !== image.root.digest;
    const wantedManifests = plan.manifests.filter((node) =>
      node.isOriginal === true
        ? this.options.originalIndex !== 'filtered'
        : !isOriginal || node.descriptor.digest !== image.root.digest,
    );
    const find = (digest: Digest | undefined): ManifestNode | undefined =>
      plan.manifests.find((node) => node.descriptor.digest === digest);
    const root = find(tagged.digest);
    if (root === undefined)
      throw new AirliftError(
        'damaged',
        `publish ${formatReference(name)}: root manifest ${tagged.digest} is missing`,
      );
    // The tag points at the image already: the manifest is read, so that nothing else has to be done if the site holds all of it.
    const isShown = existing?.digest === tagged.digest ? this.#isShown(root, name) : undefined;
    isShown?.catch(() => undefined);
    const isNew = isShown === undefined && !(await this.#isHeld(tagged, name));
    // Asked together with the blobs.
    const missing = this.#missingOf(wantedManifests, name, {
      isNew,
      digest: tagged.digest,
      isHeld: isShown ?? Promise.resolve(!isNew),
    });
    missing.catch(() => undefined);
    const isSent = await this.#blobs.push(plan.blobs, name, isNew);
    const missingManifests = await missing;
    const isUnchanged = !isSent && missingManifests.length === 0 && (await isShown) === true;
    let lostPin: Digest | undefined;
    for (const node of missingManifests) {
      if (node.isOriginal === true) {
        // Without a nested index, the index above it would point at missing content.
        const isKept = lostPin === undefined && (await this.#pushOriginal(node, name));
        if (!isKept) lostPin = image.original?.digest;
      } else {
        await this.#pushManifest(node, name);
      }
    }
    return { root, original: find(image.original?.digest), lostPin, manifests: plan.subjects, isUnchanged };
  }

  /** Checks that the site holds all children of an index. */
  async #check(image: Image, tagged: Descriptor, name: Reference): Promise<Pushed> {
    const { signal } = this.options;
    const root = await readManifest(this.source, image.reference, tagged, { signal });
    const children = root.manifest.kind === 'index' ? root.manifest.manifests : [tagged];
    for (const child of children) {
      if (await this.site.exists(name, child, { signal })) continue;
      throw new AirliftError(
        'not-found',
        `publish ${formatReference(name)}: ${child.digest} (${platformName(child)}) is missing at the destination`,
        { hint: 'leave out `indexOnly` to send it' },
      );
    }
    return { root, original: undefined, manifests: new Set([tagged.digest]) };
  }

  /** Reports whether the tag list has a tag that the site refuses to show: `onExistingTag` protects such a tag too. */
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

  /** @throws AirliftError `exists` if the site does not show the tag that must be compared */
  async #current(name: Reference, tagged: Descriptor): Promise<Descriptor | undefined> {
    if (name.tag === undefined) return undefined;
    try {
      const tagOnly = { registry: name.registry, repository: name.repository, tag: name.tag };
      return await this.site.resolve(tagOnly, { signal: this.options.signal, isGuess: true });
    } catch (error) {
      if (!isAirliftError(error, 'not-found')) throw error;
      if (this.options.onExistingTag === 'overwrite') return undefined;
      if (isWithheld(error.status)) {
        // A rerun before the registry has scanned the image.
        if (await this.site.exists(name, tagged, { signal: this.options.signal })) return tagged;
      } else if (error.status === undefined || error.status === 404 || !(await this.#isListed(name)))
        return undefined;
      throw new AirliftError(
        'exists',
        `publish ${formatReference(name)}: the tag is taken, and the registry does not show its digest (${error.status})`,
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
    // Only the configs that the site lacks are read, when they are sent.
    const options = { referrers, skipConfigs: true, signal, warn, lenient };
    const subjects = await new Planner(this.source, sink, options).planImage(image, wanted);
    return { ...plan, subjects };
  }

  /** Reports whether the site holds a manifest and shows it. */
  #isHeld(manifest: Descriptor, name: Repository): Promise<boolean> {
    return this.site.exists(name, manifest, { isGuess: true, signal: this.options.signal });
  }

  /** Reads a manifest from the site and compares it. Returns false if the site does not show it: a `HEAD` and the read-back tell why. */
  async #isShown(node: ManifestNode, name: Repository): Promise<boolean> {
    try {
      const bytes = await readContent(this.site, name, node.descriptor, { signal: this.options.signal });
      return digestOf(bytes) === digestOf(node.bytes);
    } catch (error) {
      if (verdictOf(error) === 'fatal') throw error;
      return false;
    }
  }

  /**
   * Returns the manifests that the site does not hold, in the same order.
   * @param tagged the manifest to tag; `isNew` if the site does not hold it
   */
  async #missingOf(
    manifests: readonly ManifestNode[],
    name: Repository,
    tagged: { readonly digest: Digest; readonly isNew: boolean; readonly isHeld: Promise<boolean> },
  ): Promise<ManifestNode[]> {
    const isMissing = async ({ descriptor, isOriginal }: ManifestNode): Promise<boolean> => {
      if (descriptor.digest === tagged.digest && (await tagged.isHeld)) return false;
      // Pushing a manifest of a new image costs no more than asking for it. But the site may hold a publisher's index and reject it now,
      // without some of its children.
      if (tagged.isNew && (isOriginal !== true || descriptor.digest === tagged.digest)) return true;
      return !(await this.#isHeld(descriptor, name));
    };
    const missing = await Promise.all(manifests.map(isMissing));
    return manifests.filter((_, at) => missing[at]);
  }

  async #pushManifest(node: ComposedIndex, name: Repository): Promise<void> {
    const { signal } = this.options;
    const pushed = await this.site.push(name, node.descriptor, openBytes(node.bytes), { signal });
    if (pushed !== 'existed') this.#counts.manifests++;
  }

  /** Pushes the publisher's index, some of whose children are missing. Returns false if the registry rejects that. */
  async #pushOriginal(node: ManifestNode, name: Repository): Promise<boolean> {
    try {
      await this.#pushManifest(node, name);
      return true;
    } catch (error) {
      if (!isAirliftError(error, 'registry', 'not-found') || (error.status ?? 500) >= 500) throw error;
      if (this.options.originalIndex === 'auto') return false;
      throw new AirliftError(
        'registry',
        `publish ${formatRepository(name)}: ${name.registry} rejects indexes with missing platforms`,
        {
          cause: error,
          status: error.status,
          hint: "`originalIndex: 'filtered'` publishes an index of the platforms that are present",
        },
      );
    }
  }

  /** Reads a name back from the site and compares digest and bytes with those that were published. */
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
          hint: 'another client pushed to this tag at the same time; run the same command again',
        },
      );
    }
    const bytes = await readContent(this.site, name, root.descriptor, { signal });
    if (digestOf(bytes) !== digestOf(root.bytes))
      throw new AirliftError('digest-mismatch', `read back ${formatReference(name)}: bytes differ`);
  }
}
