import { previewExport, type ExportPreview } from '../index.js';
import { exitCodes } from './exit-codes.js';
import type { OutputArguments } from './flags.js';
import { count, formatBytes, formatTable } from './format.js';
import { failuresWithFlags } from './hints.js';
import { interruptible } from './interrupt.js';
import { printJson, printLine, printLines } from './print.js';
import { progressView } from './progress.js';
import { printFailed } from './summaries.js';
import { countNames } from './signatures.js';

type PreviewOptions = Omit<Parameters<typeof previewExport>[0], 'onEvent' | 'signal'>;

function rowOf({
  image,
  digest,
  platforms,
  bytes,
  newBytes,
  companionOf,
}: ExportPreview['images'][number]): string[] {
  const kind = companionOf === undefined ? '-' : 'signature';
  const names = platforms.length === 0 ? kind : platforms.join(', ');
  return [image, digest.slice(0, 19), formatBytes(bytes), formatBytes(newBytes), names];
}

function printPreview(preview: ExportPreview): void {
  const head = ['image', 'digest', 'size', 'new', 'platforms'];
  printLines(formatTable(head, preview.images.map(rowOf), [2, 3]));
  printFailed(preview.failed);
  printLine('');
  const foreign = preview.foreign > 0 ? `; ${count(preview.foreign, 'foreign layer')} excluded` : '';
  printLine(
    `${countNames(preview.images.map(({ image }) => image))}, ${count(preview.blobs, 'blob')}, ${formatBytes(preview.bytes)} to fetch${foreign}`,
  );
  const { blobs, bytes } = preview.leftOut;
  if (blobs > 0)
    printLine(`a delta: ${count(blobs, 'layer')} (${formatBytes(bytes)}) left out, which the base has`);
  for (const { registry, manifests, others, blobs, remaining, limit } of preview.requests) {
    const quota =
      remaining === undefined ? '' : `; ${remaining}${limit === undefined ? '' : ` of ${limit}`} left`;
    printLine(
      `requests to ${registry}: ${count(manifests, 'manifest')}${quota}, ${count(others, 'other lookup')}, ${count(blobs, 'blob')}`,
    );
  }
  printLine('nothing was written');
}

/** Runs `airlift export --dry-run`: resolves all images and prints sizes and request counts. */
export async function runPreview(options: PreviewOptions, args: OutputArguments): Promise<void> {
  // The preview prints one JSON document on standard output; progress goes to standard error.
  const view = progressView({ ...args, json: false });
  try {
    const preview = await interruptible((signal) =>
      previewExport({ ...options, onEvent: view.onEvent, signal }),
    );
    view.stop();
    if (args.json) printJson({ ...preview, failed: failuresWithFlags(preview.failed) });
    else printPreview(preview);
    if (preview.failed.length > 0) process.exitCode = exitCodes.someFailed;
  } finally {
    view.stop();
  }
}
