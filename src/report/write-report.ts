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
      return [`${printableJson({ airlift: version, ...report })}\n`];
  }
}

/** Yields a report in a format, in pieces of text. */
export function formatReport(report: Report | ReceiptReport, options: FormatReportOptions): Iterable<string> {
  return report.kind === 'bundle'
    ? formatBundleReport(report, options)
    : formatReceiptReport(report, options);
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
