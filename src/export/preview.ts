import type { ExportOptions } from './export.js';
import { planImages, planOptionsOf, type PlanBook } from './plan-images.js';
import type { FailedImage } from '../failed-images.js';
import type { PlannedImage } from '../plan/planner.js';
import { PlanTally, type TalliedImage } from './plan-tally.js';
import { Registry } from '../registry/registry.js';
import { RequestTally, type AskedRegistry } from './request-count.js';

/** What an export asks of one registry. */
export interface RequestCost extends Readonly<AskedRegistry> {
  /** Blobs to be fetched once everything is looked up. */
  readonly blobs: number;
}

export interface ExportPreview {
  /** In the order of the list, signatures under tags behind the image they belong to. */
  readonly images: readonly TalliedImage[];
  readonly failed: readonly FailedImage[];
  /** Manifests, configs and layers, each once. */
  readonly blobs: number;
  /** Bytes of these. */
  readonly bytes: number;
  /** Foreign layers of which only the descriptors would be taken. */
  readonly foreign: number;
  /** Each registry's part. Looking up is the same for a preview and an export: both cost it. */
  readonly requests: readonly RequestCost[];
}

/** Keeps what was planned in the order of the list. */
class Preview implements PlanBook {
  readonly sink = new PlanTally();
  readonly #planned = new Map<number, readonly PlannedImage[]>();
  readonly #failed = new Map<number, FailedImage>();

  addImages(at: number, images: readonly PlannedImage[]): void {
    this.#planned.set(at, images);
  }

  addFailure(at: number, failed: FailedImage): void {
    this.#failed.set(at, failed);
  }

  failures(): FailedImage[] {
    return [...this.#failed].sort(([a], [b]) => a - b).map(([, failed]) => failed);
  }

  get planned(): PlannedImage[] {
    const images = [...this.#planned].sort(([a], [b]) => a - b).flatMap(([, planned]) => planned);
    // A signature is listed once, however many tags its image has.
    return [...new Map(images.map((image) => [JSON.stringify(image.reference), image])).values()];
  }
}

/**
 * Looks up what an export would take, as the export does, and writes nothing.
 * @throws AirliftError what looking up throws; without `keepGoing` where any image failed
 */
export async function previewExport(
  options: Omit<ExportOptions, 'output' | 'created'>,
): Promise<ExportPreview> {
  const requests = new RequestTally();
  const registry = new Registry(options.registry, requests.hooks(options.hooks));
  const preview = new Preview();
  try {
    await planImages(preview, registry, planOptionsOf(options));
  } finally {
    await registry.close();
  }
  const { sink } = preview;
  return {
    images: [...sink.images(preview.planned)],
    failed: preview.failures(),
    ...{ blobs: sink.blobs, bytes: sink.bytes, foreign: sink.foreign },
    requests: requests.asked.map((asked) => ({ ...asked, blobs: sink.toFetch(asked.registry) })),
  };
}
