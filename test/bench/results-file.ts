import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import type { RowResult } from './results.js';

/** Results of all rows, and the conditions under which they were measured. */
export interface Results {
  /** Machine, software and kind of output directory, as Markdown. */
  readonly conditions: string;
  readonly rows: readonly RowResult[];
}

/**
 * Merges new rows into earlier results: they replace the rows of the same names.
 * @param isComplete whether the new rows are all rows: then the earlier ones are dropped
 * @throws Error if the earlier results are from other conditions
 */
export function mergeResults(earlier: Results | undefined, later: Results, isComplete: boolean): Results {
  if (earlier === undefined || isComplete) return later;
  if (earlier.conditions !== later.conditions)
    throw new Error(
      `not written: the other rows were measured under other conditions; measure all rows\n${earlier.conditions}\n${later.conditions}`,
    );
  const replaced = earlier.rows.map((row) => later.rows.find(({ name }) => name === row.name) ?? row);
  const added = later.rows.filter(({ name }) => !earlier.rows.some((row) => row.name === name));
  return { conditions: later.conditions, rows: [...replaced, ...added] };
}

export function readResults(path: string): Results | undefined {
  return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as Results) : undefined;
}

export function writeResults(path: string, results: Results): void {
  writeFileSync(path, `${JSON.stringify(results, undefined, 2)}\n`);
}
