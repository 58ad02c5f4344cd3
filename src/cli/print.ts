import { isAirliftError, messageOf, toPlainError } from '../errors.js';
import { printable } from './format.js';

/** Writes a line for people or scripts to standard output. */
export function printLine(text: string): void {
  process.stdout.write(`${printable(text)}\n`);
}

/** Writes a line to standard error, where it can't disturb what a script reads. */
export function printNote(text: string): void {
  process.stderr.write(`${printable(text)}\n`);
}

/** Writes one JSON value on one line to standard output. */
export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

/** An error as people read it: the message and, on a line of its own, the hint. */
export function formatError(error: unknown): string {
  if (!isAirliftError(error)) return `airlift: ${messageOf(error)}`;
  return error.hint === undefined ? error.message : `${error.message}\n  hint: ${error.hint}`;
}

/** Prints why a run failed: for people on standard error, with `--json` as one JSON line on standard output as well. */
export function printError(error: unknown, json: boolean): void {
  if (json) printJson({ event: 'error', ...toPlainError(error) });
  printNote(formatError(error));
  // A bug in airlift itself: its place in the code helps whoever mends it.
  if (!isAirliftError(error) && error instanceof Error && error.stack !== undefined) printNote(error.stack);
}
