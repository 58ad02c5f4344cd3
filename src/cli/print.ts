import { isAirliftError, messageOf, systemCodeOf, toPlainError } from '../errors.js';
import { printable, printableJson } from '../oci/printable.js';
import { errorWithFlags } from './hints.js';
import { standardError, standardOutput } from './output.js';

/** Writes a line for people or scripts to standard output. */
export function printLine(text: string): void {
  standardOutput.write(`${printable(text)}\n`);
}

/** Writes text of several lines, made of parts that were made printable, to standard output. */
export function printLines(text: string): void {
  text.split('\n').forEach(printLine);
}

/** Writes a line to standard error, where it can't disturb what a script reads. */
export function printNote(text: string): void {
  standardError.write(`${printable(text)}\n`);
}

/** Writes text of several lines, made of parts that were made printable, to standard error. */
export function printNotes(text: string): void {
  text.split('\n').forEach(printNote);
}

/** Writes one JSON value on one line to standard output. */
export function printJson(value: unknown): void {
  standardOutput.write(`${printableJson(value)}\n`);
}

/** What the system refused where nobody foresaw it, or a bug in airlift itself, whose place in the code helps whoever mends it. */
function formatUnforeseen(error: unknown): string {
  const message = `airlift: ${printable(messageOf(error))}`;
  if (systemCodeOf(error) !== undefined) return message;
  if (process.env['AIRLIFT_DEBUG'] === '1' && error instanceof Error && error.stack !== undefined)
    return [message, ...error.stack.split('\n').map(printable)].join('\n');
  return `${message}\n  hint: this is a fault of airlift itself; AIRLIFT_DEBUG=1 shows where it happened`;
}

/** An error as people read it: the message, what there is of more lines, and on a line of its own the hint. */
export function formatError(error: unknown): string {
  if (!isAirliftError(error)) return formatUnforeseen(error);
  const lines = error.lines.map(printable);
  if (error.hint !== undefined) lines.push(`hint: ${printable(error.hint)}`);
  return lines.join('\n  ');
}

/** Prints why a run failed: for people on standard error, with `--json` as one JSON line on standard output as well. */
export function printError(thrown: unknown, json: boolean): void {
  const error = errorWithFlags(thrown);
  if (json) printJson({ event: 'error', ...toPlainError(error) });
  printNotes(formatError(error));
}
