import { archiveImages, bundleArchives, type BundleArchivesOptions } from '../index.js';
import { creationTime } from './environment.js';
import { count, formatBytes, formatDuration } from './format.js';
import type { OutputArguments } from './flags.js';
import { interruptible } from './interrupt.js';
import { printImages } from './names.js';
import { printJson, printLine } from './print.js';
import { progressView } from './progress.js';
import { printBundleSteps } from './summaries.js';

/** Runs `airlift import … -o BUNDLE`, which writes a bundle instead of publishing to a registry. */
export async function importIntoBundle(
  options: Omit<BundleArchivesOptions, 'created' | 'onEvent' | 'signal'>,
  args: Pick<OutputArguments, 'json' | 'quiet'> & { readonly dryRun: boolean },
): Promise<void> {
  const started = Date.now();
  const created = creationTime(process.env);
  const view = progressView(args);
  try {
    const { onEvent } = view;
    if (args.dryRun) {
      const images = await interruptible((signal) => archiveImages({ ...options, onEvent, signal }));
      view.stop();
      return printImages(images, args.json);
    }
    const summary = await interruptible((signal) => bundleArchives({ ...options, created, onEvent, signal }));
    view.stop();
    const milliseconds = Date.now() - started;
    if (args.json) return printJson({ event: 'done', ...summary, milliseconds });
    const platforms = summary.platforms.length > 0 ? ` (${summary.platforms.join(', ')})` : '';
    printLine(
      `wrote ${count(summary.images, 'image')}${platforms} to ${summary.path}: ${formatBytes(summary.size)} ` +
        `in ${formatDuration(milliseconds)}`,
    );
    printBundleSteps(summary.path, summary.sums);
  } finally {
    view.stop();
  }
}
