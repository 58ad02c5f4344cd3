import { AirliftError, messageOf } from '../errors.js';
import { replaceFile } from '../io/replace-file.js';
import { printableJson } from '../oci/printable.js';
import type { VerifyReport } from '../verify.js';
import { formatCsv, formatReceiptCsv } from './csv.js';
import { formatCycloneDx, formatReceiptCycloneDx } from './cyclonedx.js';
import { formatHtml } from './html.js';
import { formatReceiptHtml } from './html-receipt.js';
import type { ReceiptReport } from './receipt-report.js';
import type { Report } from './report.js';

export const reportFormats = ['html', 'json', 'csv', 'cyclonedx'] as const;
export type ReportFormat = (typeof reportFormats)[number];

export interface FormatReportOptions {
  readonly format: ReportFormat;
  /** The result of verifying the bundle; undefined if it was not verified. In HTML and JSON only. */
  readonly verified?: VerifyReport | undefined;
  /** Version of airlift, to state in the report. */
  readonly version: string;
}

/** Yields the report on a receipt entry by entry: half a million of them in one string would take 400 MB. */
function* receiptJson({ entries, ...report }: ReceiptReport, version: string): Iterable<string> {
  yield `${printableJson({ airlift: version, ...report }).slice(0, -1)},"entries":[`;
  for (const [at, entry] of entries.entries()) yield `${at === 0 ? '' : ','}${printableJson(entry)}`;
  yield ']}\n';
}

/** Characters of a piece of output: each piece is a write of its own. */
const pieceLength = 64 * 1024;

function* joined(texts: Iterable<string>): Iterable<string> {
  let piece: string[] = [];
  let length = 0;
  for (const text of texts) {
    piece.push(text);
    length += text.length;
    if (length < pieceLength) continue;
    yield piece.join('');
    piece = [];
    length = 0;
  }
  if (length > 0) yield piece.join('');
}

function formatReceiptReport(
  report: ReceiptReport,
  { format, version }: FormatReportOptions,
): Iterable<string> {
  switch (format) {
    case 'html':
      return formatReceiptHtml(report, { version });
    case 'csv':
      return formatReceiptCsv(report);
    case 'cyclonedx':
      return formatReceiptCycloneDx(report, version);
    case 'json':
      return receiptJson(report, version);
  }
}

/** Yields a report in a format, in pieces of text. */
export function formatReport(report: Report | ReceiptReport, options: FormatReportOptions): Iterable<string> {
  return joined(
    report.kind === 'bundle' ? formatBundleReport(report, options) : formatReceiptReport(report, options),
  );
}

function formatBundleReport(report: Report, { format, ...options }: FormatReportOptions): Iterable<string> {
  switch (format) {
    case 'html':
      return formatHtml(report, options);
    case 'csv':
      return formatCsv(report);
    case 'cyclonedx':
      return formatCycloneDx(report, options.version);
    case 'json':
      return [
        `${printableJson({ airlift: options.version, verified: options.verified ?? null, ...report })}\n`,
      ];
  }
}

/**
 * Writes a report to a file, or replaces an earlier one as a whole.
 * @throws AirliftError `io`
 */
export async function writeReport(
  report: Report | ReceiptReport,
  path: string,
  options: FormatReportOptions,
): Promise<void> {
  try {
    await replaceFile(path, `${path}.partial`, formatReport(report, options));
  } catch (cause) {
    throw new AirliftError('io', `write report ${path}: ${messageOf(cause)}`, { cause });
  }
}
