import { AirliftError, firstLines, maxProblemsShown } from './errors.js';
import { openInputs } from './merge/open-inputs.js';
import type { OnEvent } from './progress.js';
import { formatTime } from './oci/time.js';
import { formatReceipt, writeReceipt } from './receipts/receipt.js';
import { namesIn, takeInventory } from './receipts/take-inventory.js';
import { Registry, type RegistryHooks, type RegistryOptions } from './registry/registry.js';
import { siteReference, siteRepository, siteText, type Site } from './site/names.js';
import type { Reference } from './oci/reference.js';

export interface InventoryOptions {
  /** The registry to list, and the names that images have there. */
  readonly from: Site;
  /** Names of images at the source; with `bundles`, the only images to list. Default: everything that the registry lists. */
  readonly imageNames?: readonly Reference[] | undefined;
  /** Bundles whose images to list. */
  readonly bundles?: readonly string[] | undefined;
  /** Path of the receipt. */
  readonly output: string;
  /** Version of airlift, for the receipt. */
  readonly version: string;
  /** Time of the receipt; default: now. */
  readonly time?: Date | undefined;
  readonly registry?: RegistryOptions | undefined;
  readonly hooks?: RegistryHooks | undefined;
  readonly onEvent?: OnEvent | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface InventorySummary {
  readonly path: string;
  readonly registry: string;
  /** Number of names that the receipt lists. */
  readonly images: number;
  /** Number of its lines below the head. */
  readonly entries: number;
  /** Names that the registry does not have. */
  readonly absent: readonly string[];
  /** Names and digests whose content is incomplete in the registry; the receipt leaves them out. */
  readonly incomplete: readonly string[];
}

/** Yields the names of images at the site. */
async function* namedImages({
  from,
  imageNames = [],
  bundles = [],
  signal,
}: InventoryOptions): AsyncGenerator<Reference> {
  for (const { tag, digest, ...source } of imageNames) yield { ...siteRepository(from, source), tag, digest };
  for (const bundle of bundles) {
    const inputs = await openInputs({ inputs: [bundle], acceptsDelta: true, signal });
    try {
      for (const { reference, root } of inputs.images)
        yield siteReference(from, { source: reference, digest: root.digest });
    } finally {
      await inputs.close();
    }
  }
}

/**
 * Writes a receipt of a registry. It lists only manifests whose blobs are all there.
 * @throws AirliftError `not-found` if the registry holds none of the images; what listing and reading the registry throw; `io`
 */
export async function inventory(options: InventoryOptions): Promise<InventorySummary> {
  const { from, imageNames, bundles, output, version, time = new Date(), signal } = options;
  const site = new Registry(options.registry, options.hooks);
  try {
    const isListed = imageNames === undefined && bundles === undefined;
    const names = isListed ? namesIn(site, from, signal) : namedImages(options);
    const { entries, images, absent, incomplete } = await takeInventory(site, names, signal);
    const registry = siteText(from);
    if (entries.length === 0)
      throw new AirliftError('not-found', `list images of ${registry}: the registry holds none of them`, {
        lines: firstLines(
          [...absent, ...incomplete].map((name) => `missing: ${name}`),
          maxProblemsShown,
        ),
      });
    const head = { kind: 'receipt', registry, time: formatTime(time), airlift: version } as const;
    await writeReceipt(output, formatReceipt(head, entries));
    return { path: output, registry, images, entries: entries.length, absent, incomplete };
  } finally {
    await site.close();
  }
}
