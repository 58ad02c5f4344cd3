import { archImages } from './arch-tags.js';
import { AirliftError, toPlainError, type PlainError } from './errors.js';
import { openInputs, type InputOptions, type Inputs } from './import-inputs.js';
import type { Digest } from './oci/digest.js';
import { formatReference } from './oci/reference.js';
import { Publisher, type Published, type PublishOptions, type PublishTotals } from './publish.js';
import { Registry, type RegistryHooks, type RegistryOptions } from './registry/registry.js';
import { mapNames, siteReference, type NamedImage, type Site, type SiteName } from './site/names.js';
import { forEachOf } from './slots.js';

/** Images published at a time; their blobs share one limit of their own. */
const imageConcurrency = 4;

export interface ImportOptions extends InputOptions {
  /** Where images go, and what they are called there. */
  readonly to: Site;
  readonly registry: RegistryOptions;
  readonly hooks?: RegistryHooks | undefined;
  readonly onExistingTag?: PublishOptions['onExistingTag'] | undefined;
  readonly originalIndex?: PublishOptions['originalIndex'] | undefined;
  /** Uploads at a time; 8 unless told. */
  readonly concurrency?: number | undefined;
  /** Publish each platform's image under a tag of its own too: `1.0-arm64`. */
  readonly archTags?: boolean | undefined;
  /** Is told what images will be called, before anything is pushed. */
  readonly onNames?: ((names: readonly SiteName[]) => Promise<void>) | undefined;
  /** Publish what can be published when some images fail. */
  readonly keepGoing?: boolean | undefined;
}

export interface ImportedImage {
  readonly source: string;
  readonly target: string;
  readonly digest: Digest;
  readonly outcome: Published['outcome'];
}

export interface ImportSummary extends Readonly<PublishTotals> {
  readonly target: string;
  readonly published: readonly ImportedImage[];
  readonly failed: readonly { readonly image: string; readonly error: PlainError }[];
  /** Publisher's index digests that the site could not take: pins by these digests won't work there. */
  readonly lostPins: readonly string[];
}

/**
 * Publishes the images of a bundle, or of archives merged by the names of their images, to a registry: what is there is skipped,
 * tags come last, and each is read back. Interrupted or failed, it is run again and sends only what is missing.
 * @throws AirliftError what opening the inputs and publishing throw; without `keepGoing` at the first image that fails
 */
export async function importImages(options: ImportOptions): Promise<ImportSummary> {
  const inputs = await openInputs(options);
  const registry = new Registry(options.registry, options.hooks);
  try {
    // Before anything is pushed: a name that can't be, or that two images want, is found here.
    const names = mapNames(options.to, namesIn(inputs));
    await options.onNames?.(names);
    return await publishAll(inputs, registry, options);
  } finally {
    await registry.close();
    await inputs.close();
  }
}

function* namesIn({ images }: Inputs): Generator<NamedImage> {
  for (const { reference, root } of images) yield { source: reference, digest: root.digest };
}

/**
 * What the images of a bundle or of archives will be called at the site.
 * @throws AirliftError as `mapNames`, and what opening the inputs throws
 */
export async function siteNames(options: InputOptions, to: Site): Promise<SiteName[]> {
  const inputs = await openInputs(options);
  try {
    return mapNames(to, namesIn(inputs));
  } finally {
    await inputs.close();
  }
}

async function publishAll(
  inputs: Inputs,
  registry: Registry,
  options: ImportOptions,
): Promise<ImportSummary> {
  const { onEvent, signal, to } = options;
  const publisher = new Publisher(inputs.source, registry, {
    hasForeign: (digest) => inputs.hasForeign(digest),
    concurrency: options.concurrency ?? 8,
    onExistingTag: options.onExistingTag ?? 'overwrite',
    originalIndex: options.originalIndex ?? 'auto',
    onEvent,
    signal,
  });
  const published: ImportedImage[] = [];
  const failed: { image: string; error: PlainError }[] = [];
  const lostPins: string[] = [];
  let position = 0;
  await forEachOf(inputs.images, imageConcurrency, async (image) => {
    const name = siteReference(to, { source: image.reference, digest: image.root.digest });
    const from = formatReference(image.reference);
    try {
      if (signal?.aborted === true) throw new AirliftError('interrupted', 'import: interrupted');
      const { digest, outcome, lostPin } = await publisher.publish(image, name);
      published.push({ source: from, target: formatReference(name), digest, outcome });
      const single = options.archTags === true ? await archImages(inputs.source, image, name, signal) : [];
      for (const one of single) {
        const { digest, outcome } = await publisher.publish(one, one.reference);
        published.push({ source: from, target: formatReference(one.reference), digest, outcome });
      }
      if (lostPin !== undefined) lostPins.push(`${name.registry}/${name.repository}@${lostPin}`);
      onEvent?.({
        event: 'image-done',
        image: formatReference(name),
        position: ++position,
        images: inputs.count,
        digest,
        outcome,
      });
    } catch (error) {
      if (signal?.aborted === true)
        throw new AirliftError('interrupted', 'import: interrupted', { cause: error });
      if (options.keepGoing !== true) throw error;
      const plain = toPlainError(error);
      failed.push({ image: from, error: plain });
      onEvent?.({ event: 'image-failed', image: from, message: plain.message, hint: plain.hint });
    }
  });
  if (failed.length > 0 && published.length === 0) {
    throw new AirliftError(
      failed[0]?.error.code ?? 'registry',
      `import: all ${failed.length} images failed, each is named above`,
    );
  }
  const target = to.prefix === undefined ? to.registry : `${to.registry}/${to.prefix}`;
  return { target, ...publisher.totals, published, failed, lostPins };
}
