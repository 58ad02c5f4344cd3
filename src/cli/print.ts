import { isAirliftError, messageOf, systemCodeOf, toPlainError } from '../errors.js';
import { printable, printableJson } from '../oci/printable.js';
import { errorWithFlags } from './hints.js';
import { standardError, standardOutput } from './output.js';

/** Writes a line to standard output. */
export function printLine(text: string): void {
  standardOutput.write(`${printable(text)}\n`);
}

/** Writes several lines to standard output. */
export function printLines(text: string): void {
  text.split('\n').forEach(printLine);
}

/** Writes a line to standard error. */
export function printNote(text: string): void {
  standardError.write(`${printable(text)}\n`);
}

/** Writes several lines to standard error. */
export function printNotes(text: string): void {
  text.split('\n').forEach(printNote);
}

/** Writes one JSON value on one line to standard output. */
export function printJson(value: unknown): void {
  standardOutput.write(`${printableJson(value)}\n`);
}

/** Formats an unexpected system error or a bug in airlift; AIRLIFT_DEBUG=1 adds the stack. */
function formatUnexpected(error: unknown): string {
  const message = `airlift: ${printable(messageOf(error))}`;
  if (systemCodeOf(error) !== undefined) return message;
  if (process.env['AIRLIFT_DEBUG'] === '1' && error instanceof Error && error.stack !== undefined)
    return [message, ...error.stack.split('\n').map(printable)].join('\n');
  return `${message}\n  hint: this is a bug in airlift; set AIRLIFT_DEBUG=1 to print the stack trace`;
}

/** Formats an error for people: the message, further lines, and the hint on a line of its own. */
function formatError(error: unknown): string {
  if (!isAirliftError(error)) return formatUnexpected(error);
  const lines = error.lines.map(printable);
  if (error.hint !== undefined) lines.push(`hint: ${printable(error.hint)}`);
  return lines.join('\n  ');
}

/** Prints an error to standard error and, with `--json`, also as one JSON line to standard output. */
export function printError(thrown: unknown, json: boolean): void {
  const error = errorWithFlags(thrown);
  if (json) printJson({ event: 'error', ...toPlainError(error) });
  printNotes(formatError(error));
}
