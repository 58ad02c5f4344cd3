import { forEachOf } from '../concurrency.js';
import { AirliftError } from '../errors.js';
import { archImages, namesToGive } from './arch-tags.js';
import { EarlyLayers, OpeningSource } from './early-layers.js';
import { ProvenBase } from './prove-base.js';
import { openInputs, type InputOptions, type Inputs } from '../merge/open-inputs.js';
import { isCompanionTag } from '../oci/companion-tag.js';
import { formatReference, parseReference, type Reference } from '../oci/reference.js';
import type { Image } from '../oci/source.js';
import { VolumeSender } from './volume-wait/send-volumes.js';
import { WaitedBundle, type AskVolume } from './volume-wait/waited-bundle.js';
import { taggedOf, type Publisher } from '../publish/publisher.js';
import {
  PublishingRun,
  type NamedPublication,
  type PublishedName,
  type PublishingOptions,
  type PublishingSummary,
  type PublishName,
} from '../publish/publishing-run.js';
import { Registry, type RegistryHooks, type RegistryOptions } from '../registry/registry.js';
import { formatTime } from '../oci/time.js';
import { formatReceipt, writeReceipt } from '../receipts/receipt.js';
import { takeInventory } from '../receipts/take-inventory.js';
import {
  mapNames,
  siteReference,
  siteRepository,
  siteText,
  type Site,
  type SiteName,
} from '../site/names.js';

/** Where to write a receipt, and what its first lines state. */
export interface ReceiptOptions {
  readonly path: string;
  /** Version of airlift. */
  readonly version: string;
  /** Default: now. */
  readonly time?: Date | undefined;
}

export interface ImportOptions extends InputOptions, PublishingOptions {
  readonly registry?: RegistryOptions | undefined;
  readonly hooks?: RegistryHooks | undefined;
  /** Publish the image of each platform under a tag of its own, such as `1.0-arm64`, too. */
  readonly archTags?: boolean | undefined;
  /** Bundles that have layers which a delta leaves out and the registry lacks. */
  readonly base?: readonly string[] | undefined;
  /** Path of a file to write the layers to that a delta leaves out and that are missing; `export` takes it as its `request`. */
  readonly request?: string | undefined;
  /** Writes a receipt: which of these images the registry has after the import. */
  readonly receipt?: ReceiptOptions | undefined;
  /**
   * Called for each missing volume of a bundle whose layers the registry lacks, so that media can be inserted one after another. Default:
   * all volumes must be there.
   */
  readonly askVolume?: AskVolume | undefined;
  /** Called with the names of all images at the site before any manifest is pushed. */
  readonly onNames?: ((names: readonly SiteName[]) => Promise<void>) | undefined;
}

/** A name at the site: of an image, or of a signature. */
export type ImportedImage = PublishedName;

export type ImportSummary = PublishingSummary;

/**
 * Publishes the images of a bundle, or of archives merged by the names of their images, to a registry. Content that the registry
 * holds is skipped; each image gets its tag last, which is then read back. A rerun after an interruption or a failure sends only
 * what is missing.
 * @throws AirliftError what opening the inputs and publishing throw; without `keepGoing` when any image failed; `usage` if
 *   both `atomic` and `keepGoing` are set
 */
export async function importImages(options: ImportOptions): Promise<ImportSummary> {
  const run = new PublishingRun('import', options);
  const registry = new Registry(options.registry, options.hooks);
  const source = new OpeningSource();
  let inputs: Inputs | undefined;
  let proven: ProvenBase | undefined;
  const publisher = run.publisher(source, registry, {
    hasForeign: (digest) => inputs?.hasForeign(digest) === true || proven?.has(digest) === true,
    heldBy: (digest) => proven?.holderOf(digest),
  });
  const early = new EarlyLayers(source, publisher, options.to);
  try {
    const { onExistingTag = 'overwrite' } = options;
    // The other policies may keep the existing tag, and then nothing of the image is pushed.
    const isPushed = onExistingTag === 'overwrite' || onExistingTag === 'merge';
    const opening = { ...options, acceptsDelta: true };
    const waited = await WaitedBundle.open(opening);
    inputs = waited?.inputs ?? (await openInputs(opening, isPushed ? early.push : undefined));
    proven = await proveBase(inputs, registry, options);
    source.open(proven?.source ?? inputs.source);
    const summary = await publishInputs(inputs, options, run, publisher, waited && { ...waited, registry });
    await writeReceiptOf(registry, summary, options);
    return summary;
  } finally {
    await registry.close();
    await early.end();
    await proven?.close();
    await inputs?.close();
  }
}

async function publishInputs(
  inputs: Inputs,
  options: ImportOptions,
  run: PublishingRun,
  publisher: Publisher,
  waited: { readonly bundle: WaitedBundle; readonly registry: Registry } | undefined,
): Promise<ImportSummary> {
  // Before anything is tagged: invalid names and names of two images fail here.
  const names = mapNames(options.to, await namesToGive(inputs, options));
  await options.onNames?.(names);
  reportPlan(inputs, options);
  let sender: VolumeSender | undefined;
  if (waited !== undefined) {
    const { to, concurrency = 8, keepGoing = false, signal } = options;
    const kept = await keptImages(inputs, options, publisher);
    const sending = { to, concurrency, keepGoing, kept, signal };
    sender = new VolumeSender(waited.bundle, waited.registry, publisher, sending);
    await sender.send();
  }
  return run.publish(publisher, {
    images: inputs.images,
    count: inputs.count,
    referenceOf: ({ reference }) => reference,
    publish: async (image, publishName) => {
      sender?.checkSent(siteRepository(options.to, image.reference));
      await publishImage(inputs, options, image, publishName);
    },
    isAttached: ({ reference }) => isCompanionTag(reference.tag),
    explain: (error) => inputs.explain?.(error) ?? Promise.resolve(error),
  });
}

/**
 * Proves that the layers which a delta leaves out are there; undefined if the input is not a delta.
 * @throws AirliftError as `ProvenBase.find`; `usage` if a base is given for another input
 */
async function proveBase(
  { delta }: Inputs,
  registry: Registry,
  { to, base = [], request, signal }: ImportOptions,
): Promise<ProvenBase | undefined> {
  if (delta !== undefined) return ProvenBase.find(delta, registry, { to, base, request, signal });
  if (base.length === 0) return undefined;
  throw new AirliftError(
    'usage',
    'import: `base` applies only to a delta, and the input carries all of its layers',
    { hint: 'leave out `base`' },
  );
}

/** Writes the receipt of what was published, after asking the registry for it. */
async function writeReceiptOf(
  registry: Registry,
  { published }: ImportSummary,
  { receipt, to, signal }: ImportOptions,
): Promise<void> {
  if (receipt === undefined) return;
  const { path, version, time = new Date() } = receipt;
  const names = published.map(({ target }) => parseReference(target));
  const { entries } = await takeInventory(registry, names, signal);
  const head = { kind: 'receipt', registry: siteText(to), time: formatTime(time), airlift: version } as const;
  await writeReceipt(path, formatReceipt(head, entries));
}

export type SiteNamesOptions = InputOptions & Pick<ImportOptions, 'archTags' | 'originalIndex'>;

/**
 * Returns the names that the images of a bundle or of archives get at the site.
 * @throws AirliftError as `mapNames`, and what opening the inputs throws
 */
export async function siteNames(options: SiteNamesOptions, to: Site): Promise<SiteName[]> {
  const inputs = await openInputs({ ...options, acceptsDelta: true });
  try {
    return mapNames(to, await namesToGive(inputs, options));
  } finally {
    await inputs.close();
  }
}

function reportPlan({ content, images, count }: Inputs, { onEvent }: ImportOptions): void {
  if (content === undefined) return;
  let signatures = 0;
  for (const { reference } of images) if (isCompanionTag(reference.tag)) signatures++;
  onEvent?.({ event: 'planned', images: count, signatures, ...content, resumedBytes: 0 });
}

async function publishImage(
  inputs: Inputs,
  options: ImportOptions,
  image: Image,
  publishName: PublishName,
): Promise<void> {
  for (const publication of await publicationsOf(inputs, options, image)) await publishName(publication);
}

/** Returns an image under the names that it gets at the site: its own, and those of its platforms. */
async function publicationsOf(
  inputs: Inputs,
  { to, archTags, originalIndex }: ImportOptions,
  image: Image,
): Promise<NamedPublication[]> {
  const ofPlatforms = archTags === true ? await archImages(inputs.source, image) : [];
  const source = formatReference(image.reference);
  const nameOf = (named: Image): Reference =>
    siteReference(to, { source: named.reference, digest: taggedOf(named, originalIndex).digest });
  return [
    { image, name: nameOf(image) },
    ...ofPlatforms.map((one) => ({ image: one, name: nameOf(one), source })),
  ];
}

/**
 * Returns the references of images that the policy for existing tags leaves as they are: nothing of them is pushed.
 * @throws AirliftError `exists` if the policy is an error
 */
async function keptImages(
  inputs: Inputs,
  options: ImportOptions,
  publisher: Publisher,
): Promise<ReadonlySet<string>> {
  const kept = new Set<string>();
  if (options.onExistingTag !== 'skip' && options.onExistingTag !== 'error') return kept;
  await forEachOf(inputs.images, 8, async (image) => {
    for (const { image: one, name } of await publicationsOf(inputs, options, image))
      if (!(await publisher.keepsTag(one, name))) return;
    kept.add(formatReference(image.reference));
  });
  return kept;
}
