import { availableParallelism } from 'node:os';
import { basename } from 'node:path';
import { AirliftError, isAirliftError } from './errors.js';
import { BundleReader } from './bundle/reader.js';
import { checkBase, type DeltaReport } from './bundle/verify/check-base.js';
import type { Catalog } from './bundle/format/catalog.js';
import type { BundlePart } from './bundle/format/part.js';
import { findBlobsByName } from './bundle/verify/check-archive.js';
import { checkCatalogRows, checkHeadContent } from './bundle/verify/check-catalog.js';
import { checkContents } from './bundle/verify/check-contents.js';
import { CosignCheck, type ImageSignature } from './bundle/verify/check-cosign.js';
import { EntryCheck } from './bundle/verify/check-entries.js';
import { checkGraph } from './bundle/verify/check-graph.js';
import { checkHead } from './bundle/verify/check-head.js';
import { checkIndexFile, addCatalogGraph } from './bundle/verify/check-images.js';
import { reportSignatures, requiredSignature, signaturesOf } from './bundle/verify/check-signatures.js';
import { checkSums } from './bundle/verify/check-sums.js';
import { EntryReader } from './bundle/format/entry-reader.js';
import type { CheckProgress, Problem } from './bundle/report.js';
import { Findings } from './bundle/verify/findings.js';
import { BundleFile } from './bundle/format/file.js';
import { HashPool } from './bundle/verify/hash-pool.js';
import { ioError } from './bundle/format/io-error.js';
import { absenceOf, findVolumes, signedPath, type FoundVolumes } from './bundle/format/volumes/find.js';
import type { BundlePlace } from './bundle/format/volumes/files.js';
import {
  checkVolumes,
  hashVolumes,
  listProblems,
  slowerProgress,
  volumeProblems,
} from './bundle/verify/check-volumes.js';
import { allLinked } from './concurrency.js';
import { HeadDigests } from './bundle/format/sums.js';
import { checkLayers, type DeepReport } from './deep/deep-check.js';
import type { Digest } from './oci/digest.js';
import { parseReference } from './oci/reference.js';
import { readRequirement, type SignerOptions } from './policy/requirement.js';
import {
  writeRequest,
  type RequestedBlob,
  type RequestHeader,
  type RequestTotals,
} from './request/request.js';
import type { SignatureReport } from './signing/signatures.js';

/** Options of `verify`. If they name signers, one of these must have signed each image. */
export interface VerifyOptions extends SignerOptions {
  /** Worker threads that read and hash; default: the number of cores, at most 2, and at most 4 to unpack layers. */
  readonly jobs?: number | undefined;
  /** Bundles that have the layers which a delta leaves out; they are verified too. */
  readonly base?: readonly string[] | undefined;
  /** Path of a file to write what is damaged or missing to, if anything is; `export` takes it as its `request`. */
  readonly request?: string | undefined;
  /** Do not hash layers: checks headers, sizes, the catalog, manifests and configs only. */
  readonly quick?: boolean | undefined;
  /** Unpack every layer in the stream: checks `rootfs.diff_ids`, tar archives, paths, platforms and the history of images. */
  readonly deep?: boolean | undefined;
  /** Paths of public keys, or of directories of them: one of the keys must have signed the bundle. */
  readonly keys?: readonly string[] | undefined;
  /** Directories that hold volumes of the bundle, besides the one of its path. */
  readonly volumeDirs?: readonly string[] | undefined;
  readonly onProgress?: ((progress: CheckProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The result of verifying a bundle; plain data. */
export interface VerifyReport {
  readonly bundle: string;
  /** Bytes of the file. */
  readonly size: number;
  /** True if nothing is missing, damaged or changed. */
  readonly ok: boolean;
  /** Number of images, signatures under tags included. */
  readonly images: number;
  readonly signatures: number;
  /** True if layers were not hashed. */
  readonly quick: boolean;
  /** Number of blobs in the file, manifests included; all of them are hashed, except for layers with `quick`. */
  readonly blobs: number;
  readonly blobBytes: number;
  /** Number of blobs that the bundle names but does not carry. */
  readonly leftOut: number;
  /** Digest of `SHA256SUMS`; undefined if the entry is missing. It identifies the bundle only if `ok` is true. */
  readonly sums: Digest | undefined;
  /** The signatures of the bundle, inside it and in files beside it; `unchecked` if no key was given. */
  readonly signedBy: readonly SignatureReport[];
  /** For each image, who signed it, if signatures were required and the catalog is intact. */
  readonly imageSignatures?: readonly ImageSignature[] | undefined;
  readonly problems: readonly Problem[];
  /** What unpacking the layers found, if that was wanted and the catalog is intact. */
  readonly deep?: DeepReport | undefined;
  /** If it is a delta: what it leaves out, and what of that was verified. */
  readonly delta?: DeltaReport | undefined;
  /** Its place in a set of parts, if it is one. */
  readonly part?: BundlePart | undefined;
  /** The reports of the bases that were verified with it. */
  readonly bases: readonly VerifyReport[];
  /** What the request names, if one was written. */
  readonly request?: WrittenRequest | undefined;
}

export interface WrittenRequest extends RequestTotals {
  readonly path: string;
  /** Whether it asks for the head of the bundle. */
  readonly head: boolean;
}

/**
 * Writes a request for the blobs that are missing or wrong, and for the head if its catalog is damaged: all else can be computed from
 * the catalog.
 * @throws AirliftError `no-space`, `io`
 */
async function requestDamaged(
  path: string,
  header: RequestHeader,
  findings: Findings,
): Promise<WrittenRequest> {
  function* blobs(): Iterable<RequestedBlob> {
    for (const { images, ...blob } of findings.badBlobs()) {
      const references = images.map(({ reference }) => reference).filter(isReference);
      yield { ...blob, images: references.map(parseReference) };
    }
  }
  try {
    return { path, head: header.head, ...(await writeRequest(path, header, blobs())) };
  } catch (cause) {
    throw ioError(`write request ${path}`, cause);
  }
}

/** Reports whether a name in a damaged bundle is a reference. */
function isReference(name: string): boolean {
  try {
    parseReference(name);
    return true;
  } catch {
    return false;
  }
}

/**
 * Checks a delta against the bundles that have what it leaves out. A bundle that cannot be opened is left out: its own report says why.
 * @throws AirliftError `usage` if bases are given for a bundle that is not a delta
 */
async function checkDelta(
  catalog: Catalog,
  base: readonly string[],
  findings: Findings,
): Promise<DeltaReport | undefined> {
  if (!catalog.isDelta) {
    if (base.length === 0) return undefined;
    throw new AirliftError(
      'usage',
      'verify: `base` applies only to a delta, and the bundle carries all of its layers',
      {
        hint: 'leave out `base`',
      },
    );
  }
  const readers: BundleReader[] = [];
  try {
    for (const path of base)
      await BundleReader.open(path).then(
        (reader) => readers.push(reader),
        (error: unknown) => {
          if (!isAirliftError(error, 'damaged')) throw error;
        },
      );
    return checkBase(catalog, readers, findings);
  } finally {
    for (const reader of readers) await reader.close();
  }
}

/**
 * Verifies every byte and every edge of a bundle: tar headers, the catalog, the lists of digests, the digest of every blob, and the children
 * of every manifest. Damage does not stop it: the report lists all problems, with the images and platforms that each affects. Without a
 * usable catalog it relies on the archive and `index.json` alone. Of a bundle in volumes it also names the volumes that are missing or damaged;
 * if one is missing, it only compares the others with the list.
 * @throws AirliftError `input` if the file is not a bundle, `unsupported` if a newer airlift wrote it, `interrupted`, `io`
 */
export async function verify(path: string, options: VerifyOptions = {}): Promise<VerifyReport> {
  const { volumeDirs = [], jobs = defaultJobs(), ...rest } = options;
  const deepJobs = options.jobs ?? Math.min(maxDeepJobs, availableParallelism());
  if (rest.deep === true && rest.quick === true)
    throw new AirliftError(
      'usage',
      'verify: `deep` cannot be combined with `quick`, which does not read layers',
    );
  const found = await findVolumes(path, volumeDirs);
  if (found === undefined) return verifyFile(path, path, path, { jobs, deepJobs, ...rest });
  const isWhole = found.volumes.every((volume) => absenceOf(volume, []) === undefined);
  if (isWhole) return verifyVolumes(path, found, { volumeDirs, jobs, deepJobs, ...rest });
  const problems = await checkVolumes(path, volumeDirs, found, { jobs, ...rest });
  return {
    bundle: path,
    size: found.size,
    ok: false,
    images: 0,
    signatures: 0,
    quick: false,
    blobs: 0,
    blobBytes: 0,
    leftOut: 0,
    sums: undefined,
    signedBy: [],
    problems,
    bases: [],
  };
}

/** Unpacking is bound by the processor, and each thread takes 40 to 60 MB. */
const maxDeepJobs = 4;

/**
 * Verifies a bundle in volumes that are all there: their content, and at the same time the digest that the list states for each and for the
 * whole. With `quick` no volume is hashed.
 */
async function verifyVolumes(
  path: string,
  found: FoundVolumes,
  {
    volumeDirs,
    ...options
  }: VerifyOptions & {
    readonly jobs: number;
    readonly deepJobs: number;
    readonly volumeDirs: readonly string[];
  },
): Promise<VerifyReport> {
  const signed = await signedPath(path);
  const place = { path, volumeDirs };
  if (found.list === undefined || options.quick === true) return verifyFile(path, signed, place, options);
  const progress = slowerProgress(options.onProgress);
  const { jobs } = options;
  const checks: ((signal: AbortSignal) => Promise<VerifyReport | ReadonlyMap<number, string>>)[] = [
    (signal) => verifyFile(path, signed, place, { ...options, signal, onProgress: progress.content }),
    (signal) => hashVolumes(path, volumeDirs, found, { jobs, signal, onProgress: progress.volumes }),
  ];
  const results = await allLinked(checks, options.signal, (check, signal) => check(signal));
  const [report, details] = results as [VerifyReport, ReadonlyMap<number, string>];
  if (details.size === 0) return report;
  const isIntact = report.problems.every(({ kind }) => kind === 'signature' || kind === 'layer');
  const problems = isIntact
    ? listProblems(found, details)
    : await volumeProblems(path, volumeDirs, found, details);
  return { ...report, ok: false, problems: [...problems, ...report.problems] };
}

function defaultJobs(): number {
  return Math.min(2, availableParallelism());
}

/**
 * @param path the bundle as the caller named it
 * @param signed the path beside which signatures lie
 */
async function verifyFile(
  path: string,
  signed: string,
  place: BundlePlace,
  options: VerifyOptions & { readonly jobs: number; readonly deepJobs: number },
): Promise<VerifyReport> {
  const required = await requiredSignature(options.keys);
  const requirement = await readRequirement(options);
  const quick = options.quick === true;
  // The digests in the delta cover what its bases provide: they need no signature.
  const { base = [], deep: isDeep = false, jobs, onProgress, signal } = options;
  const bases: VerifyReport[] = [];
  for (const one of base) bases.push(await verify(one, { deep: isDeep, jobs, onProgress, signal }));
  const file = await BundleFile.open(place, 'r');
  const findings = new Findings();
  let delta: DeltaReport | undefined;
  let part: BundlePart | undefined;
  let pool: HashPool | undefined;
  try {
    pool = new HashPool(place, jobs, (await file.stat()).size);
    const reader = new EntryReader(file);
    const { catalog, ...head } = await checkHead(reader, findings);
    const signedBy = await signaturesOf(file, head, signed, required?.keys ?? []);
    reportSignatures(signedBy, required, findings);
    let imageSignatures: ImageSignature[] | undefined;
    let deep: DeepReport | undefined;
    const headDigests = new HeadDigests(file, head);
    try {
      const proof =
        required === undefined
          ? 'none'
          : signedBy.some(({ state }) => state === 'valid')
            ? 'signed'
            : 'refused';
      const requirementOf = catalog && (await requirement?.({ text: catalog.trustedRoot, proof }));
      if (catalog === undefined) await findBlobsByName(reader, head, findings);
      else {
        await new EntryCheck(reader, head, catalog, findings).check();
        addCatalogGraph(catalog, findings);
      }
      await checkSums(headDigests, findings);
      await checkIndexFile(headDigests, catalog, findings);
      await checkContents(pool, findings, { quick, onProgress, signal });
      await checkGraph(file, findings, catalog !== undefined);
      if (catalog !== undefined) {
        await checkCatalogRows(file, catalog, findings);
        part = catalog.part;
        delta = await checkDelta(catalog, base, findings);
        await checkHeadContent(headDigests, catalog, findings);
        if (requirementOf !== undefined)
          imageSignatures = await new CosignCheck(file, catalog, head.start, requirementOf).check(findings);
        if (isDeep) {
          // Its threads take memory that the unpacking needs.
          await pool.close();
          deep = await checkLayers(file, place, catalog, findings, {
            jobs: options.deepJobs,
            onProgress,
            signal,
          });
        }
      }
    } finally {
      catalog?.close();
    }
    const problems = [...findings.problems()];
    const { size } = await file.stat();
    const sums = await headDigests.ofSums();
    const header = {
      bundle: basename(path),
      sums: findings.hasProblem('sums') ? undefined : sums,
      head: catalog === undefined,
    };
    const request =
      options.request === undefined || problems.every(({ kind }) => kind === 'signature' || kind === 'layer')
        ? undefined
        : await requestDamaged(options.request, header, findings);
    return {
      bundle: path,
      size,
      ok: problems.length === 0 && bases.every(({ ok }) => ok),
      ...findings.totals(),
      quick,
      sums,
      signedBy,
      imageSignatures,
      problems,
      deep,
      request,
      delta,
      part,
      bases,
    };
  } finally {
    await pool?.close();
    findings.close();
    await file.close();
  }
}
