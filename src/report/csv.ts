import { printable } from '../oci/printable.js';
import { labelsOf } from './labels.js';
import type { ReceiptReport } from './receipt-report.js';
import type { Report, ReportedImage } from './report.js';
import { signersOf } from './signers.js';
import type { ReportedSince } from './since.js';

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
  'signed by key',
];
/** Further columns of a report that is compared with bases. */
const sinceHead = ['change', 'new bytes'];
const receiptHead = ['repository', 'tag', 'content', 'digest'];

/** Formats a cell (RFC 4180). A spreadsheet would run text as a formula that begins with one of these characters. */
function cell(value: string): string {
  const text = printable(value);
  const inert = /^[=+\-@]/.test(text) ? `'${text}` : text;
  return /[",]/.test(inert) ? `"${inert.replaceAll('"', '""')}"` : inert;
}

function line(cells: readonly string[]): string {
  return `${cells.map(cell).join(',')}\r\n`;
}

/** Yields rows for the images that only the bases have: a reader of the table alone would miss them. */
function* removedRows(since: ReportedSince | undefined, width: number): Iterable<string[]> {
  for (const { change, image, from } of since?.changes ?? [])
    if (change === 'removed') yield [image, from ?? '', ...Array<string>(width - 2).fill(''), change, '0'];
}

function rowsOf(image: ReportedImage): string[][] {
  const count = (kind: string): string => String(image.attached.filter((one) => one.kind === kind).length);
  const attached = [count('signature'), count('attestation'), count('sbom'), signersOf(image).join(' ')];
  const since = image.change === undefined ? [] : [image.change, String(image.newBytes ?? 0)];
  const end = [...attached, ...since];
  if (image.platforms.length === 0)
    return [[image.reference, image.digest, '', '', String(image.size), '', '', '', '', '', ...end]];
  return image.platforms.map((part) => {
    const { version, revision, source, licenses } = labelsOf(part);
    const labels = [version, revision, source, licenses].map((text) => text ?? '');
    const own = [part.platform, part.digest, String(part.size), part.created ?? ''];
    return [image.reference, image.digest, ...own, ...labels, ...end];
  });
}

/** Yields a report as comma-separated values: a row for each platform of each image, and for each image that only a base has. */
export function* formatCsv(report: Report): Iterable<string> {
  const { since } = report;
  yield line(since === undefined ? head : [...head, ...sinceHead]);
  for (const image of report.images) for (const row of rowsOf(image)) yield line(row);
  for (const row of removedRows(since, head.length)) yield line(row);
}

/** Yields the report on a receipt as comma-separated values: a row for each line of the receipt. */
export function* formatReceiptCsv({ entries, since }: ReceiptReport): Iterable<string> {
  yield line(since === undefined ? receiptHead : [...receiptHead, 'change']);
  for (const { repository, tag = '', content, digest, change = '' } of entries)
    yield line([repository, tag, content, digest, ...(since === undefined ? [] : [change])]);
  for (const { image, from, change } of since?.changes ?? [])
    if (change === 'removed') yield line([image, '', '', from ?? '', change]);
}
