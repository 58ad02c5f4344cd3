import { ImageParts } from './bundle/format/image-parts.js';
import type { DeltaBase } from './bundle/format/delta.js';
import { checkInterrupted } from './errors.js';
import type { Digest } from './oci/digest.js';
import { formatReference, parseReference, type Reference } from './oci/reference.js';
import { closeBases, openBase, type Base, type CatalogBase, type ReceiptBase } from './receipts/open-base.js';
import { parseSite, siteReference, type Site } from './site/names.js';

export interface DiffOptions {
  /** How import names images of a bundle at the site of a receipt that it is compared with; default: without the source registry. */
  readonly naming?: Pick<Site, 'keepRegistry' | 'rules'> | undefined;
  /** Directories that hold volumes of the bundles, besides those of their paths. */
  readonly volumeDirs?: readonly string[] | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** One side of a comparison. */
export interface DiffSide extends Pick<DeltaBase, 'kind' | 'registry' | 'time'> {
  readonly path: string;
  readonly images: number;
}

/** An image that the two sides do not have alike. */
export interface ImageChange {
  readonly change: 'added' | 'removed' | 'moved';
  /** Reference; without the registry if a side is a receipt. */
  readonly image: string;
  /** Its name in the file that is the second side, if that has it. */
  readonly reference?: string | undefined;
  /** Digest on the first side. */
  readonly from?: Digest | undefined;
  /** Digest on the second side. */
  readonly to?: Digest | undefined;
  /** Bytes of everything that belongs to it; only if the second side is a bundle. */
  readonly size?: number | undefined;
  /** Bytes of its blobs that the first side lacks; other images may share them. */
  readonly newBytes?: number | undefined;
}

/** What differs between two bundles or receipts; plain data. */
export interface BundleDifference {
  readonly from: DiffSide;
  readonly to: DiffSide;
  /** Sorted by name. */
  readonly changes: readonly ImageChange[];
  readonly unchanged: number;
  /** Blobs of the second side that the first lacks, each once; undefined if the second side is no bundle. */
  readonly newBlobs?: { readonly blobs: number; readonly bytes: number } | undefined;
  /** Whether the first side may have some of these blobs: a receipt names manifests, and the layers of some are unknown. */
  readonly isUpperBound: boolean;
}

/** What differs between several earlier bundles or receipts, taken together, and a later one. */
export interface Since extends Omit<BundleDifference, 'from'> {
  /** The earlier ones, oldest first. Of an image that several have, the latest counts. */
  readonly from: readonly DiffSide[];
}

/** An image of a side. `reference` is its name in the catalog or the receipt. */
interface Named {
  readonly digest: Digest;
  readonly reference: string;
}

type Names = Map<string, Named>;

/** Returns the name of an image at a site, without the registry, as receipts have it. */
function nameAt(site: Site, source: Reference, digest: Digest): string {
  const { repository, tag } = siteReference(site, { source, digest });
  return tag === undefined ? `${repository}@${digest}` : `${repository}:${tag}`;
}

function namesOfCatalog({ catalog }: CatalogBase, site: Site | undefined): Names {
  const names: Names = new Map();
  for (const { reference, root } of catalog.images()) {
    const text = formatReference(reference);
    const name = site === undefined ? text : nameAt(site, reference, root.digest);
    names.set(name, { digest: root.digest, reference: text });
  }
  return names;
}

/**
 * Reads the images of a receipt. A line with a digest may be an image or a manifest below an index, so it counts only if the other side
 * has an image of this name.
 */
async function namesOfRecord(
  { base, receipt }: ReceiptBase,
  site: Site | undefined,
  other: Names,
): Promise<Names> {
  const names: Names = new Map();
  for await (const { repository, tag, digest } of receipt.entries()) {
    const text = tag === undefined ? `${repository}@${digest}` : `${repository}:${tag}`;
    const isSource = site !== undefined && base.kind === 'sent';
    const name = isSource ? nameAt(site, parseReference(text), digest) : text;
    if (tag !== undefined || other.has(name)) names.set(name, { digest, reference: text });
  }
  return names;
}

/** Reads the names of all sides: of bundles first, since the names of a receipt depend on them. */
async function namesOfAll(
  from: readonly Base[],
  to: Base,
  naming: DiffOptions['naming'],
): Promise<{ readonly before: readonly Names[]; readonly after: Names }> {
  const sides = [...from, to];
  const place = sides.find(({ base }) => base.kind === 'receipt')?.base.registry;
  const isMixed = from.some(({ base }) => base.kind !== to.base.kind);
  const site = place === undefined || !isMixed ? undefined : { ...parseSite(place), ...naming };
  const ofBundle = (side: Base): Names | undefined =>
    side.kind === 'bundle' ? namesOfCatalog(side, site) : undefined;
  const known = from.map(ofBundle);
  const last = ofBundle(to);
  const none: Names = new Map();
  const before: Names[] = [];
  for (const [at, side] of from.entries())
    before.push(known[at] ?? (await namesOfRecord(side as ReceiptBase, site, last ?? none)));
  const bundles = new Map(known.flatMap((names) => [...(names ?? [])]));
  return { before, after: last ?? (await namesOfRecord(to as ReceiptBase, site, bundles)) };
}

/** Which blobs of the second side, a bundle, the first side has. */
interface Held {
  has(digest: Digest): boolean;
  /** Whether the first side may have more of them. */
  readonly isIncomplete: boolean;
}

function heldByCatalog({ catalog }: CatalogBase): Held {
  const has = (digest: Digest): boolean => {
    const blob = catalog.blob(digest);
    return blob !== undefined && (blob.offset !== undefined || blob.leftOut === 'base');
  };
  return { has, isIncomplete: false };
}

/** Reads which blobs of a catalog a receipt implies. Keeps only digests that the catalog has. */
async function heldByRecord({ base, receipt }: ReceiptBase, { catalog }: CatalogBase): Promise<Held> {
  const parts = new ImageParts(catalog);
  const held = new Set<Digest>();
  let isIncomplete = false;
  for await (const { digest, content } of receipt.entries()) {
    if (catalog.blob(digest) !== undefined) {
      held.add(digest);
      for (const part of parts.below(digest)) held.add(part);
    } else if (base.kind === 'receipt' && content !== 'index' && content !== 'layer') isIncomplete = true;
  }
  return { has: (digest) => held.has(digest), isIncomplete };
}

/** Finds which blobs of a bundle or of its catalog another bundle or a receipt has. */
export async function heldBy(base: Base, bundle: CatalogBase): Promise<Held> {
  return base.kind === 'bundle' ? heldByCatalog(base) : await heldByRecord(base, bundle);
}

/** Yields the images that the sides do not have alike. */
function* changesOf(from: Names, to: Names): Generator<ImageChange> {
  for (const name of [...new Set([...from.keys(), ...to.keys()])].sort()) {
    const [before, after] = [from.get(name)?.digest, to.get(name)?.digest];
    if (before === after) continue;
    const change = before === undefined ? 'added' : after === undefined ? 'removed' : 'moved';
    yield { change, image: name, reference: to.get(name)?.reference, from: before, to: after };
  }
}

function byTime({ base: one }: Base, { base: other }: Base): number {
  return one.time < other.time ? -1 : one.time > other.time ? 1 : 0;
}

/**
 * Compares bundles, catalogs or receipts, taken together, with a later one.
 * @throws AirliftError as `diff`, except for what opening throws
 */
export async function compareSince(
  bases: readonly Base[],
  to: Base,
  options: DiffOptions = {},
): Promise<Since> {
  const from = [...bases].sort(byTime);
  const names = await namesOfAll(from, to, options.naming);
  const before: Names = new Map(names.before.flatMap((side) => [...side]));
  const { after } = names;
  const changes = [...changesOf(before, after)];
  const sideOf = ({ path, base: { kind, registry, time } }: Base, size = 0): DiffSide => ({
    path,
    kind,
    registry,
    time,
    images: size,
  });
  const sides = {
    from: from.map((side, at) => sideOf(side, names.before[at]?.size)),
    to: sideOf(to, after.size),
  };
  const unchanged = [...after].filter(([name, { digest }]) => before.get(name)?.digest === digest).length;
  if (to.kind !== 'bundle') return { ...sides, changes, unchanged, isUpperBound: false };
  const held: Held[] = [];
  for (const base of from) held.push(await heldBy(base, to));
  const isHeldBefore = (digest: Digest): boolean => held.some((one) => one.has(digest));
  const isNew = { blobs: 0, bytes: 0 };
  for (const { digest, size, offset, leftOut } of to.catalog.blobs()) {
    checkInterrupted(options.signal, 'compare');
    if ((offset === undefined && leftOut !== 'base') || isHeldBefore(digest)) continue;
    isNew.blobs++;
    isNew.bytes += size;
  }
  const parts = new ImageParts(to.catalog);
  const sized = changes.map((change): ImageChange => {
    if (change.reference === undefined) return change;
    const own = parts.of(change.reference).filter(({ isHeld }) => isHeld);
    const sum = (list: typeof own): number => list.reduce((bytes, { size }) => bytes + size, 0);
    return { ...change, size: sum(own), newBytes: sum(own.filter(({ digest }) => !isHeldBefore(digest))) };
  });
  return {
    ...sides,
    changes: sized,
    unchanged,
    newBlobs: isNew,
    isUpperBound: held.some(({ isIncomplete }) => isIncomplete) && isNew.blobs > 0,
  };
}

async function compare(from: Base, to: Base, options: DiffOptions): Promise<BundleDifference> {
  const { from: sides, ...found } = await compareSince([from], to, options);
  const [side] = sides;
  if (side === undefined) throw new RangeError('nothing to compare with');
  return { from: side, ...found };
}

/**
 * Compares two bundles, catalogs or receipts: images added, removed and moved, and the blobs that the first lacks. Reads no blobs.
 * @throws AirliftError `input` if a file is none of these, `damaged`, `unsupported`, `io`, `interrupted`
 */
export async function diff(from: string, to: string, options: DiffOptions = {}): Promise<BundleDifference> {
  const bases: Base[] = [];
  try {
    const first = await openBase(from, options.volumeDirs);
    bases.push(first);
    const second = await openBase(to, options.volumeDirs);
    bases.push(second);
    return await compare(first, second, options);
  } finally {
    await closeBases(bases);
  }
}
