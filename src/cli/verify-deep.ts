import type { DeepReport } from '../index.js';
import { count, formatBytes } from './format.js';
import { printLine } from './print.js';

/** Prints what unpacking the layers found, except for problems. */
export function printDeep({
  images,
  layers,
  entries,
  bytes,
  skipped,
  warnings,
  totalWarnings,
}: DeepReport): void {
  for (const { thing, detail, images: affected } of warnings) {
    printLine(`warning: ${thing}: ${detail}`);
    for (const { reference, platforms } of affected)
      printLine(`  in ${reference}${platforms.length > 0 ? ` (${platforms.join(', ')})` : ''}`);
  }
  if (totalWarnings > warnings.length)
    printLine(`and ${count(totalWarnings - warnings.length, 'more warning')}`);
  const left =
    skipped === 0 ? '' : `; ${count(skipped, 'layer')} skipped: left out, damaged or no tar archive`;
  printLine(
    `unpacked ${count(layers, 'layer')} of ${count(images, 'image')}, each platform by itself: ${entries} tar ${entries === 1 ? 'entry' : 'entries'}, ${formatBytes(bytes)}${left}`,
  );
}
