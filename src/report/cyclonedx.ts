import { createHash } from 'node:crypto';
import { printableJson } from '../oci/printable.js';
import { algorithmOf, hexOf, type Digest } from '../oci/digest.js';
import { formatRepository, parseReference } from '../oci/reference.js';
import { labelsOf } from './labels.js';
import type { ReportedPackage } from './packages.js';
import type { Report, ReportedImage, ReportedPlatform } from './report.js';

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

function imageComponent({ reference, digest, platforms, size, attached }: ReportedImage): object {
  return {
    type: 'container',
    'bom-ref': reference,
    name: reference,
    hashes: hashes(digest),
    purl: purlOf(reference, digest),
    properties: [
      { name: 'airlift:size', value: String(size) },
      ...attached.map(({ kind, type }) => ({ name: `airlift:${kind}`, value: type })),
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

/** Yields a report as a CycloneDX 1.6 document in JSON: images, their platforms, and the packages of their SBOMs. */
export function* formatCycloneDx(report: Report, version: string): Iterable<string> {
  const head = {
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    serialNumber: serialNumber(report.sums ?? report.bundle),
    version: 1,
    metadata: {
      timestamp: report.created,
      tools: { components: [{ type: 'application', name: 'airlift', version }] },
      component: {
        type: 'file',
        'bom-ref': 'bundle',
        name: report.bundle,
        properties:
          report.sums === undefined ? undefined : [{ name: 'airlift:SHA256SUMS', value: report.sums }],
      },
    },
  };
  yield `${printableJson(head).slice(0, -1)},"components":[`;
  let separator = '\n';
  for (const image of report.images) {
    yield `${separator}${printableJson(imageComponent(image))}`;
    separator = ',\n';
  }
  for (const [at, item] of report.packages.entries()) {
    yield `${separator}${printableJson(packageComponent(item, at))}`;
    separator = ',\n';
  }
  yield '\n]}\n';
}
