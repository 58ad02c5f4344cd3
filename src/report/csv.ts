import { printable } from '../oci/printable.js';
import type { Report, ReportedImage } from './report.js';
import { labelsOf } from './labels.js';

const head = [
  'image',
  'digest',
  'platform',
  'platform digest',
  'size',
  'created',
  'version',
  'revision',
  'source',
  'licenses',
  'signatures',
  'attestations',
  'sboms',
];

/** Formats a cell (RFC 4180). A spreadsheet would run text as a formula that begins with one of these characters. */
function cell(value: string): string {
  const text = printable(value);
  const inert = /^[=+\-@]/.test(text) ? `'${text}` : text;
  return /[",]/.test(inert) ? `"${inert.replaceAll('"', '""')}"` : inert;
}

function rowsOf(image: ReportedImage): string[][] {
  const count = (kind: string): string => String(image.attached.filter((one) => one.kind === kind).length);
  const attached = [count('signature'), count('attestation'), count('sbom')];
  if (image.platforms.length === 0)
    return [[image.reference, image.digest, '', '', String(image.size), '', '', '', '', '', ...attached]];
  return image.platforms.map((part) => {
    const { version, revision, source, licenses } = labelsOf(part);
    const labels = [version, revision, source, licenses].map((text) => text ?? '');
    const own = [part.platform, part.digest, String(part.size), part.created ?? ''];
    return [image.reference, image.digest, ...own, ...labels, ...attached];
  });
}

/** Yields a report as comma-separated values: a row for each platform of each image. */
export function* formatCsv(report: Report): Iterable<string> {
  yield `${head.join(',')}\r\n`;
  for (const image of report.images) for (const row of rowsOf(image)) yield `${row.map(cell).join(',')}\r\n`;
}
