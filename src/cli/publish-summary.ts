import type { CopySummary, ImportSummary } from '../index.js';
import { exitCodes } from './exit-codes.js';
import type { OutputArguments } from './flags.js';
import { count, formatBytes, formatDuration } from './format.js';
import { printJson, printLine } from './print.js';

type PublishSummary = Omit<CopySummary, 'copied'> | Omit<ImportSummary, 'published'>;

/** What was done, for people. */
function printPublished(done: string, summary: PublishSummary, milliseconds: number): void {
  for (const pin of summary.lostPins)
    printLine(`not kept: ${pin} (the registry takes no index whose other platforms are missing)`);
  for (const { image, error } of summary.failed) printLine(`failed: ${image}: ${error.message}`);
  const skipped =
    summary.skippedImages > 0 ? `, ${count(summary.skippedImages, 'tag')} left as they were` : '';
  printLine(
    `${done} ${count(summary.images, 'image')} to ${summary.target} in ${formatDuration(milliseconds)}: ` +
      `${count(summary.uploadedBlobs, 'blob')} sent (${formatBytes(summary.uploadedBytes)}), ${summary.mountedBlobs} mounted, ` +
      `${summary.existingBlobs} there before${skipped}`,
  );
}

/**
 * Prints what publishing came to and sets the exit code.
 * @param done `imported`, `copied`
 * @param started when the run began, in milliseconds since 1970
 */
export function showPublished(
  done: string,
  summary: PublishSummary,
  args: OutputArguments,
  started: number,
): void {
  const milliseconds = Date.now() - started;
  if (args.json) printJson({ event: 'done', ...summary, milliseconds });
  else printPublished(done, summary, milliseconds);
  if (summary.failed.length > 0) process.exitCode = exitCodes.someFailed;
}
