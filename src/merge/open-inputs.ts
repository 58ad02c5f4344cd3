import { stat } from 'node:fs/promises';
import type { Readable } from 'node:stream';
import type { Archive, ReadyLayer } from '../archive/read/archive.js';
import type { Compression } from '../archive/compression/decompress.js';
import { openLayerMemory, type ManifestFormat } from '../archive/read/layer-store.js';
import { NameRules } from './name-rules.js';
import { openArchive } from '../archive/read/open.js';
import type { OpenedMembers } from '../archive/read/open-members.js';
import { openChecked, orDamage } from '../bundle/verify/check-front.js';
import { requiredSignature, type RequiredSignature } from '../bundle/verify/check-signatures.js';
import { BundleFile } from '../bundle/format/file.js';
import { entryNames } from '../bundle/format/format.js';
import { looksLikeBundle } from '../bundle/format/head.js';
import type { BundleReader } from '../bundle/reader.js';
import { inputPlace, oneOfVolumes, refuseVolumes } from './volume-inputs.js';
import { requireVolumes } from '../bundle/format/volumes/damage.js';
import { pathOf, type BundlePlace } from '../bundle/format/volumes/files.js';
import { AirliftError, isAirliftError } from '../errors.js';
import { mergeArchives, type ContentSource } from './merge-archives.js';
import { finalNames } from './merge-names.js';
import { OpenArchives } from './open-archives.js';
import { openPiped, type Piped } from './piped-bundle.js';
import type { Digest } from '../oci/digest.js';
import type { Platform } from '../oci/platform.js';
import type { Reference } from '../oci/reference.js';
import type { Image } from '../oci/source.js';
import type { OnEvent } from '../progress.js';

/** Options for archives that are not bundles. */
export interface ArchiveOptions {
  /** The platform of an archive's images, by the path of the archive; overrides what the archive states. */
  readonly platforms?: ReadonlyMap<string, Platform> | undefined;
  /** The name of images that have none in their archive. */
  readonly name?: string | undefined;
  /** Rules that remove the architecture from names, `*:{tag}-{arch}=*:{tag}`; images that get the same name are merged. */
  readonly mergeNames?: readonly string[] | undefined;
  /** Fail, instead of warn, when an archive contradicts itself about a platform. */
  readonly strictPlatforms?: boolean | undefined;
  /** Compression of layers that the archive holds uncompressed (default: gzip). */
  readonly layerCompression?: Compression | undefined;
  /** Format of the manifests created for images that have none (default: oci). */
  readonly manifestFormat?: ManifestFormat | undefined;
  /** Directory for unpacked archives (default: the system's temporary directory). */
  readonly tmpDir?: string | undefined;
  /** Path of the layer cache, which records the digests of compressed layers. */
  readonly layerMemory?: string | undefined;
  /**
   * Path of a public key, or of a directory of them: accept only bundles that one of them has signed. Refused before anything is read
   * from an input that is no bundle.
   */
  readonly requireSignature?: string | undefined;
  /** Directories that hold volumes of a bundle, besides the one of its path. */
  readonly volumeDirs?: readonly string[] | undefined;
  /** Called with the size of a bundle's catalog in bytes before the bundle is checked, which takes memory for a large one. */
  readonly onCatalogSize?: ((bytes: number) => void) | undefined;
  /** The stream to read for the path `-`. */
  readonly stdin?: Readable | undefined;
}

/** An image of a bundle or an archive. */
export interface HeldImage {
  readonly image: string;
  readonly digest: Digest;
}

/** A layer of an archive that can be published while the archives are still being read. */
export interface NamedLayer extends Omit<ReadyLayer, 'names'> {
  /** A name of an image that contains it. */
  readonly reference: Reference;
}

export interface InputOptions {
  /** Paths of bundles, archives and OCI layouts; `-` is standard input. */
  readonly inputs: readonly string[];
  readonly archives?: ArchiveOptions | undefined;
  /** Accept a delta as the only input; default: refuse it, since it lacks layers. */
  readonly acceptsDelta?: boolean | undefined;
  readonly onEvent?: OnEvent | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** An image of the inputs. */
export interface InputImage extends Image {
  /** The manifest that it belongs to, if its tag is one of cosign's, such as `sha256-….sig`. */
  readonly companionOf?: Digest | undefined;
}

/** The images of all inputs, and the source of their content. */
export interface Inputs {
  readonly source: ContentSource;
  readonly images: Iterable<InputImage>;
  readonly count: number;
  /** Number and size of distinct configs and layers, if known before all images are read. */
  readonly content?: { readonly blobs: number; readonly bytes: number } | undefined;
  /** The delta, if the input is one. */
  readonly delta?: BundleReader | undefined;
  /** Reports whether the inputs hold the content of a foreign layer. */
  hasForeign(digest: Digest): boolean;
  /** Returns the error to report instead of one that damage of the input has caused. */
  explain?(error: unknown): Promise<unknown>;
  close(): Promise<void>;
}

async function isBundle(place: BundlePlace): Promise<boolean> {
  if (place === '-') return false;
  await requireVolumes(place, pathOf(place));
  try {
    const file = await BundleFile.open(place, 'r');
    return await looksLikeBundle(file).finally(() => file.close());
  } catch (error) {
    // A file that cannot be read as a bundle is opened as an archive, which reports what is wrong with it.
    if (isAirliftError(error, 'io')) return false;
    throw error;
  }
}

/**
 * Warns when an archive is an unpacked or repacked bundle. The bundle's sums do not cover the archive, and only a bundle's catalog
 * records which signatures and other referrers belong to an image, so reading it as an archive would lose them.
 * @throws AirliftError `input` if the bundle is compressed
 */
async function warnOfRepackedBundle(
  path: string,
  { members, compression }: OpenedMembers,
  warn: (text: string) => void,
): Promise<void> {
  if ((await members.find(entryNames.catalog)) === undefined) return;
  const { file } = members;
  if (compression === 'none') {
    warn(
      `${file} is an unpacked or repacked airlift bundle: reading it as an OCI layout, without the bundle's checks and without ` +
        'signatures and other referrers that have no tag; use the original bundle if possible',
    );
    return;
  }
  const whole = path.replace(/\.(gz|tgz|zst|zstd)$/, (suffix) => (suffix === '.tgz' ? '.tar' : ''));
  const isStream = path === '-' || path.startsWith('/dev/');
  throw new AirliftError(
    'input',
    `open ${file}: the bundle is compressed with ${compression}; want it uncompressed`,
    {
      hint: isStream
        ? `decompress it first: ${compression} -dc FILE | airlift import -`
        : `decompress it first: ${compression} -dc ${path} > ${whole === path ? `${path}.tar` : whole}`,
    },
  );
}

/** Reads a bundle as one of several archives; its catalog provides signatures and other referrers. */
function bundleAsArchive(reader: BundleReader, archive: Archive): Archive {
  return {
    shape: archive.shape,
    file: archive.file,
    images: () => archive.images(),
    holds: (descriptor) => archive.holds(descriptor),
    find: (descriptor) => archive.find(descriptor),
    resolve: (reference, options) => archive.resolve(reference, options),
    fetch: (repository, descriptor, options) => archive.fetch(repository, descriptor, options),
    referrers: (repository, digest) => reader.referrers(repository, digest),
    close: async () => {
      await reader.close().finally(() => archive.close());
    },
  };
}

/** Returns the error for inputs that are undamaged but hold no image. */
async function noImageError(inputs: readonly string[]): Promise<AirliftError> {
  const [first = '', ...others] = inputs;
  const isFile = await stat(first).then(
    (found) => found.isFile(),
    () => false,
  );
  const hint = isFile && others.length === 0 ? `list its content: tar -tvf ${first}` : undefined;
  return new AirliftError('input', `read ${inputs.join(', ')}: no image found`, { hint });
}

/** @throws AirliftError `input` if a bundle is a delta */
function refuseDelta({ catalog, path }: BundleReader): void {
  if (!catalog.isDelta) return;
  const { blobs } = catalog.baseTotals();
  throw new AirliftError('input', `open ${path}: it is a delta, without ${blobs} of its layers`, {
    hint: `import it into the registry that has them: airlift import ${path} --to HOST[:PORT]; or merge it with the bundle that has them: airlift merge ${path} BASE.tar -o full.tar`,
  });
}

/**
 * Returns the images of a bundle, and closes it if that fails.
 * @throws AirliftError `input` if it is a delta and the caller accepts none, or holds no image
 */
export async function openBundle(
  reader: BundleReader,
  { acceptsDelta }: Pick<InputOptions, 'acceptsDelta'>,
): Promise<Inputs> {
  try {
    if (acceptsDelta !== true) refuseDelta(reader);
    if (reader.counts().images === 0) throw await noImageError([reader.path]);
    return inputsOfBundle(reader);
  } catch (error) {
    await reader.close();
    throw error;
  }
}

function inputsOfBundle(reader: BundleReader): Inputs {
  return {
    source: reader,
    images: { [Symbol.iterator]: () => reader.images()[Symbol.iterator]() },
    count: reader.counts().images,
    content: reader.catalog.content(),
    delta: reader.catalog.isDelta ? reader : undefined,
    hasForeign: (digest) => reader.position(digest) !== undefined,
    explain: (error) => orDamage(reader, error),
    close: () => reader.close(),
  };
}

/** @throws AirliftError `untrusted`: only bundles carry signatures */
function refuseUnsigned(path: string, required: RequiredSignature | undefined): void {
  if (required === undefined) return;
  throw new AirliftError(
    'untrusted',
    `check the signature of ${path}: not a bundle; only bundles are signed`,
    {
      hint: 'make a bundle of it where you trust it: airlift import ARCHIVE -o site.tar, then airlift sign site.tar',
    },
  );
}

async function openAll(
  options: InputOptions,
  nameRules: NameRules | undefined,
  piped: Piped | undefined,
  requireSignature: RequiredSignature | undefined,
  onLayer: ((layer: NamedLayer) => void) | undefined,
): Promise<OpenArchives> {
  const { inputs, archives = {}, onEvent } = options;
  const { platforms, layerMemory, name, onCatalogSize, ...reading } = archives;
  const warn = (message: string): void => onEvent?.({ event: 'warning', message });
  const memory = layerMemory === undefined ? undefined : await openLayerMemory(layerMemory, warn);
  const open = new OpenArchives(options.signal);
  const { signal } = open;
  try {
    for (const path of inputs) {
      onEvent?.({ event: 'reading', file: path });
      const platform = platforms?.get(path);
      const known = { platform, nameRules, layerMemory: memory };
      // The bundle's own checks report damage before the file is read as an archive.
      const reader =
        path === '-'
          ? piped?.bundle
          : (await isBundle(path))
            ? await openChecked(path, { signal, requireSignature, onCatalogSize })
            : undefined;
      if (reader === undefined) refuseUnsigned(path, requireSignature);
      try {
        if (reader !== undefined) refuseDelta(reader);
        if (reader !== undefined && path !== '-') await refuseVolumes(path);
        const archive = await openArchive(path, {
          ...reading,
          ...known,
          stdin: piped?.stream,
          checkMembers: async (opened) => {
            if (reader === undefined) await warnOfRepackedBundle(path, opened, warn);
          },
          onLayer: ({ names, ...layer }) => {
            for (const reference of finalNames(names, { name, nameRules }))
              onLayer?.({ ...layer, reference });
          },
          warn,
          signal,
        });
        open.add(reader === undefined ? archive : bundleAsArchive(reader, archive));
      } catch (error) {
        await reader?.close();
        throw error;
      }
    }
    return open;
  } catch (error) {
    throw await open.fail(error);
  }
}

/**
 * Opens the inputs of an import: one bundle, or any number of archives, merged by the names of their images.
 * @param onLayer called with layers of archives that are ready before all archives are read, once for each name of their image
 * @throws AirliftError `usage` where no input is given, `input` where none holds an image; errors of opening and merging
 */
export async function openInputs(
  options: InputOptions,
  onLayer?: (layer: NamedLayer) => void,
): Promise<Inputs> {
  const { archives = {}, onEvent, signal } = options;
  const { mergeNames = [], volumeDirs } = archives;
  const [first, ...others] = oneOfVolumes(options.inputs);
  if (first === undefined) throw new AirliftError('usage', 'import: no bundle or archive given');
  const nameRules = mergeNames.length === 0 ? undefined : new NameRules(mergeNames);
  const { stdin, tmpDir, onCatalogSize } = archives;
  const requireSignature = await requiredSignature(archives.requireSignature);
  const piped =
    stdin !== undefined && options.inputs.includes('-')
      ? await openPiped(stdin, { tmpDir, requireSignature, onCatalogSize, signal })
      : undefined;
  if (others.length === 0 && nameRules === undefined) {
    if (piped?.bundle !== undefined) {
      piped.stream.destroy();
      return openBundle(piped.bundle, options);
    }
    const place = inputPlace(options.inputs, first, volumeDirs);
    if (await isBundle(place))
      return openBundle(await openChecked(place, { signal, requireSignature, onCatalogSize }), options);
  }
  const open = await openAll(options, nameRules, piped, requireSignature, onLayer);
  try {
    const { images, source } = await mergeArchives(open.all, {
      name: archives.name,
      nameRules,
      onMerged: onEvent,
      strictPlatforms: archives.strictPlatforms,
      warn: (message) => onEvent?.({ event: 'warning', message }),
      signal,
    });
    if (images.length === 0) throw await noImageError(options.inputs);
    const absent = new Set(images.flatMap((image) => image.absent));
    return {
      source,
      images,
      count: images.length,
      hasForeign: (digest) => !absent.has(digest),
      close: () => open.close(),
    };
  } catch (error) {
    throw await open.fail(error);
  }
}
