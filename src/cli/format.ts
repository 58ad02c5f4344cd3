/** Formats numbers and tables for people. Sizes use powers of 1000, as in docker. */

import type { BrokenImage } from '../index.js';
import { printable } from '../oci/printable.js';

export { formatBytes } from '../oci/bytes.js';
export { printable } from '../oci/printable.js';

/** Formats a duration: `3.4 s`, `2 min 05 s`, `1 h 02 min`. */
export function formatDuration(milliseconds: number): string {
  const seconds = milliseconds / 1000;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${String(whole % 60).padStart(2, '0')} s`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, '0')} min`;
}

/** Formats a count: `1 image`, `8 images`. */
export function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? '' : 's'}`;
}

/** Formats an image that damage breaks, for a line below the damage. */
export function describeBroken({ reference, platforms }: BrokenImage): string {
  return `  breaks ${reference}${platforms.length > 0 ? ` (${platforms.join(', ')})` : ''}`;
}

/**
 * Formats a table.
 * @param right indexes of the columns to align to the right
 */
export function formatTable(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  right: readonly number[] = [],
): string {
  const all = [head, ...rows].map((row) => row.map(printable));
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0)));
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) =>
        right.includes(column) ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0),
      )
      .join('  ')
      .trimEnd();
  return all.map(line).join('\n');
}
