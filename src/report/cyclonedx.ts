import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import { printableJson } from '../oci/printable.js';
import { algorithmOf, hexOf, type Digest } from '../oci/digest.js';
import { formatRepository, parseReference } from '../oci/reference.js';
import { labelsOf } from './labels.js';
import type { ReportedPackage } from './packages.js';
import type { ReceiptReport, ReportedEntry } from './receipt-report.js';
import type { Report, ReportedImage, ReportedPlatform } from './report.js';
import type { ReportedSince } from './since.js';

const hashNames = { sha256: 'SHA-256', sha512: 'SHA-512' } as const;

/** Derives a UUID (RFC 9562, version 8) from the bundle, so that the same bundle gives the same document. */
function serialNumber(sums: string): string {
  const hex = createHash('sha256').update(`airlift report ${sums}`).digest('hex');
  const variant = '89ab'[parseInt(hex[16] ?? '0', 16) % 4];
  return `urn:uuid:${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

function hashes(digest: Digest): object[] {
  return [{ alg: hashNames[algorithmOf(digest)], content: hexOf(digest) }];
}

/** Returns the value of `licenses`; JSON has no member for undefined. */
function licensesOf(name: string | undefined): object[] | undefined {
  return name === undefined ? undefined : [{ license: { name } }];
}

/** Formats the package URL of an image (purl-spec, type `oci`). */
function purlOf(reference: string, digest: Digest, architecture?: string): string {
  const { tag, ...repository } = parseReference(reference);
  const path = formatRepository(repository).toLowerCase();
  const query = new URLSearchParams({ repository_url: path });
  if (architecture !== undefined) query.set('arch', architecture);
  if (tag !== undefined) query.set('tag', tag);
  return `pkg:oci/${encodeURIComponent(path.slice(path.lastIndexOf('/') + 1))}@${encodeURIComponent(digest)}?${query.toString()}`;
}

function platformComponent(reference: string, part: ReportedPlatform): object {
  const { version, licenses, source } = labelsOf(part);
  return {
    type: 'container',
    'bom-ref': `${reference}#${part.digest}`,
    name: `${reference} ${part.platform}`,
    version,
    hashes: hashes(part.digest),
    licenses: licensesOf(licenses),
    purl: purlOf(reference, part.digest, part.platform.split('/')[1]),
    properties: [
      { name: 'airlift:platform', value: part.platform },
      { name: 'airlift:size', value: String(part.size) },
      ...(part.created === undefined ? [] : [{ name: 'airlift:created', value: part.created }]),
      ...(source === undefined ? [] : [{ name: 'airlift:source', value: source }]),
    ],
  };
}

function imageComponent({
  reference,
  digest,
  platforms,
  size,
  attached,
  change,
  newBytes,
}: ReportedImage): object {
  return {
    type: 'container',
    'bom-ref': reference,
    name: reference,
    hashes: hashes(digest),
    purl: purlOf(reference, digest),
    properties: [
      { name: 'airlift:size', value: String(size) },
      ...attached.map(({ kind, type }) => ({ name: `airlift:${kind}`, value: type })),
      ...attached.flatMap(({ signature }) =>
        signature?.state === 'valid' ? [{ name: 'airlift:signed-by', value: signature.keyId ?? '' }] : [],
      ),
      ...(change === undefined ? [] : [{ name: 'airlift:change', value: change }]),
      ...(newBytes === undefined ? [] : [{ name: 'airlift:new-bytes', value: String(newBytes) }]),
    ],
    components: platforms.map((part) => platformComponent(reference, part)),
  };
}

function packageComponent({ name, version, licenses, purl, images }: ReportedPackage, at: number): object {
  return {
    type: 'library',
    'bom-ref': `package-${at + 1}`,
    name,
    version,
    licenses: licensesOf(licenses === '' ? undefined : licenses),
    purl,
    properties: [{ name: 'airlift:images', value: String(images) }],
  };
}

interface Property {
  readonly name: string;
  readonly value: string;
}

/** States what the report was compared with, and what only the bases have: removed images are no components. */
function* sinceProperties(since: ReportedSince | undefined): Iterable<Property> {
  if (since === undefined) return;
  for (const { path } of since.from) yield { name: 'airlift:base', value: basename(path) };
  if (since.newBlobs !== undefined) yield { name: 'airlift:new-bytes', value: String(since.newBlobs.bytes) };
  for (const { change, image } of since.changes)
    if (change === 'removed') yield { name: 'airlift:removed', value: image };
}

interface Subject {
  readonly name: string;
  /** What identifies the content: the document of the same content is the same. */
  readonly identity: string;
  readonly timestamp: string;
  readonly properties: readonly Property[];
}

function* formatDocument(
  { name, identity, timestamp, properties }: Subject,
  version: string,
  components: Iterable<object>,
): Iterable<string> {
  const head = {
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    serialNumber: serialNumber(identity),
    version: 1,
    metadata: {
      timestamp,
      tools: { components: [{ type: 'application', name: 'airlift', version }] },
      component: {
        type: 'file',
        'bom-ref': 'bundle',
        name,
        properties: properties.length === 0 ? undefined : properties,
      },
    },
  };
  yield `${printableJson(head).slice(0, -1)},"components":[`;
  let separator = '\n';
  for (const component of components) {
    yield `${separator}${printableJson(component)}`;
    separator = ',\n';
  }
  yield '\n]}\n';
}

function* componentsOf({ images, packages }: Report): Iterable<object> {
  for (const image of images) yield imageComponent(image);
  for (const [at, item] of packages.entries()) yield packageComponent(item, at);
}

/** Yields a report as a CycloneDX 1.6 document in JSON: images, their platforms, and the packages of their SBOMs. */
export function formatCycloneDx(report: Report, version: string): Iterable<string> {
  const { bundle, sums, created, since, delta } = report;
  const properties = [
    ...(sums === undefined ? [] : [{ name: 'airlift:SHA256SUMS', value: sums }]),
    ...(delta === undefined ? [] : [{ name: 'airlift:left-out-bytes', value: String(delta.bytes) }]),
    ...sinceProperties(since),
  ];
  const subject = { name: bundle, identity: sums ?? bundle, timestamp: created, properties };
  return formatDocument(subject, version, componentsOf(report));
}

function entryComponent({ repository, tag, digest, content, change }: ReportedEntry): object {
  const reference = tag === undefined ? `${repository}@${digest}` : `${repository}:${tag}`;
  return {
    // A layer is no container, but a part of one.
    type: content === 'layer' ? 'file' : 'container',
    'bom-ref': reference,
    name: reference,
    hashes: hashes(digest),
    purl: content === 'layer' ? undefined : purlOf(reference, digest),
    properties: [
      { name: 'airlift:content', value: content },
      ...(change === undefined ? [] : [{ name: 'airlift:change', value: change }]),
    ],
  };
}

function* entryComponents({ entries }: ReceiptReport): Iterable<object> {
  // A record of what was sent may list a tag with several digests, and references identify components.
  const seen = new Set<string>();
  for (const entry of entries) {
    const component = entryComponent(entry);
    const reference = `${entry.repository}:${entry.tag ?? entry.digest}`;
    yield seen.has(reference) ? { ...component, 'bom-ref': `${reference}@${entry.digest}` } : component;
    seen.add(reference);
  }
}

/** Yields the report on a receipt as a CycloneDX 1.6 document in JSON. */
export function formatReceiptCycloneDx(report: ReceiptReport, version: string): Iterable<string> {
  const { receipt, registry, time, digest, since } = report;
  const properties = [
    ...(registry === undefined ? [] : [{ name: 'airlift:registry', value: registry }]),
    ...sinceProperties(since),
  ];
  const subject = { name: basename(receipt), identity: digest, timestamp: time, properties };
  return formatDocument(subject, version, entryComponents(report));
}
