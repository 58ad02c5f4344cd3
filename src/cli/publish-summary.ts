import { linesOfFailures, type FailedImage } from '../failed-images.js';
import type { CopySummary, ImportSummary } from '../index.js';
import type { ImportedImage } from '../import/import.js';
import { exitCodes } from './exit-codes.js';
import type { OutputArguments } from './flags.js';
import { failuresWithFlags } from './hints.js';
import { count, formatBytes, formatDuration } from './format.js';
import { countNames } from './signatures.js';
import { printJson, printLine } from './print.js';

/** One name at the site, and what became of it. */
type Result = Omit<ImportedImage, 'source'>;
type PublishSummary = Omit<CopySummary, 'copied'> | Omit<ImportSummary, 'published'>;

/** Names every image that failed, with the reason and what helps. */
export function printFailed(failed: readonly FailedImage[]): void {
  linesOfFailures(failuresWithFlags(failed)).forEach(printLine);
}

/** What was done, for people: each name whole, whatever progress has shown. */
function printPublished(
  done: string,
  summary: PublishSummary,
  results: readonly Result[],
  milliseconds: number,
): void {
  for (const { target, digest, outcome } of results) printLine(`${outcome}: ${target} ${digest}`);
  if (summary.lostPins.length > 0) {
    printLine(
      'not kept: the registry takes no index whose other platforms are missing, so that pulling by these digests, and cosign verify of them, fails:',
    );
    for (const pin of summary.lostPins) printLine(`  ${pin}`);
    printLine('  hint: pull by tag, or export all platforms (without --platform) to keep the digests');
  }
  printFailed(summary.failed);
  const changed = results.filter(({ outcome }) => outcome !== 'skipped').map(({ target }) => target);
  const skipped =
    summary.skippedImages > 0 ? `, ${count(summary.skippedImages, 'tag')} left as they were` : '';
  printLine(
    `${done} ${countNames(changed)} to ${summary.target} in ${formatDuration(milliseconds)}: ` +
      `${count(summary.uploadedBlobs, 'blob')} sent (${formatBytes(summary.uploadedBytes)}), ${summary.mountedBlobs} mounted, ` +
      `${summary.existingBlobs} there before${skipped}`,
  );
}

/**
 * Prints what publishing came to and sets the exit code.
 * @param done `imported`, `copied`
 * @param results what became of each name
 * @param started when the run began, in milliseconds since 1970
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
