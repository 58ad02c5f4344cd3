import type { CopySummary, FailedImage, ImportedImage, ImportSummary } from '../index.js';
import { linesOfFailures } from '../failed-images.js';
import { exitCodes } from './exit-codes.js';
import type { OutputArguments } from './flags.js';
import { failuresWithFlags } from './hints.js';
import { count, formatBytes, formatDuration } from './format.js';
import { countNames } from './signatures.js';
import { printJson, printLine } from './print.js';

/** Outcome for one name at the site. */
type Result = Omit<ImportedImage, 'source'>;
type PublishSummary = Omit<CopySummary, 'copied'> | Omit<ImportSummary, 'published'>;

/** Prints every failed image with its reason and hint. */
export function printFailed(failed: readonly FailedImage[]): void {
  linesOfFailures(failuresWithFlags(failed)).forEach(printLine);
}

/** Prints the outcome for people: every name in full, also if progress has shown it. */
function printPublished(
  done: string,
  summary: PublishSummary,
  results: readonly Result[],
  milliseconds: number,
): void {
  for (const { target, digest, outcome } of results) printLine(`${outcome}: ${target} ${digest}`);
  if (summary.lostPins.length > 0) {
    printLine(
      'not kept: the registry rejects indexes with missing platforms, so docker pull and cosign verify fail for these digests:',
    );
    for (const pin of summary.lostPins) printLine(`  ${pin}`);
    printLine('  hint: pull by tag, or export all platforms (without --platform) to keep the digests');
  }
  printFailed(summary.failed);
  const changed = results.filter(({ outcome }) => outcome !== 'skipped').map(({ target }) => target);
  const skipped = summary.skippedImages > 0 ? `, ${count(summary.skippedImages, 'tag')} unchanged` : '';
  printLine(
    `${done} ${countNames(changed)} to ${summary.target} in ${formatDuration(milliseconds)}: ` +
      `${count(summary.uploadedBlobs, 'blob')} sent (${formatBytes(summary.uploadedBytes)}), ${summary.mountedBlobs} mounted, ` +
      `${summary.existingBlobs} already present${skipped}`,
  );
}

/** Prints what to do with a bundle that was just written. */
export function printBundleSteps(path: string, sums: string): void {
  printLine(`SHA256SUMS digest: ${sums}`);
  printLine('send this digest to the site separately from the bundle: airlift verify prints it there');
  printLine(`next: airlift verify ${path}`);
}

/**
 * Prints the outcome of publishing and sets the exit code.
 * @param done verb of the last line: `imported` or `copied`
 * @param results outcome for each name
 * @param started start of the run, in milliseconds since 1970
 */
export function showPublished(
  done: string,
  summary: PublishSummary,
  results: readonly Result[],
  args: OutputArguments,
  started: number,
): void {
  const milliseconds = Date.now() - started;
  if (args.json)
    printJson({ event: 'done', ...summary, failed: failuresWithFlags(summary.failed), milliseconds });
  else printPublished(done, summary, results, milliseconds);
  if (summary.failed.length > 0) process.exitCode = exitCodes.someFailed;
}
