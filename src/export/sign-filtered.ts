import type { BundleWriter } from '../bundle/write/writer.js';
import { parseManifest } from '../oci/manifest.js';
import { formatPlatform } from '../oci/platform.js';
import { formatReference, formatRepository } from '../oci/reference.js';
import { edgesOf, type PlannedImage, type PlanRequest } from '../plan/planner.js';
import { signFilteredIndex } from '../signing/image-signature.js';
import type { SecretKey } from '../signing/secret-key.js';

/** Signs the filtered indexes of an export, and plans the signatures under cosign's tags. */
export class FilteredIndexSigner {
  /** Names that the list itself exports. */
  readonly #listed: ReadonlySet<string>;

  constructor(
    private readonly writer: BundleWriter,
    private readonly key: SecretKey,
    images: readonly PlanRequest[],
  ) {
    this.#listed = new Set(images.map(({ reference }) => formatReference(reference)));
  }

  /**
   * Signs a planned image if airlift filtered its index. Several tags of one index in one repository share one signature. A signature that the
   * publisher has under the tag is kept.
   */
  sign({ reference, root, original, platforms = [] }: PlannedImage): void {
    if (original === undefined) return;
    const { registry, repository } = reference;
    const tag = `${root.digest.replace(':', '-')}.sig`;
    const name = formatReference({ registry, repository, tag });
    if (this.#listed.has(name) || this.writer.hasImage(name)) return;
    const { manifest, config, payload } = signFilteredIndex(
      {
        digest: root.digest,
        repository: formatRepository(reference),
        original: original.digest,
        platforms: platforms.map(formatPlatform).sort(),
      },
      this.key,
    );
    const place = { registry, repository };
    this.writer.addBlob({ repository: place, role: 'config', ...config });
    this.writer.addBlob({ repository: place, role: 'layer', ...payload });
    const parsed = parseManifest(manifest.bytes, manifest.descriptor.mediaType, `signature ${name}`);
    this.writer.addManifest({ ...manifest, manifest: parsed, edges: edgesOf(parsed), platform: undefined });
    this.writer.addImage(
      { reference: { registry, repository, tag }, root: manifest.descriptor },
      { companionOf: root.digest },
    );
  }
}
