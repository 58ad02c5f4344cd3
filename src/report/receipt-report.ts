import type { DiffOptions, ImageChange } from '../diff.js';
import { checkInterrupted } from '../errors.js';
import type { Digest } from '../oci/digest.js';
import { openBase } from '../receipts/open-base.js';
import { looksLikeReceipt, type RecordKind } from '../receipts/receipt.js';
import { verifyFile } from '../sign.js';
import type { SignatureReport } from '../signing/signatures.js';
import { isAttachedTag } from './attached-tag.js';
import { sinceBases, withBases, type ReportedSince } from './since.js';

/** A manifest, index or layer that a receipt lists; plain data. */
export interface ReportedEntry {
  /** Path of the repository, with its registry. */
  readonly repository: string;
  /** Undefined for content that is listed by its digest. */
  readonly tag?: string | undefined;
  readonly digest: Digest;
  /** `index`, `layer`, `manifest`, or the manifest's platform. */
  readonly content: string;
  /** Whether it is new since the given bases; only for tags. */
  readonly change?: 'added' | 'moved' | 'unchanged' | undefined;
}

/** What a receipt of a registry, or a record of what was sent, says; plain data. */
export interface ReceiptReport {
  readonly kind: RecordKind;
  readonly receipt: string;
  /** The registry, with a path if only a part of it was listed; undefined for a record of what was sent. */
  readonly registry?: string | undefined;
  /** The time that it states (RFC 3339, UTC). */
  readonly time: string;
  /** The version of airlift that wrote it, as it states. */
  readonly writtenBy: string;
  /** Digest of the file. */
  readonly digest: string;
  /** The signatures in files beside it. */
  readonly signedBy: readonly SignatureReport[];
  readonly repositories: number;
  /** Number of tags of images, and of tags for what is attached to images. */
  readonly images: number;
  readonly companions: number;
  readonly entries: readonly ReportedEntry[];
  /** What is new since the given bases. */
  readonly since?: ReportedSince | undefined;
  /** What the receipt does not say, one sentence each. */
  readonly notes: readonly string[];
}

export interface ReceiptReportOptions {
  /** Earlier bundles, catalogs or receipts: the report says what is new since. */
  readonly base?: readonly string[] | undefined;
  /** How import names images of a bundle among the bases at the site. */
  readonly naming?: DiffOptions['naming'];
  /** Paths of public keys, or of directories of them, to check the signatures of the receipt with. */
  readonly keys?: readonly string[] | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What a receipt cannot say: its reader would otherwise take silence for absence. */
const unsaid = [
  'sizes, build times, labels, versions, licences and packages: only the images themselves say them',
  'which platforms belong to which index: the manifests of a repository are listed by their digests',
  'whether a signature is valid: signatures under tags are listed, and others are not told from other manifests',
];

const notesOf: Readonly<Record<RecordKind, readonly string[]>> = {
  receipt: [
    ...unsaid,
    'whether the registry still has this content: the receipt states what it held at the time above, and this report asked no registry',
  ],
  sent: [
    ...unsaid,
    'whether a site has this content: the record states what exports wrote to bundles, not what was imported',
  ],
};

/** Reports whether a file is a receipt or a record of what was sent, for `reportOnReceipt`. */
export function isReceipt(path: string): Promise<boolean> {
  return looksLikeReceipt(path);
}

/**
 * Reads what a receipt says. Asks no registry.
 * @throws AirliftError `input` if it is no receipt or a line is malformed, `unsupported`, `usage`, `interrupted`, `io`
 */
export async function reportOnReceipt(
  path: string,
  { base = [], naming, keys = [], signal }: ReceiptReportOptions = {},
): Promise<ReceiptReport> {
  const own = await openBase(path);
  if (own.kind === 'bundle') {
    await own.close();
    throw new RangeError(`${path} is a bundle`);
  }
  const { kind, registry, time, airlift } = own.receipt.head;
  const host = registry?.split('/', 1)[0];
  const { digest, signedBy } = await verifyFile(path, keys);
  const since =
    base.length === 0
      ? undefined
      : await withBases(base, (bases) => sinceBases(bases, own, { naming, signal }));
  const changes = new Map((since?.changes ?? []).map(({ reference, change }) => [reference, change]));
  const entries: ReportedEntry[] = [];
  const repositories = new Set<string>();
  let companions = 0;
  let images = 0;
  for await (const entry of own.receipt.entries()) {
    checkInterrupted(signal, `report on ${path}`);
    const { tag } = entry;
    const repository = host === undefined ? entry.repository : `${host}/${entry.repository}`;
    repositories.add(repository);
    const isAttached = isAttachedTag(tag);
    if (isAttached) companions++;
    else if (tag !== undefined) images++;
    const change =
      since === undefined || tag === undefined || isAttached
        ? undefined
        : changeOf(changes.get(`${entry.repository}:${tag}`));
    entries.push({ ...entry, repository, change });
  }
  return {
    kind,
    receipt: path,
    registry,
    time,
    writtenBy: airlift,
    digest,
    signedBy,
    repositories: repositories.size,
    images,
    companions,
    entries,
    since,
    notes: notesOf[kind],
  };
}

function changeOf(change: ImageChange['change'] | undefined): ReportedEntry['change'] {
  return change === undefined || change === 'removed' ? 'unchanged' : change;
}
