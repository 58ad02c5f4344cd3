import { PlatformFinder } from '../archive/platform/platform-finder.js';
import type { LayerFiles } from '../archive/platform/layer-files.js';
import type { Catalog, ManifestRow } from '../bundle/format/catalog.js';
import { platformOf } from '../bundle/format/catalog.js';
import type { BundleFile } from '../bundle/format/file.js';
import type { BundlePlace } from '../bundle/format/volumes/files.js';
import type { BrokenImage, CheckProgress } from '../bundle/report.js';
import type { Findings } from '../bundle/verify/findings.js';
import { checkInterrupted, messageOf } from '../errors.js';
import { isObject } from '../oci/descriptor.js';
import { algorithmOf, type Digest } from '../oci/digest.js';
import { blobPath } from '../oci/image-layout.js';
import {
  diffIdsOf,
  maxManifestSize,
  parseJsonObject,
  parseManifest,
  platformOfConfig,
  type Manifest,
} from '../oci/manifest.js';
import { formatPlatform, type Platform } from '../oci/platform.js';
import { mayRun } from '../oci/runnable.js';
import { quote } from './entry-rules.js';
import { DeepPlan, type PlannedImage, type PlannedLayer } from './plan.js';
import type { UnpackLimits, UnpackedLayer } from './unpack-layer.js';
import { unpackAll, type UnpackTask } from './unpack-pool.js';

/** Something that container engines accept, but that is probably a mistake of the image's publisher; or what could not be checked. */
export interface LayerWarning {
  /** The layer, config or manifest. */
  readonly thing: string;
  readonly detail: string;
  readonly images: readonly BrokenImage[];
}

/** The result of unpacking the layers of a bundle; plain data. Problems are among those of the bundle. */
export interface DeepReport {
  /** Number of images, each platform by itself, whose layers were checked. */
  readonly images: number;
  /** Number of layers unpacked, each once, of their entries and of their bytes after decompression. */
  readonly layers: number;
  readonly entries: number;
  readonly bytes: number;
  /** Number of layers of images that were not unpacked: left out, damaged, encrypted, or of a format that is no tar archive. */
  readonly skipped: number;
  /** The first warnings, and the number of all. */
  readonly warnings: readonly LayerWarning[];
  readonly totalWarnings: number;
}

export interface DeepOptions {
  /** Worker threads, each of which unpacks a layer at a time. */
  readonly jobs: number;
  readonly limits?: UnpackLimits | undefined;
  readonly onProgress?: ((progress: CheckProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The most warnings that are listed. */
const maxWarnings = 1000;
/** The most different claims about one layer that are compared, and that are reported. */
const maxUses = 1000;
const maxWrongUses = 10;
/** The most characters of an image's list of files that are kept in memory to find its program. */
const maxText = 32 * 1024 * 1024;

/** Media types of layers that are tar archives: OCI image-spec, layer.md; Docker image manifest version 2, schema 2. */
const tarLayer =
  /^application\/vnd\.(?:oci\.image\.layer\.(?:nondistributable\.)?v1\.tar(?:\+(gzip|zstd))?|docker\.image\.rootfs\.(?:foreign\.)?diff\.tar(?:\.(gzip|zstd))?)$/;

/** Returns the compression that a media type of a tar layer states; undefined for other media types. */
function statedCompression(mediaType: string): string | undefined {
  const match = tarLayer.exec(mediaType);
  return match === null ? undefined : (match[1] ?? match[2] ?? 'none');
}

/** A layer to unpack, and what its images state about it. */
interface LayerTask extends UnpackTask {
  readonly layer: PlannedLayer;
  readonly uses: ReturnType<DeepPlan['usesOf']>;
}

/** Checks what is in the layers of a bundle whose blobs and manifests were verified. */
class DeepCheck {
  readonly #plan = new DeepPlan();
  readonly #warnings: LayerWarning[] = [];
  #totalWarnings = 0;
  #layers = 0;
  #entries = 0;
  #bytes = 0;
  #skipped = 0;
  #images = 0;
  /** Files of layers, for several images with the same layers. */
  readonly #files = new Map<Digest, LayerFiles>();
  #text = 0;

  constructor(
    private readonly file: BundleFile,
    private readonly place: BundlePlace,
    private readonly catalog: Catalog,
    private readonly findings: Findings,
    private readonly options: DeepOptions,
  ) {}

  async check(): Promise<DeepReport> {
    try {
      for (const row of this.catalog.manifestRows()) {
        checkInterrupted(this.options.signal, `read ${this.file.path}`);
        if (row.kind === 'manifest') await this.#addManifest(row);
      }
      await this.#unpackAll();
      for (const image of this.#plan.leavingImages()) this.#checkReach(image);
      for (const image of this.#plan.images()) await this.#checkPlatform(image);
    } finally {
      this.#plan.close();
    }
    return {
      images: this.#images,
      layers: this.#layers,
      entries: this.#entries,
      bytes: this.#bytes,
      skipped: this.#skipped,
      warnings: this.#warnings,
      totalWarnings: this.#totalWarnings,
    };
  }

  #warn(thing: string, detail: string, blob: Digest): void {
    this.#totalWarnings++;
    if (this.#warnings.length < maxWarnings)
      this.#warnings.push({ thing, detail, images: this.findings.imagesOf(blob) });
  }

  /** Reads a manifest or config; undefined if the bundle does not carry it, or it is damaged or too large, which other checks report. */
  async #read(digest: Digest): Promise<Buffer | undefined> {
    const position = this.findings.positionOf(digest);
    const size = this.findings.sizeOf(this.findings.idOf(digest));
    if (position === undefined || size === undefined || size > maxManifestSize) return undefined;
    return this.file.read(position, size);
  }

  async #addManifest(row: ManifestRow): Promise<void> {
    const bytes = await this.#read(row.digest);
    if (bytes === undefined) return;
    let manifest: Manifest;
    try {
      const parsed = parseManifest(bytes, row.mediaType, 'manifest');
      if (parsed.kind !== 'manifest' || !mayRun(parsed)) return;
      manifest = parsed;
    } catch {
      // The check of the manifests reports it.
      return;
    }
    const config = manifest.config?.digest;
    const configBytes = config === undefined ? undefined : await this.#read(config);
    if (config === undefined || configBytes === undefined) {
      this.#skipped += manifest.layers.length;
      return;
    }
    this.#images++;
    const platform = platformOf(row);
    const image = this.#plan.addImage({
      manifest: row.digest,
      config,
      platform: platform === undefined ? null : JSON.stringify(platform),
      layers: manifest.layers.length,
    });
    const diffIds = this.#diffIdsOf(config, configBytes, manifest, row.digest);
    for (const [position, { digest, mediaType }] of manifest.layers.entries()) {
      this.#plan.addUse(image, position, digest, { mediaType, diffId: diffIds[position] ?? null });
      const at = statedCompression(mediaType) === undefined ? undefined : this.findings.positionOf(digest);
      const size = this.findings.sizeOf(this.findings.idOf(digest));
      if (at === undefined || size === undefined) this.#skipped++;
      else this.#plan.addLayer({ at, digest, size });
    }
  }

  /** Returns the digests of the unpacked layers as a config states them, after comparing their number, and the history, with the layers. */
  #diffIdsOf(config: Digest, bytes: Buffer, { layers }: Manifest, manifest: Digest): Digest[] {
    const thing = blobPath(config);
    try {
      const { history } = parseJsonObject(bytes, 'config');
      if (Array.isArray(history) && history.length > 0) {
        const filled = history.filter((step) => !(isObject(step) && step['empty_layer'] === true)).length;
        if (filled !== layers.length)
          this.#warn(
            thing,
            `wrong number of history entries with a layer; got ${filled}, want ${layers.length}, as the manifest has layers`,
            manifest,
          );
      }
      const diffIds = diffIdsOf(bytes, 'config');
      if (diffIds.length === layers.length) return diffIds;
      this.findings.report(
        'layer',
        thing,
        `wrong number of rootfs.diff_ids; got ${diffIds.length}, want ${layers.length}, as the manifest has layers`,
        manifest,
      );
    } catch (error) {
      this.findings.report('layer', thing, messageOf(error), manifest);
    }
    return [];
  }

  async #unpackAll(): Promise<void> {
    const { layers: totalBlobs, bytes: totalBytes } = this.#plan.totals();
    const { jobs, limits, onProgress, signal } = this.options;
    let bytes = 0;
    const onBytes = (count: number): void => {
      bytes += count;
      onProgress?.({ blobs: this.#layers, bytes, totalBlobs, totalBytes });
    };
    const onResult = (task: LayerTask, result: UnpackedLayer): void =>
      this.#report(task.layer, result, task.uses);
    await unpackAll(this.place, this.file.path, this.#tasks(limits), jobs, { onResult, onBytes, signal });
  }

  /** Yields the layers, each with what its images state about it. */
  *#tasks(limits: UnpackLimits | undefined): Generator<LayerTask> {
    for (const layer of this.#plan.layers()) {
      const uses = this.#plan.usesOf(layer.digest, maxUses);
      const stated = uses.map(({ diffId }) => (diffId === null ? 'sha256' : algorithmOf(diffId)));
      const { at, size } = layer;
      yield { at, size, algorithms: [...new Set(stated)], limits, layer, uses };
    }
  }

  #report({ digest }: PlannedLayer, found: UnpackedLayer, uses: ReturnType<DeepPlan['usesOf']>): void {
    this.#layers++;
    this.#entries += found.entries;
    this.#bytes += found.bytes;
    this.#plan.keepFiles(digest, found.files);
    this.#plan.keepReach(digest, found.reach);
    const thing = blobPath(digest);
    for (const problem of found.problems) this.findings.report('layer', thing, problem, digest);
    for (const warning of found.warnings) this.#warn(thing, warning, digest);
    let wrong = 0;
    for (const { manifest, mediaType, diffId } of uses) {
      const stated = statedCompression(mediaType);
      if (stated !== undefined && found.compression !== undefined && found.compression !== stated)
        this.#warn(
          thing,
          `compression differs; got ${found.compression}, the media type states ${stated}`,
          manifest,
        );
      const got = diffId === null ? undefined : found.digests.get(algorithmOf(diffId));
      if (got === undefined || got === diffId || ++wrong > maxWrongUses) continue;
      const detail = `unpacks to other content than the config states; got ${got}, want diff_id ${diffId}`;
      this.findings.report('layer', thing, detail, manifest);
    }
  }

  /**
   * Checks that no entry of an upper layer lies below a symlink of a lower one that leaves the root. Engines resolve it inside the root,
   * but no builder writes such a layer, and simpler programs write where it leads.
   */
  #checkReach({ id, manifest }: PlannedImage): void {
    checkInterrupted(this.options.signal, `read ${this.file.path}`);
    const leaving = new Set<string>();
    for (const digest of this.#plan.layersOf(id)) {
      const files = this.#plan.filesOf(digest);
      // An entry of the same name replaces the symlink before anything lies below it.
      for (const path of leaving)
        if (files?.files.has(path) === true || files?.removed.has(path) === true) leaving.delete(path);
      if (leaving.size > 0) this.#checkFolders(digest, leaving, manifest);
      for (const path of this.#plan.leavingOf(digest)) leaving.add(path);
    }
  }

  #checkFolders(layer: Digest, leaving: ReadonlySet<string>, manifest: Digest): void {
    const thing = blobPath(layer);
    const folders = this.#plan.foldersOf(layer);
    if (folders === undefined)
      return this.#warn(thing, 'too many folders to compare with symlinks of lower layers', manifest);
    for (const folder of folders) {
      for (let end = folder.length; end > 0; end = folder.lastIndexOf('/', end - 1)) {
        const link = folder.slice(0, end);
        if (!leaving.has(link)) continue;
        const detail = `an entry in ${quote(folder)} lies below the symlink ${quote(link)} of a lower layer, which leaves the root`;
        // One is enough to refuse the layer.
        return this.findings.report('layer', thing, detail, manifest);
      }
    }
  }

  /** Compares the platform that config and index state with the programs of an image. */
  async #checkPlatform({ id, manifest, config, platform, layers }: PlannedImage): Promise<void> {
    checkInterrupted(this.options.signal, `read ${this.file.path}`);
    const configBytes = await this.#read(config);
    if (configBytes === undefined || layers === 0) return;
    const thing = blobPath(manifest);
    const text = this.#plan.textOf(id);
    if (text > maxText)
      return this.#warn(thing, 'too many files to find the program that it starts', manifest);
    if (this.#text + text > maxText) {
      this.#files.clear();
      this.#text = 0;
    }
    this.#text += text;
    const digests = this.#plan.layersOf(id);
    const nothing: LayerFiles = { files: new Map(), removed: new Set(), opaque: new Set(), isWhole: false };
    for (const digest of digests)
      if (!this.#files.has(digest)) this.#files.set(digest, this.#plan.filesOf(digest) ?? nothing);
    try {
      const stated = platform === null ? undefined : (JSON.parse(platform) as Platform);
      const own = platformOfConfig(configBytes, 'config');
      // The catalog has the config's platform where no index states one: that is one claim, not two.
      const isOne =
        stated === undefined || (own !== undefined && formatPlatform(own) === formatPlatform(stated));
      const subject = {
        descriptor: { digest: manifest, mediaType: '', size: 0 },
        configBytes,
        layers: digests.map((digest) => ({
          digest,
          open: () => Promise.resolve(undefined),
          knownFiles: () => this.#files.get(digest),
        })),
      };
      const found = await new PlatformFinder('', {}).find(subject, isOne ? undefined : stated, false, []);
      if (found?.contradiction !== undefined)
        this.#warn(thing, `wrong platform: ${found.contradiction}`, manifest);
    } catch (error) {
      this.#warn(thing, `platform not checked: ${messageOf(error)}`, manifest);
    }
  }
}

/**
 * Unpacks every layer of a bundle in the stream, each once, and compares it with its image: `rootfs.diff_ids`, the number of layers, the history,
 * the platform of its programs. Reports problems to `findings`; returns counts and warnings.
 * @param place of the file, for worker threads
 * @param findings of checks that have hashed all blobs: only blobs whose digest is right are unpacked
 * @throws AirliftError `interrupted`, `io`
 */
export function checkLayers(
  file: BundleFile,
  place: BundlePlace,
  catalog: Catalog,
  findings: Findings,
  options: DeepOptions,
): Promise<DeepReport> {
  return new DeepCheck(file, place, catalog, findings, options).check();
}
