import type { FailedImage } from '../failed-images.js';
import type { PlannedImage } from '../plan/planner.js';
import { Registry } from '../registry/registry.js';
import { closeBases, type Base } from '../receipts/open-base.js';
import { applyBases, openAllBases } from './apply-bases.js';
import type { ExportOptions } from './export.js';
import { PlanBook } from './plan-book.js';
import { planEntries, planError, planOptionsOf } from './plan-images.js';
import { PlanTally, type TalliedImage } from './plan-tally.js';
import { RequestCounter, type RequestCount } from './request-count.js';

/** Requests that an export sends to one registry. */
export interface RequestCost extends Readonly<RequestCount> {
  /** Blobs to download once all images are resolved. */
  readonly blobs: number;
}

export interface ExportPreview {
  /** In the order of the list; signatures under tags follow the image they belong to. */
  readonly images: readonly TalliedImage[];
  readonly failed: readonly FailedImage[];
  /** Manifests, configs and layers that the bundle would carry, each once. */
  readonly blobs: number;
  /** Bytes of these blobs. */
  readonly bytes: number;
  /** Layers that a base has, and that a delta would leave out. */
  readonly leftOut: { readonly blobs: number; readonly bytes: number };
  /** Foreign layers of which only the descriptors would be included. */
  readonly foreign: number;
  /** Requests by registry. Resolving costs the same in a preview and in an export: each of them sends these requests. */
  readonly requests: readonly RequestCost[];
}

/**
 * Resolves what an export would include, as the export does, and writes nothing.
 * @throws AirliftError as planning does; if any image failed and `keepGoing` is not set
 */
export async function previewExport(
  options: Omit<ExportOptions, 'output' | 'created'>,
): Promise<ExportPreview> {
  const requests = new RequestCounter();
  const registry = new Registry(options.registry, requests.hooks(options.hooks));
  const tally = new PlanTally();
  const planned = new Map<number, readonly PlannedImage[]>();
  const book = new PlanBook({
    sink: tally,
    addImages: (position, images) => planned.set(position, images),
  });
  const planOptions = planOptionsOf(options);
  const { warn = () => undefined, signal } = planOptions;
  let bases: readonly Base[] = [];
  try {
    bases = await openAllBases(options);
    await planEntries(book, registry, planOptions, options.images.entries());
    const error = planError(book.failures(), planOptions);
    if (error !== undefined) throw error;
    await applyBases(tally.delta, registry, bases, { warn, signal });
  } finally {
    await registry.close();
    await closeBases(bases);
  }
  return {
    images: [...tally.images(inOrder(planned))],
    failed: book.failures().map(({ image, error }) => ({ image, error })),
    ...tally.carried,
    leftOut: tally.leftOut,
    foreign: tally.foreign,
    requests: requests.counts.map((count) => ({ ...count, blobs: tally.blobsToDownload(count.registry) })),
  };
}

/** Returns the images in the order of the list. A signature is listed once, however many tags its image has. */
function inOrder(planned: ReadonlyMap<number, readonly PlannedImage[]>): Iterable<PlannedImage> {
  const images = [...planned].sort(([a], [b]) => a - b).flatMap(([, group]) => group);
  return new Map(images.map((image) => [JSON.stringify(image.reference), image])).values();
}
