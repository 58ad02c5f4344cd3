import type { BasePlace, DeltaBase } from '../bundle/format/delta.js';
import type { BundleWriter } from '../bundle/write/writer.js';
import { forEachOf } from '../concurrency.js';
import { AirliftError, isAirliftError } from '../errors.js';
import type { Digest } from '../oci/digest.js';
import { verdictOf } from '../oci/guess.js';
import { readManifest } from '../oci/read.js';
import type { Repository } from '../oci/reference.js';
import type { Source } from '../oci/source.js';
import { openBases, type Base, type CatalogBase, type ReceiptBase } from '../receipts/open-base.js';
import type { ReceiptEntry } from '../receipts/receipt.js';
import { openSent, type SentOptions } from '../receipts/sent.js';

/** Manifests of a receipt that are fetched at a time. */
const concurrency = 8;
/** The most manifests of a receipt to fetch: more are not the older tags of the images of a list. */
const maxFetched = 2000;
/** The most repositories to ask for a manifest of a receipt. */
const maxSources = 3;

export interface BaseOptions {
  readonly warn: (message: string) => void;
  readonly signal?: AbortSignal | undefined;
}

/** A planned bundle that can become a delta. */
export interface DeltaPlan {
  /** Records what the bundle is made against. */
  add(base: DeltaBase): void;
  /** Leaves a layer out because the base has it; does nothing unless the plan has the layer. */
  leaveOut(digest: Digest, places: readonly BasePlace[]): void;
  /** Reports whether a blob is a layer of the plan that may be left out, or is left out already. */
  isLayer(digest: Digest): boolean;
  /** Lists the layers of a manifest of the plan; undefined if the plan does not have it. */
  layersOf(manifest: Digest): readonly Digest[] | undefined;
  /** Lists the repositories that the plan downloads from. */
  repositories(): readonly Repository[];
}

/** Returns the plan of a bundle that is being written. */
export function deltaPlanOf(writer: BundleWriter): DeltaPlan {
  return {
    add: (base) => writer.changeBase((plan) => plan.add(base)),
    leaveOut: (digest, places) => writer.changeBase((plan) => plan.leaveOut(digest, places)),
    isLayer: (digest) => writer.base.isLayer(digest),
    layersOf: (manifest) => writer.base.layersOf(manifest),
    repositories: () => writer.base.repositories(),
  };
}

/** What a delta is made against. */
export interface BasePaths {
  /** Receipts, and bundles that were sent before or their catalogs: layers that these have are left out. */
  readonly base?: readonly string[] | undefined;
  /** Leaves out the layers that this record lists as sent, and adds this bundle to it when the bundle is complete. Excludes `force`. */
  readonly sent?: SentOptions | undefined;
  /** Replace an existing bundle. */
  readonly force?: boolean | undefined;
}

/**
 * Opens the bases and the record of what was sent.
 * @throws AirliftError as `openBase`; `usage` if the record excludes another option
 */
export async function openAllBases({ base = [], sent, force }: BasePaths): Promise<Base[]> {
  if (sent === undefined) return openBases(base);
  if (force === true)
    throw new AirliftError(
      'usage',
      `export: got \`sent\` and \`force\`; the bundle to replace may be the only one with layers that ${sent.path} lists as sent`,
      { hint: 'write to another file with `output`' },
    );
  const record = await openSent(sent.path);
  const bases = await openBases(base);
  return record === undefined ? bases : [...bases, record];
}

/**
 * Leaves the layers out of a planned bundle that a site has by its receipts or by bundles that were sent before. Manifests and configs stay:
 * they are small, and with them the structure of a delta can be verified.
 * @param source provides manifests that the site has and that are not in the plan, because their tags have moved
 * @throws AirliftError `input` if a base changes meanwhile, `unauthorized`, `network`, …
 */
export async function applyBases(
  plan: DeltaPlan,
  source: Source,
  bases: readonly Base[],
  options: BaseOptions,
): Promise<void> {
  for (const { base } of bases) plan.add(base);
  for (const base of bases) {
    if (base.kind === 'bundle') applyCatalog(plan, base);
    else await new ReceiptApplier(plan, source, base, options).apply();
  }
}

function applyCatalog(plan: DeltaPlan, base: CatalogBase): void {
  for (const digest of base.blobs()) if (plan.isLayer(digest)) plan.leaveOut(digest, base.placesOf(digest));
}

/** Leaves out the layers of manifests that a receipt lists. */
class ReceiptApplier {
  readonly #kind: BasePlace['kind'];
  readonly #sources: readonly Repository[];
  /** Manifests that no repository has any more. */
  readonly #lost: string[] = [];
  #fetched = 0;

  constructor(
    private readonly plan: DeltaPlan,
    private readonly source: Source,
    private readonly base: ReceiptBase,
    private readonly options: BaseOptions,
  ) {
    this.#kind = base.base.kind === 'sent' ? 'source' : 'site';
    this.#sources = plan.repositories();
  }

  async apply(): Promise<void> {
    const { receipt } = this.base;
    await forEachOf(receipt.entries(), concurrency, (entry) => this.#applyEntry(entry));
    if (this.#fetched > maxFetched)
      this.options.warn(
        `${this.base.path}: fetched ${maxFetched} of ${this.#fetched} manifests that only the site has; layers of the others are included`,
      );
    const [first] = this.#lost;
    if (first === undefined) return;
    this.options.warn(
      `${this.base.path}: ${this.#lost.length} manifests that the site has are no longer in their registries, for example ${first}: ` +
        'layers that only these name are included',
    );
  }

  async #applyEntry(entry: ReceiptEntry): Promise<void> {
    const { digest, content, repository } = entry;
    const place = { kind: this.#kind, repository } as const;
    if (content === 'layer') return this.plan.leaveOut(digest, [place]);
    // The manifests below an index have lines of their own; in a record of what was sent, layers have, too.
    if (content === 'index' || this.#kind === 'source') return;
    const layers = this.plan.layersOf(digest) ?? (await this.#fetchLayers(entry));
    for (const layer of layers) this.plan.leaveOut(layer, [place]);
  }

  /** Fetches a manifest that is not in the plan: a tag has moved since. */
  async #fetchLayers({ repository, digest }: ReceiptEntry): Promise<readonly Digest[]> {
    const { signal } = this.options;
    const sources = this.#sourcesOf(repository);
    if (sources.length > 0) this.#fetched++;
    if (this.#fetched > maxFetched) return [];
    for (const at of sources) {
      try {
        const descriptor = await this.source.resolve({ ...at, digest }, { signal, isGuess: true });
        const { manifest } = await readManifest(this.source, at, descriptor, { signal });
        return manifest.kind === 'index' ? [] : manifest.layers.map((layer) => layer.digest);
      } catch (error) {
        if (verdictOf(error) !== 'absent' && !isAirliftError(error, 'digest-mismatch', 'size-mismatch'))
          throw error;
      }
    }
    if (sources.length > 0) this.#lost.push(`${repository}@${digest}`);
    return [];
  }

  /** Returns the repositories of the plan that a repository at the site may come from: by its whole path, or by the end of it. */
  #sourcesOf(repository: string): Repository[] {
    const isSame = (source: Repository): boolean =>
      repository === source.repository || repository.endsWith(`/${source.repository}`);
    const isAlike = (source: Repository): boolean =>
      source.repository.endsWith(`/${repository.slice(repository.lastIndexOf('/') + 1)}`);
    const same = this.#sources.filter(isSame);
    return (same.length > 0 ? same : this.#sources.filter(isAlike)).slice(0, maxSources);
  }
}

/** Formats what identifies a base, for the fingerprint of a run. */
export function fingerprintOfBase({ kind, digest }: Pick<DeltaBase, 'kind' | 'digest'>): string {
  return `${kind} ${digest}`;
}
