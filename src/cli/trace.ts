import { printable } from '../oci/printable.js';
import type { RegistryHooks, RequestTrace } from '../index.js';
import { withFlags } from './hints.js';
import { printNote, printNotes } from './print.js';

/** Formats one exchange for people: method, URL, status, time; then the headers. */
function formatTrace(trace: RequestTrace): string {
  const outcome = trace.status ?? trace.error ?? 'no answer';
  const lines = [`${trace.method} ${trace.url} ${outcome} ${Math.round(trace.milliseconds)} ms`];
  for (const [name, value] of Object.entries(trace.requestHeaders)) lines.push(`  > ${name}: ${value}`);
  for (const [name, value] of Object.entries(trace.responseHeaders)) lines.push(`  < ${name}: ${value}`);
  return lines.map(printable).join('\n');
}

/** Notes and warnings printed so far. Several threads that access the same registry report the same ones. */
const printed = new Set<string>();

/** Clears the record of printed texts, so that each command line of one process prints its own warnings. */
export function forgetPrinted(): void {
  printed.clear();
}

function printOnce(text: string): void {
  if (printed.has(text)) return;
  printed.add(text);
  printNote(withFlags(text));
}

/** Prints a warning unless it was printed before. */
export function warnOnce(text: string): void {
  printOnce(`warning: ${text}`);
}

/** Returns hooks that print warnings, notes unless `quiet`, and traces if `traceRequests`. */
export function hooksOf(args: {
  readonly traceRequests: boolean;
  readonly quiet?: boolean | undefined;
}): RegistryHooks {
  return {
    warn: warnOnce,
    ...(args.quiet === true ? {} : { note: printOnce, silence: (text) => printNote(withFlags(text)) }),
    ...(args.traceRequests ? { trace: (trace) => printNotes(formatTrace(trace)) } : {}),
  };
}
